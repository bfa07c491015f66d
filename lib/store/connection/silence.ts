import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { failure } from "./failure.ts";

/** Looks in the time that a statement may run. */
const LOOKS = 2;
/** Bytes of ReadyForQuery, with which each answer ends: its type, its length without it, a status. */
const LENGTH_OF_READY = 6;

/**
 * Closes a session that owes an answer, or its end, and has sent nothing for twice as long as a statement may
 * run, so that the server itself would have ended it. A firewall can forget one connection out of many:
 * statements on it get no error until TCP gives up, a quarter of an hour later, while the pulse, a session of
 * its own, goes on.
 *
 * Looks are counted, not time: a process that was stopped has not read what has arrived meanwhile. Of statements
 * that were sent together, the end of one hides what the others owe, until the next is sent.
 */
export function watchSilence(socket: Socket, statement_timeout_ms: number): void {
  if (statement_timeout_ms === 0) return;
  const { write } = socket;
  let owed = false;
  let looks = 0;
  socket.write = function (this: Socket, ...message: Parameters<typeof write>) {
    owed = true;
    return write.apply(this, message);
  } as typeof write;
  let end: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    looks = 0;
    end = chunk.length < LENGTH_OF_READY ? Buffer.concat([end, chunk]) : chunk;
    end = end.subarray(-LENGTH_OF_READY);
    if (owed) owed = !isReady(end);
  });
  const timer = setInterval(() => {
    if (owed) looks++;
    if (looks < 2 * LOOKS) return;
    const silence = `fell silent: it owed an answer for ${2 * statement_timeout_ms / 1_000} s`;
    socket.destroy(failure("CONNECTION_CLOSED", `A session of the database ${silence}`));
  }, statement_timeout_ms / LOOKS);
  socket.once("close", () => clearInterval(timer));
}

function isReady(end: Buffer): boolean {
  return end.length === LENGTH_OF_READY && end[0] === 90 && end.readUInt32BE(1) === 5;
}
