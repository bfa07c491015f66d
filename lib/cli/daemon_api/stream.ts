import type { IncomingMessage } from "node:http";
import { AppError, messageOf } from "../../core/errors.ts";
import { inWords } from "../../core/explain.ts";
import { makeMessageReader, type Message } from "../../core/server_sent.ts";
import { type Answer, ask, type Asked } from "./request.ts";

/** A comment comes every 15 s: after this the connection of a stream is dead. */
const SILENCE_MS = 45_000;
/** Longest answer that says why there is no stream. */
const MAX_REFUSAL_BYTES = 64 * 1024;

/** How an answer without end is read. */
interface Following extends Pick<Asked, "headers" | "signal" | "cert"> {
  /** What an answer that is none means. */
  readonly refused: (answer: Answer) => AppError;
}

/**
 * The messages of a stream until it ends, or its signal aborts. It is read only as fast as messages are taken.
 * Throws an `AppError` if no answer comes or the connection breaks, and what `refused` makes of an answer
 * that is no stream.
 */
export async function* streamFrom(target: URL, following: Following): AsyncGenerator<Message> {
  const read = makeMessageReader();
  const decoder = new TextDecoder();
  for await (const bytes of bytesFrom(target, SILENCE_MS, following)) {
    yield* read(decoder.decode(bytes, { stream: true }));
  }
}

/**
 * The body of an answer of any length, in the same way; nothing may come for `silence_ms`. Its end is missing
 * if `signal` has aborted.
 */
export async function* bytesFrom(
  target: URL,
  silence_ms: number,
  { refused, ...asked }: Following,
): AsyncGenerator<Uint8Array> {
  const silent = () => new Error(`Nothing came for ${inWords(silence_ms)}`);
  let failed = `No answer from ${target.origin}`;
  try {
    const incoming = await ask(target, { ...asked, method: "GET", body: "", silence_ms });
    if (incoming.statusCode !== 200) {
      throw refused({ status: incoming.statusCode ?? 0, body: await refusalOf(incoming) });
    }
    failed = `The answer of ${target.origin} broke off`;
    incoming.setTimeout(silence_ms, () => incoming.destroy(silent()));
    yield* incoming as AsyncIterable<Uint8Array>;
    if (!incoming.complete) throw new Error("The connection closed before the end of the answer");
  } catch (error) {
    if (asked.signal.aborted) return;
    if (error instanceof AppError) throw error;
    throw new AppError("unavailable", `${failed}: ${messageOf(error)}`);
  }
}

async function refusalOf(incoming: IncomingMessage): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of incoming as AsyncIterable<Uint8Array>) {
    text += decoder.decode(bytes, { stream: true });
    if (text.length > MAX_REFUSAL_BYTES) break;
  }
  return text;
}
