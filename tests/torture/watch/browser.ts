/** Somebody who asks daemons, over and over, while they are struck. */

import { LOOPBACK } from "../client.ts";

/** A whole answer. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** A request that was not answered, or not to its end. */
export class Unanswered extends Error {}

export interface Asking {
  readonly method?: "GET" | "POST";
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** Signing in over plain HTTP is for loopback only: elsewhere, as through a proxy that speaks TLS. */
export const PUBLIC_URL = "https://hooks.torture.test";

const PATIENCE_MS = 20_000;

/** One request, redirects not followed, on a connection of its own. Rejects with `Unanswered` without a whole answer. */
export async function ask(url: string, { headers, ...init }: Asking = {}): Promise<
  Answer & {
    readonly cookies: readonly string[];
  }
> {
  try {
    const response = await fetch(url, {
      redirect: "manual",
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: { connection: "close", ...headers },
      ...init,
    });
    return {
      status: response.status,
      type: response.headers.get("content-type") ?? "",
      cookies: response.headers.getSetCookie(),
      text: await response.text(),
    };
  } catch (cause) {
    throw new Unanswered(`${url} was not answered`, { cause });
  }
}

/** A browser: it keeps cookies, for each daemon its own. */
export interface Browser {
  get(url: string): Promise<Answer>;
  post(url: string, fields: Readonly<Record<string, string>>): Promise<Answer>;
}

/** A browser without cookies yet. */
export function makeBrowser(): Browser {
  const jar = new Map<string, string>();
  async function send(url: string, asking: Asking): Promise<Answer> {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const { cookies, ...answer } = await ask(url, {
      ...asking,
      headers: { ...asking.headers, ...(cookie === "" ? {} : { cookie }) },
    });
    for (const line of cookies) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      jar.set(name, value);
    }
    return answer;
  }
  return {
    get: (url) => send(url, {}),
    post: (url, fields) =>
      send(url, {
        method: "POST",
        headers: {
          origin: new URL(url).hostname === LOOPBACK ? new URL(url).origin : PUBLIC_URL,
          "content-type": "application/x-www-form-urlencoded",
        },
        body: new URLSearchParams(fields).toString(),
      }),
  };
}
