/** Lets the program run on the old Deno of the smoke test, see smoke.ts. */

import type { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
import { type OnReadOpts, Socket } from "node:net";

Object.defineProperty(Deno, "version", { value: { ...Deno.version, deno: "2.9.0" } });

Deno.FsFile.prototype.tryLockSync ??= function (exclusive) {
  this.lockSync(exclusive);
  return true;
};

// Sockets there cannot read into a buffer of the caller's, the option `onread`.
const { connect } = Socket.prototype;
Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  const [{ onread }] = [args[0]].flat() as [{ onread?: OnReadOpts }];
  if (onread !== undefined) {
    const own = Object.getOwnPropertySymbols(this).find((key) => key.description === "kBuffer");
    if (own !== undefined) Reflect.set(this, own, null);
    const buffer = onread.buffer as Uint8Array;
    this.on("data", (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += buffer.length) {
        const part = chunk.subarray(at, at + buffer.length);
        buffer.set(part);
        onread.callback(part.length, buffer);
      }
    });
  }
  return Reflect.apply(connect, this, args);
} as typeof connect;

// Its server makes no connection known: each request has a socket of its own, which is none.
const { emit } = EventEmitter.prototype;
EventEmitter.prototype.emit = function (name, ...args) {
  const [request] = args as { socket?: { destroySoon?: () => void } }[];
  if (name === "request" && request?.socket !== undefined) {
    request.socket.destroySoon ??= () => {};
    emit.call(this, "connection", request.socket);
  }
  return emit.call(this, name, ...args);
};
