import { Buffer } from "node:buffer";
import { request } from "node:http";
import { AppError, messageOf } from "../core/errors.ts";

/** An answer over HTTP. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

export interface RequestOptions {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

/**
 * One request to a daemon on a connection of its own. (`fetch` would go through whatever proxy the
 * environment names, also for loopback.) Rejects with an `AppError` where no answer comes.
 */
export function send(url: string | URL, options: RequestOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body = "", signal } = options;
  const length = method === "GET" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  return new Promise((resolve, reject) => {
    const failed = (error: Error) =>
      reject(
        new AppError(
          "unavailable",
          `No answer from ${new URL(url).origin}: ${messageOf(error)}; does the daemon run there?`,
        ),
      );
    const outgoing = request(
      url,
      {
        method,
        agent: false,
        headers: { ...headers, ...length },
        ...(signal === undefined ? {} : { signal }),
      },
      (incoming) => {
        const chunks: Uint8Array[] = [];
        incoming.on("data", (chunk: Uint8Array) => chunks.push(chunk));
        incoming.on("error", failed);
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          resolve({ status: incoming.statusCode ?? 0, body: text });
        });
      },
    );
    outgoing.on("error", failed);
    outgoing.end(method === "GET" ? undefined : body);
  });
}
