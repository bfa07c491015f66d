import { Buffer } from "node:buffer";
import type { ServerResponse } from "node:http";
import { optional, strictObject, string } from "valibot";
import * as field from "../../lib/admin/fields.ts";
import { MAX_UNSENT_BYTES, openStream, type Reader } from "../../lib/admin/stream.ts";
import { EVENT_STREAM, idText, messageText } from "../../lib/core/server_sent.ts";
import * as example from "./examples.ts";
import { operation, Written } from "./operation.ts";

const StreamQuery = strictObject({ endpoint: optional(field.identifier) });

const EXAMPLE = messageText("delivery", {
  id: example.DELIVERY_ID,
  event_id: example.EVENT_ID,
  type: "booking.created",
  endpoint_id: example.ENDPOINT_ID,
  status: "pending",
  attempts: 1,
  last_outcome: "http_5xx",
  last_status: 503,
}) + idText(1234);

export const streamOperations = [
  operation({
    id: "followChanges",
    method: "get",
    path: "/api/stream",
    portal: true,
    tag: "Operation",
    summary: "Streams what changes, at every daemon, as server-sent events",
    description:
      "Messages are `event`, `delivery`, `endpoint` and `replay`, each with the present state as JSON; " +
      "`many` has counts instead, if more than 200 things change within a second; `ready` says that " +
      "whatever changes from now on is shown; `reset` that changes were missed: read the lists again. " +
      "Resumed with Last-Event-ID within ten minutes, a stream repeats some messages but misses none. " +
      "A comment comes every 15 s. It ends when the token does, or the daemon stops.",
    query: StreamQuery,
    headers: { "Last-Event-ID": "The last id of the stream to be resumed" },
    status: 200,
    response: string(),
    content_type: EVENT_STREAM,
    refuses: [],
    example: { response: EXAMPLE },
    async handle(ctx, { by, query, header, isGood, outgoing }) {
      const opening = { by, last_id: header("last-event-id"), isGood };
      await openStream(ctx, opening, query.endpoint, readerOf(outgoing));
      return new Written();
    },
  }),
];

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
