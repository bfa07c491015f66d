/** Somebody at the pages with a browser that has no JavaScript. */

import assert from "node:assert/strict";
import { ADMIN } from "./daemon.ts";

/** A page, or a redirect, as it was answered. */
export interface Visited {
  readonly status: number;
  readonly headers: Headers;
  /** Of a redirect; null for none. */
  readonly location: string | null;
  /** HTML. */
  readonly text: string;
}

/** A browser: it keeps cookies, names its origin, and follows nothing by itself. */
export interface Visitor {
  /** `bookme_8080=…`, as they are sent; empty for none. */
  cookies(): string;
  get(path: string, headers?: Record<string, string>): Promise<Visited>;
  /**
   * Sends a form as the page at `page` (by default the same path) has it: with the hidden fields of its form
   * whose action is `path`, and these.
   */
  submit(path: string, fields?: Fields, page?: string): Promise<Visited>;
  /** Sends these fields alone. */
  post(path: string, fields?: Fields, headers?: Record<string, string>): Promise<Visited>;
}

type Fields = Readonly<Record<string, string | readonly string[]>>;

/** A visitor of the daemon at `url` who is not signed in. */
export function visitor(url: string): Visitor {
  const jar = new Map<string, string>();
  const cookies = () => [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
  const ask = async (path: string, init: RequestInit): Promise<Visited> => {
    const response = await fetch(url + path, {
      redirect: "manual",
      ...init,
      headers: { ...(jar.size > 0 ? { cookie: cookies() } : {}), ...init.headers },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === "") jar.delete(name);
      else jar.set(name, value);
    }
    const { status, headers } = response;
    const text = await response.text();
    return { status, headers, location: headers.get("location"), text };
  };
  const self: Visitor = {
    cookies,
    get: (path, headers = {}) => ask(path, { headers }),
    async submit(path, fields = {}, page = path) {
      const { text, status } = await self.get(page);
      const form = formTo(text, path);
      assert.ok(form !== undefined, `${page} (${status}) has no form to ${path}: ${text}`);
      return await self.post(path, { ...hiddenFields(form), ...fields });
    },
    post(path, fields = {}, headers = {}) {
      const body = new URLSearchParams();
      for (const [name, value] of Object.entries(fields)) {
        for (const one of [value].flat()) body.append(name, one);
      }
      return ask(path, { method: "POST", body, headers: { origin: url, ...headers } });
    },
  };
  return self;
}

/** An operator who has signed in. */
export async function signIn(url: string, token = ADMIN): Promise<Visitor> {
  const visiting = visitor(url);
  const { status, text } = await visiting.post("/dashboard/login", { token });
  assert.equal(status, 303, text);
  return visiting;
}

/** A business that has opened its link. */
export async function openLink(url: string, token: string): Promise<Visitor> {
  const visiting = visitor(url);
  const { status, text } = await visiting.post(`/portal/open/${token}`);
  assert.equal(status, 303, text);
  return visiting;
}

/** The first form of a page that is sent to `path`, as HTML; undefined if it has none. */
export function formTo(html: string, path: string): string | undefined {
  return [...html.matchAll(/<form\b[^>]*>[^]*?<\/form>/g)].map(([form]) => form)
    .find((form) => /action="([^"]*)"/.exec(form)?.[1]?.replaceAll("&amp;", "&") === path);
}

/** The hidden fields of a form, by name. */
export function hiddenFields(form: string): Record<string, string> {
  const inputs = [...form.matchAll(/<input\b[^>]*type="hidden"[^>]*>/g)].map(([input]) => input);
  return Object.fromEntries(inputs.map((input) => [
    /name="([^"]*)"/.exec(input)?.[1] ?? "",
    (/value="([^"]*)"/.exec(input)?.[1] ?? "").replaceAll("&quot;", '"').replaceAll("&amp;", "&"),
  ]));
}
