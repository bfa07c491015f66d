import { Buffer } from "node:buffer";
import type { ServerResponse } from "node:http";
import { MAX_UNSENT_BYTES, type Reader } from "../lib/admin/stream.ts";
import { EVENT_STREAM } from "../lib/core/server_sent.ts";

/** The client of a stream. The head of the answer goes out with the first text, or the end. */
export function readerOf(outgoing: ServerResponse): Reader {
  let unsent = 0;
  const begin = () => {
    if (outgoing.headersSent) return;
    outgoing.writeHead(200, {
      "content-type": EVENT_STREAM,
      // Proxies that collect answers would collect forever.
      "x-accel-buffering": "no",
    });
    outgoing.flushHeaders();
  };
  const end = () => {
    begin();
    // The rest is not worth waiting for a client that does not read.
    if (unsent > MAX_UNSENT_BYTES) outgoing.destroy();
    else outgoing.end();
  };
  return {
    end,
    get unsent() {
      return unsent;
    },
    write(text) {
      // A client that closed its half has left, though its connection is not closed yet.
      if (outgoing.writableEnded) return;
      begin();
      const bytes = Buffer.from(text);
      unsent += bytes.length;
      outgoing.write(bytes, () => unsent -= bytes.length);
    },
    onLeft(left) {
      const { socket } = outgoing;
      if (outgoing.destroyed || socket === null) return left();
      outgoing.on("close", left);
      // The server lets clients close their half and read on; a client that follows a stream has left.
      if (socket.readableEnded) return end();
      socket.once("end", end);
      outgoing.on("close", () => socket.off("end", end));
    },
  };
}
