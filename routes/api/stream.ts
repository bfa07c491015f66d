import { optional, strictObject, string } from "valibot";
import * as field from "../../lib/admin/fields.ts";
import { openStream } from "../../lib/admin/stream.ts";
import { EVENT_STREAM, idText, messageText } from "../../lib/core/server_sent.ts";
import { readerOf } from "../stream_reader.ts";
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
      "Messages are `event`, `delivery`, `endpoint`, `replay` and `alert`, each with the present state as JSON; " +
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
