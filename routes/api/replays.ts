import { optional, strictObject } from "valibot";
import * as inputs from "../../lib/admin/inputs.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as admin from "../../lib/admin/replays.ts";
import * as shown from "../../lib/admin/shown.ts";
import { parseReplayId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { Answered, operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Replays";
const path = "/api/replays/{id}";

const ListQuery = strictObject({
  cursor: optional(query.parsed(parseReplayId, CURSOR_RULE)),
  limit: query.limit,
});

export const replayOperations = [
  operation({
    id: "createReplay",
    method: "post",
    path: "/api/replays",
    tag,
    portal: true,
    summary:
      "Sends deliveries that ended again, those that wait now, or those never owed, all that match",
    description:
      "Ended ones begin a new round of attempts; with the status `pending`, waiting ones " +
      "get their next attempt now; `missing` owes an endpoint the events that it selects now and was never " +
      "owed. Leaves out what was delivered meanwhile. " +
      "Durable: it survives restarts, and any daemon carries it out, at most `rate` fast. " +
      "With `dry_run` it only counts, and says what it leaves out.",
    body: inputs.ReplayInput,
    rules: admin.replayMistakes,
    status: 201,
    response: shown.Replay,
    variant: {
      status: 200,
      response: shown.ReplayCount,
      example: {
        matched: 1200,
        matched_exact: true,
        left_out: {
          delivered: { value: 340, exact: true },
          without_payload: { value: 0, exact: true },
        },
        notes: [],
      },
    },
    refuses: ["conflict"],
    example: {
      body: { endpoint: example.ENDPOINT_ID, since: "2026-11-24T08:00:00Z", rate: "50/s" },
      response: { ...example.replay, replayed: 0 },
    },
    async handle(ctx, { by, body }) {
      return body.dry_run
        ? new Answered(await admin.countReplay(ctx, by, body))
        : await admin.createReplay(ctx, by, body);
    },
  }),
  operation({
    id: "listReplays",
    method: "get",
    path: "/api/replays",
    tag,
    portal: true,
    summary: "Lists replays, the newest first",
    query: ListQuery,
    status: 200,
    response: shown.page(shown.Replay),
    refuses: [],
    example: { response: { data: [example.replay], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listReplays(ctx, by, query),
  }),
  operation({
    id: "getReplay",
    method: "get",
    path,
    tag,
    portal: true,
    summary: "Shows a replay and how far it is",
    status: 200,
    response: shown.Replay,
    refuses: ["not_found"],
    example: { id: example.REPLAY_ID, response: example.replay },
    handle: (ctx, { by, id }) => admin.getReplay(ctx, by, id),
  }),
  operation({
    id: "cancelReplay",
    method: "post",
    path: `${path}/cancel`,
    tag,
    portal: true,
    summary: "Ends a replay where it is",
    description: "What it has made pending stays so.",
    status: 200,
    response: shown.Replay,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.REPLAY_ID,
      response: {
        ...example.replay,
        state: "cancelled",
        ended_at: "2026-11-24T10:00:06.000Z",
      },
    },
    handle: (ctx, { by, id }) => admin.cancelReplay(ctx, by, id),
  }),
];
