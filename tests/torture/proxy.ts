import { Buffer } from "node:buffer";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { until } from "../support/wait.ts";

/**
 * A TCP proxy before PostgreSQL that reads along: it knows which of the program's statements pass, so
 * that a connection can be cut, or a daemon killed, at a named moment, without a hook in the program.
 */
export interface Proxy {
  readonly port: number;
  /** Asked about each statement of ours; undefined: all pass. */
  watch: Watch | undefined;
  /** Holds back everything, both ways, and keeps the connections. */
  blackhole: boolean;
  /** Adds so much to every way. */
  delay_ms: number;
  /** What it does with a new connection instead of passing it on. */
  play: ((client: Socket) => void) | undefined;
  /** Connections accepted so far. */
  readonly accepted: number;
  /** Cuts all connections, as a balancer does whose backend is gone. */
  cut(): void;
  close(): Promise<void>;
}

/** The program's statements that matter. */
export type Statement = "ingest" | "claim" | "record" | "migration" | "other";

/**
 * `sent`: it has come from the daemon, and the server has not seen it. `answered`: the server has
 * committed it, and the daemon does not know.
 */
export type Moment = "sent" | "answered";

/**
 * `reset` cuts both sides at once; `lose` passes it to the server and cuts the daemon's side; `mute` loses
 * it and all that comes later on this connection, which stays, as with a firewall that forgot it.
 */
export type Verdict = "pass" | "reset" | "lose" | "mute";

export type Watch = (statement: Statement, moment: Moment) => Verdict;

function statementOf(text: string): Statement {
  if (/^begin; select pg_advisory_xact_lock\(\d+\);\s*set local /.test(text)) return "migration";
  const head = text.slice(0, 200);
  if (/with found as/.test(head)) return "ingest";
  if (/with wanted as/.test(head)) return "claim";
  if (/with ending as/.test(head)) return "record";
  return "other";
}

