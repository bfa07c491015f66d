import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { AppError } from "../../lib/core/errors.ts";

const MAX_BODY_BYTES = 1024 * 1024;

/** Reads a body of at most `max` bytes (default: 1 MiB). Throws an `AppError` if it is longer, or breaks off. */
export async function readBody(
  incoming: IncomingMessage,
  max = MAX_BODY_BYTES,
): Promise<Uint8Array> {
  const tooLarge = () =>
    new AppError("too_large", `The body is longer than ${max} bytes; send less`);
  if (Number(incoming.headers["content-length"] ?? 0) > max) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    // Not destroyed on leaving: the connection would stay open, unread, for minutes.
    for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
      length += chunk.length;
      if (length > max) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError("malformed", "The body ended before its end");
  }
  return Buffer.concat(chunks);
}
