import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { PLAIN_HOST } from "./browser.ts";

/** A proxy without TLS, which calls the daemon by the name of this machine, as a forwarded port does. */
export interface PlainProxy extends AsyncDisposable {
  /** `http://bookme.example:…` */
  readonly url: string;
  /** How many streams of changes are open through it. */
  readonly streams: number;
}

/** Starts one in front of the daemon at `to`. */
export async function startPlainProxy(to: string): Promise<PlainProxy> {
  const { hostname, port, host } = new URL(to);
  let streams = 0;
  const server = createServer((incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const is_stream = method === "GET" && path?.includes("/stream") === true;
    const origin = headers.origin === undefined ? {} : { origin: to };
    const onward = request({
      hostname,
      port,
      method,
      path,
      headers: { ...headers, host, ...origin },
      agent: false,
    }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      if (is_stream) streams += 1;
      answer.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    outgoing.on("close", () => {
      if (is_stream && outgoing.headersSent) streams -= 1;
      onward.destroy();
    });
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return {
    url: `http://${PLAIN_HOST}:${(server.address() as AddressInfo).port}`,
    get streams() {
      return streams;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
