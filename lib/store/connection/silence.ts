import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { message } from "./conversation.ts";
import { failure } from "./failure.ts";

/** Looks in the time after which a session is closed. */
const LOOKS = 4;
/** ReadyForQuery, with which each answer ends. Its last byte is a status. */
const READY = message("Z", Buffer.alloc(1));

/**
 * Closes a session whose server owes an answer, or the rest of one, and sends nothing for twice the statement
 * timeout. By then the server itself would have ended the statement. A firewall can forget one connection of
 * many: statements on it would wait until TCP gives up, a quarter of an hour later, while the pulse, on a session
 * of its own, goes on.
 *
 * It counts looks, not time, because a suspended process has not yet read the bytes that arrived meanwhile. It has
 * one blind spot: if statements were sent together, the end of one answer hides that others are owed, until the
 * next write.
 */
export function watchSilence(socket: Socket, statement_timeout_ms: number): void {
  if (statement_timeout_ms === 0) return;
  const silence_ms = 2 * statement_timeout_ms;
  const { write } = socket;
  let owed = false;
  let looks = 0;
  socket.write = function (this: Socket, ...args: Parameters<typeof write>) {
    owed = true;
    return write.apply(this, args);
  } as typeof write;
  let end: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    looks = 0;
    end = chunk.length < READY.length ? Buffer.concat([end, chunk]) : chunk;
    end = end.subarray(-READY.length);
    if (owed) owed = !isReady(end);
  });
  const timer = setInterval(() => {
    if (owed) looks++;
    if (looks < LOOKS) return;
    const text = `fell silent: it owed an answer for ${silence_ms / 1_000} s`;
    socket.destroy(failure("CONNECTION_CLOSED", `A session of the database ${text}`));
  }, silence_ms / LOOKS);
  socket.once("close", () => clearInterval(timer));
}

function isReady(end: Buffer): boolean {
  return end.length === READY.length && end.subarray(0, -1).equals(READY.subarray(0, -1));
}
