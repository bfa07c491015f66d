import type { Socket } from "node:net";

/** Closes a connection with a reset, or, in Deno 2.6, which has none, as it can. */
export function hangUp(socket: Socket): void {
  if (typeof socket.resetAndDestroy === "function") socket.resetAndDestroy();
  else socket.destroy();
}
