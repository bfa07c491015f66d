import type { ServerResponse } from "node:http";
import { messageOf } from "../lib/core/errors.ts";
import type { Log } from "../lib/observe/log.ts";

/** A client that takes nothing for so long has gone. */
const STALL_MS = 60_000;

/**
 * Writes an answer of any length, as fast as the client takes it. What fails under way is logged as `what`,
 * and ends the connection without the answer's end, so that the client knows.
 */
export async function writeBytes(
  outgoing: ServerResponse,
  headers: Readonly<Record<string, string>>,
  parts: AsyncGenerator<Uint8Array>,
  what: string,
  log: Log,
): Promise<void> {
  const began = performance.now();
  let bytes = 0;
  try {
    outgoing.writeHead(200, headers);
    outgoing.flushHeaders();
    for await (const part of parts) {
      await written(outgoing, part);
      bytes += part.length;
    }
    outgoing.end();
    log.info(`${what} sent`, { bytes, took_ms: Math.round(performance.now() - began) });
  } catch (error) {
    log.error(`${what} broke off`, { bytes, cause: messageOf(error) });
    outgoing.destroy();
  }
}

function written(outgoing: ServerResponse, part: Uint8Array): Promise<void> {
  if (part.length === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const end = (error?: Error | null) => {
      clearTimeout(timer);
      outgoing.off("close", left);
      if (error) reject(error);
      else resolve();
    };
    const left = () => end(new Error("The client has gone"));
    const timer = setTimeout(() => {
      end(new Error(`The client took nothing for ${STALL_MS / 1_000} s`));
    }, STALL_MS);
    if (outgoing.destroyed) return left();
    outgoing.on("close", left);
    outgoing.write(part, end);
  });
}
