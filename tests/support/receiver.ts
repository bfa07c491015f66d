import { Buffer } from "node:buffer";
import { until } from "./wait.ts";
import type { Leaf } from "./tls.ts";

/** A request as received. */
export interface Received {
  readonly method: string;
  readonly path: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Every header line, in its order and spelling. */
  readonly lines: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** Address of its sender, which `delivery.source_address` may choose. */
  readonly from: string;
}

/** An answer. `hang` sends nothing, `reset` hangs up, `garbage` is not HTTP. */
export type Answer =
  | {
    readonly status: number;
    /** The phrase after the status (default: `Status`). */
    readonly reason?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string | Uint8Array;
  }
  | "hang"
  | "reset"
  | "garbage";

/** Answers each request; the first one is number 1. A promise holds the answer back. */
export type Plan = (request: Received, nth: number) => Answer | Promise<Answer>;

/** A real HTTP server on loopback that keeps what it receives. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly Received[];
  /** Answers by that plan from now on. */
  answer(plan: Plan): void;
  /** Waits for the first `count` requests. */
  received(count: number): Promise<readonly Received[]>;
}

/** Answers with these statuses in turn, and with the last one from then on. */
export function statuses(...list: number[]): Plan {
  return (_, nth) => ({ status: list[Math.min(nth, list.length) - 1] ?? 200 });
}

/** Starts a receiver (default: answers 200), over TLS if it has a certificate. */
export function startReceiver(
  plan: Plan = statuses(200),
  certificate?: Leaf,
): Promise<Receiver> {
  const requests: Received[] = [];
  const conns = new Set<Deno.Conn>();
  const place = { hostname: "127.0.0.1", port: 0 };
  const listener: Deno.Listener<Deno.Conn> = certificate === undefined
    ? Deno.listen(place)
    : Deno.listenTls({ ...place, ...certificate });
  const serve = async (conn: Deno.Conn) => {
    for await (const request of requestsOn(conn)) {
      const nth = requests.push(request);
      const answer = await plan(request, nth);
      if (answer === "reset") return;
      if (answer !== "hang") await write(conn, bytesOf(answer));
      if (answer === "garbage") return;
    }
  };
  const accepting = (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      // The sender may have hung up.
      serve(conn).catch(() => {}).then(() => {
        hangUp(conn);
        conns.delete(conn);
      });
    }
  })();
  const close = async () => {
    listener.close();
    await accepting.catch(() => {});
    for (const conn of conns) hangUp(conn);
  };
  const { port } = listener.addr as Deno.NetAddr;
  let disposed: Promise<void> | undefined;
  return Promise.resolve({
    url: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    requests,
    answer: (next) => void (plan = next),
    async received(count) {
      await until(`${count} requests are received`, () => requests.length >= count);
      return requests;
    },
    [Symbol.asyncDispose]: () => disposed ??= close(),
  });
}

function hangUp(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is already closed.
  }
}

async function write(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

// On bare connections, because node:http sends no garbage and does not keep header lines as they came.
async function* requestsOn(conn: Deno.Conn): AsyncGenerator<Received> {
  let got = Buffer.alloc(0);
  const chunk = new Uint8Array(65_536);
  const from = (conn.remoteAddr as Deno.NetAddr).hostname;
  for (let read = await conn.read(chunk); read !== null; read = await conn.read(chunk)) {
    got = Buffer.concat([got, chunk.subarray(0, read)]);
    if (!/^[A-Z]/.test(got.toString("latin1", 0, 1))) return; // TLS, for one
    for (let end = got.indexOf(END); end >= 0; end = got.indexOf(END)) {
      const [start = "", ...fields] = got.toString("latin1", 0, end).split("\r\n");
      const [method = "", path = ""] = start.split(" ");
      const lines = fields.map((field) => {
        const colon = field.indexOf(":");
        return [field.slice(0, colon), field.slice(colon + 1).trim()] as const;
      });
      const headers = Object.fromEntries(lines.map(([name, text]) => [name.toLowerCase(), text]));
      const body_at = end + END.length;
      const next_at = body_at + Number(headers["content-length"]);
      if (got.length < next_at) break;
      yield { method, path, headers, lines, body: got.subarray(body_at, next_at), from };
      got = got.subarray(next_at);
    }
  }
}

const END = "\r\n\r\n";

function bytesOf(answer: Exclude<Answer, "hang" | "reset">): Buffer {
  if (answer === "garbage") return Buffer.from("SSH-2.0-OpenSSH_9.2\r\n");
  const { status, reason = "Status", headers = {}, body = "" } = answer;
  const content = Buffer.from(body);
  const length = status === 204 ? {} : { "Content-Length": content.length };
  const fields = Object.entries({ ...headers, ...length })
    .map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${fields}\r\n`, "latin1");
  return Buffer.concat([head, content]);
}
