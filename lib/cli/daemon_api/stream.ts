import type { IncomingMessage } from "node:http";
import { AppError, messageOf } from "../../core/errors.ts";
import { makeMessageReader, type Message } from "../../core/server_sent.ts";
import { type Answer, open } from "./request.ts";

/** A comment comes every 15 s: after this the connection is dead. */
const SILENCE_MS = 45_000;
/** Longest answer that says why there is no stream. */
const MAX_REFUSAL_BYTES = 64 * 1024;

/**
 * The messages of a stream until it ends, or `signal` aborts. It is read only as fast as messages are taken.
 * Throws an `AppError` if no answer comes or the connection breaks, and what `refused` makes of an answer
 * that is no stream.
 */
export async function* streamFrom(
  target: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  refused: (answer: Answer) => AppError,
): AsyncGenerator<Message> {
  try {
    const incoming = await answerOf(target, headers, signal);
    if (incoming.statusCode !== 200) {
      throw refused({ status: incoming.statusCode ?? 0, body: await refusalOf(incoming) });
    }
    incoming.setTimeout(SILENCE_MS, () => incoming.destroy(new Error("Nothing came for 45 s")));
    const read = makeMessageReader();
    const decoder = new TextDecoder();
    for await (const bytes of incoming as AsyncIterable<Uint8Array>) {
      yield* read(decoder.decode(bytes, { stream: true }));
    }
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof AppError) throw error;
    throw new AppError("unavailable", `No answer from ${target.origin}: ${messageOf(error)}`);
  }
}

function answerOf(
  target: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = open(target, { method: "GET", headers, signal }, resolve);
    outgoing.setTimeout(SILENCE_MS, () => outgoing.destroy(new Error("Nothing came for 45 s")));
    outgoing.on("error", reject);
    outgoing.end();
  });
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
