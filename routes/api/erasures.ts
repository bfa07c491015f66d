import { optional, strictObject } from "valibot";
import * as admin from "../../lib/admin/erasures.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as shown from "../../lib/admin/shown.ts";
import { parseErasureId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Erasures";

const ListQuery = strictObject({
  cursor: optional(query.parsed(parseErasureId, CURSOR_RULE)),
  limit: query.limit,
});

export const erasureOperations = [
  operation({
    id: "createErasure",
    method: "post",
    path: "/api/erasures",
    tag,
    summary: "Removes the payloads of events and the answers to them, for good",
    description:
      "Exactly one of `event`, `subject` and `containing` says which. Of the events found, the payload, the " +
      "confirmation number, and the causes and answers of all attempts are removed; what is pending is " +
      "cancelled with the reason `erased`. Durable: it survives restarts, and any daemon carries it out. " +
      "With `dry_run` it only counts. The search text is sealed while it runs, and never shown.",
    body: inputs.ErasureInput,
    rules: admin.erasureMistakes,
    status: 201,
    response: shown.Erasure,
    refuses: ["conflict"],
    example: {
      body: { containing: "ana@example.org", dry_run: true },
      response: {
        ...example.erasure,
        dry_run: true,
        progress: 0,
        scanned: 0,
        matched: 0,
        waiting: 0,
        attempts: 0,
        cancelled: 0,
      },
    },
    handle: (ctx, { by, body }) => admin.createErasure(ctx, by, body),
  }),
  operation({
    id: "listErasures",
    method: "get",
    path: "/api/erasures",
    tag,
    summary: "Lists erasures, the newest first",
    query: ListQuery,
    status: 200,
    response: shown.page(shown.Erasure),
    refuses: [],
    example: { response: { data: [example.erasure], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listErasures(ctx, by, query),
  }),
  operation({
    id: "getErasure",
    method: "get",
    path: "/api/erasures/{id}",
    tag,
    summary: "Shows an erasure and how far it is",
    status: 200,
    response: shown.Erasure,
    refuses: ["not_found"],
    example: { id: example.ERASURE_ID, response: example.erasure },
    handle: (ctx, { by, id }) => admin.getErasure(ctx, by, id),
  }),
];