/** Starts a proxy on a free port of loopback, before the server that is on `server_port` at the time. */
export async function startProxy(
  server_port: () => number,
  hostname = "127.0.0.1",
): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ noDelay: true }, (client) => {
    accepted++;
    if (proxy.play !== undefined) {
      sockets.add(client);
      client.on("error", () => {}).once("close", () => sockets.delete(client));
      return proxy.play(client);
    }
    const upstream = connect({ host: hostname, port: server_port(), noDelay: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    }
    relay(proxy, client, upstream);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const proxy: Proxy = {
    port: (server.address() as AddressInfo).port,
    watch: undefined,
    blackhole: false,
    delay_ms: 0,
    play: undefined,
    get accepted() {
      return accepted;
    },
    cut: () => sockets.forEach((socket) => socket.destroy()),
    async close() {
      server.close();
      proxy.cut();
      await until("the proxy is closed", () => sockets.size === 0);
    },
  };
  return proxy;
}

function relay(proxy: Proxy, client: Socket, upstream: Socket): void {
  const end = () => {
    client.resetAndDestroy();
    upstream.resetAndDestroy();
  };
  // As the system does it for a process that is gone: the other side reads what was sent, and the end.
  const close = () => {
    client.destroy();
    upstream.destroy();
  };
  // All of them: not every version tells of each.
  for (const socket of [client, upstream]) {
    for (const sign of ["error", "end", "close"]) socket.on(sign, close);
  }
  const to_server = makePipe(proxy, upstream);
  const to_client = makePipe(proxy, client);
  const asked = readRequests();
  const answered = readAnswers();
  let muted = false;
  client.on("data", (chunk: Buffer) => {
    if (muted) return;
    for (const { bytes, statement } of asked.read(chunk)) {
      const verdict = statement === undefined ? "pass" : proxy.watch?.(statement, "sent") ?? "pass";
      if (verdict === "reset") return end();
      muted = verdict === "mute";
      if (muted) return;
      to_server(bytes);
      if (verdict === "lose") return void client.resetAndDestroy();
    }
  });
  upstream.on("data", (chunk: Buffer) => {
    if (muted) return;
    for (const { bytes, done } of answered.read(chunk)) {
      const statement = done ? asked.waiting.shift() : undefined;
      const known = statement !== undefined && done === "well";
      const verdict = known ? proxy.watch?.(statement, "answered") ?? "pass" : "pass";
      muted = verdict === "mute";
      if (muted) return;
      if (verdict !== "pass") return end();
      to_client(bytes);
    }
  });
}

// Bytes keep their order whatever becomes of the delay and the hole.
function makePipe(proxy: Proxy, target: Socket): (bytes: Uint8Array) => void {
  const queue: { bytes: Uint8Array; at: number }[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  target.once("close", () => {
    clearTimeout(timer);
    queue.length = 0;
  });
  function pump(): void {
    timer = undefined;
    while (queue[0] !== undefined && !proxy.blackhole && queue[0].at <= performance.now()) {
      const { bytes } = queue.shift() ?? {};
      if (bytes !== undefined && target.writable) target.write(bytes);
    }
    if (queue.length > 0 && !target.destroyed) timer = setTimeout(pump, 20);
  }
  return (bytes) => {
    if (target.destroyed) return;
    queue.push({ bytes, at: performance.now() + proxy.delay_ms });
    if (timer === undefined) pump();
  };
}

interface Asked {
  readonly bytes: Uint8Array;
  /** What is asked by these bytes, once: at its Bind, or its simple Query. */
  readonly statement: Statement | undefined;
}

// PostgreSQL's protocol, version 3: a startup message without a type, then type, length, content.
function readRequests() {
  const waiting: Statement[] = [];
  const prepared = new Map<string, Statement>();
  let rest: Buffer = Buffer.alloc(0);
  let started = false;
  let current: Statement = "other";
  return {
    /** One for each ReadyForQuery that is to come. */
    waiting,
    *read(chunk: Buffer): Generator<Asked> {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (;;) {
        const head = started ? 1 : 0;
        if (rest.length < head + 4) return;
        const length = head + rest.readUInt32BE(head);
        if (rest.length < length) return;
        const message = rest.subarray(0, length);
        rest = rest.subarray(length);
        let statement: Statement | undefined;
        const type = started ? String.fromCharCode(message[0] ?? 0) : "startup";
        const [first, second] = type === "P" || type === "B" || type === "Q" ? texts(message) : [];
        if (type === "startup") waiting.push("other");
        else if (type === "P") prepared.set(first ?? "", statementOf(second ?? ""));
        else if (type === "B") statement = current = prepared.get(second ?? "") ?? "other";
        else if (type === "Q") waiting.push(statement = statementOf(first ?? ""));
        else if (type === "S") {
          waiting.push(current);
          current = "other";
        }
        started = true;
        yield { bytes: message, statement };
      }
    },
  };
}

function texts(message: Buffer): string[] {
  const first = message.indexOf(0, 5);
  const second = message.indexOf(0, first + 1);
  return [message.toString("utf8", 5, first), message.toString("utf8", first + 1, second)];
}

interface AnswerPart {
  readonly bytes: Uint8Array;
  /** Whether a statement ends with it, and how. */
  readonly done: "well" | "badly" | undefined;
}

// A daemon takes an answer for good at its end (ReadyForQuery): keeping that one from it is enough.
function readAnswers() {
  let rest: Buffer = Buffer.alloc(0);
  let failed = false;
  return {
    *read(chunk: Buffer): Generator<AnswerPart> {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let whole = 0;
      const take = (): Buffer => {
        const bytes = rest.subarray(0, whole);
        rest = rest.subarray(whole);
        whole = 0;
        return bytes;
      };
      while (rest.length >= whole + 5) {
        const length = 1 + rest.readUInt32BE(whole + 1);
        if (rest.length < whole + length) break;
        const type = String.fromCharCode(rest[whole] ?? 0);
        if (type === "E") failed = true;
        if (type === "Z" && whole > 0) yield { bytes: take(), done: undefined };
        whole += length;
        if (type !== "Z") continue;
        yield { bytes: take(), done: failed ? "badly" : "well" };
        failed = false;
      }
      if (whole > 0) yield { bytes: take(), done: undefined };
    },
  };
}
