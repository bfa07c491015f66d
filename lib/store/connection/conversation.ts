import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { failure } from "./failure.ts";

/** One message of the server: its type, and what follows its length. */
export interface Message {
  readonly type: string;
  readonly body: Buffer;
}

/** PostgreSQL's protocol over a socket, until the session is handed to postgres.js. */
export interface Conversation {
  send(...messages: readonly Uint8Array[]): void;
  /** The next message. Rejects with a `Failure` once the server is gone or makes no sense. */
  next(): Promise<Message>;
  /** Stops listening, and answers the bytes after the last message. By then the socket needs another listener. */
  leave(): Buffer;
}

/** No message before the first query is longer. */
const MAX_LENGTH = 1 << 20;

/** Reads `socket` message by message. */
export function converse(socket: Socket): Conversation {
  let received: Buffer = Buffer.alloc(0);
  let lost: Error | undefined;
  let waiting: PromiseWithResolvers<void> | undefined;
  const wake = () => {
    waiting?.resolve();
    waiting = undefined;
  };
  const onData = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    wake();
  };
  const onLost = (error?: unknown) => {
    lost ??= error instanceof Error ? error : failure(
      "CONNECTION_CLOSED",
      "closes connections before they are ready",
    );
    wake();
  };
  const onEnd = () => onLost();
  socket.on("data", onData).on("error", onLost).on("end", onEnd).on("close", onEnd);
  socket.resume();

  function take(): Message | undefined {
    if (received.length < 5) return undefined;
    const length = 1 + received.readUInt32BE(1);
    if (length < 5 || length > MAX_LENGTH) throw notPostgres(received);
    if (received.length < length) return undefined;
    const message = { type: received.toString("latin1", 0, 1), body: received.subarray(5, length) };
    received = received.subarray(length);
    return message;
  }

  return {
    send: (...messages) => void socket.write(Buffer.concat(messages)),
    async next() {
      for (;;) {
        const message = take();
        if (message !== undefined) return message;
        if (lost !== undefined) throw received.length > 0 ? notPostgres(received) : lost;
        waiting ??= Promise.withResolvers();
        await waiting.promise;
      }
    },
    leave() {
      socket.off("data", onData).off("error", onLost).off("end", onEnd).off("close", onEnd);
      return received;
    },
  };
}

/** The failure of something that answers, but is no PostgreSQL server: a web server, an SSH server. */
export function notPostgres(bytes: Uint8Array): Error {
  const said = Buffer.from(bytes).toString("latin1", 0, 40).replace(/[^\x20-\x7e]+/g, " ").trim();
  return failure(
    "PROTOCOL",
    `does not speak PostgreSQL's protocol: it said ${JSON.stringify(said)}`,
  );
}

/** A message for the server: type (none at the start), length, content. */
export function message(type: string, ...parts: readonly (string | Buffer)[]): Buffer {
  const content = Buffer.concat(
    parts.map((part) => typeof part === "string" ? Buffer.from(`${part}\0`) : part),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 + content.length);
  return Buffer.concat([Buffer.from(type, "latin1"), length, content]);
}

/** The fields of an ErrorResponse by their letters: `C` is the SQLSTATE, `M` the message. */
export function errorFields(body: Buffer): Partial<Record<string, string>> {
  const fields = body.toString("utf8").split("\0").filter((field) => field !== "");
  return Object.fromEntries(fields.map((field) => [field.slice(0, 1), field.slice(1)]));
}
