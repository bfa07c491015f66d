import { optional, strictObject } from "valibot";
import type * as v from "valibot";
import { AppError, type Mistake } from "../../lib/core/errors.ts";
import { EVENT_NAME } from "../../lib/core/event_types.ts";
import { parseReplayId, replayId } from "../../lib/core/ids.ts";
import { parseRate } from "../../lib/core/units.ts";
import { cancelReplay, createReplay, type ReplaySelection } from "../../lib/store/replays.ts";
import { getEndpoint } from "../../lib/store/reports/endpoints.ts";
import {
  countReplay,
  getReplay,
  listReplays,
  type ReplayRow,
} from "../../lib/store/reports/replays.ts";
import type { RouteContext } from "../context.ts";
import { viewReplay } from "../views.ts";
import { periodOf } from "./deliveries.ts";
import * as example from "./examples.ts";
import { Answered, operation } from "./operation.ts";
import * as s from "./schemas.ts";

const tag = "Replays";
const path = "/api/replays/{id}";

const ListQuery = strictObject({
  cursor: optional(s.parsed(parseReplayId, s.CURSOR_RULE)),
  limit: s.limit,
});

export const replayOperations = [
  operation({
    id: "createReplay",
    method: "post",
    path: "/api/replays",
    tag,
    summary: "Sends deliveries that ended again, all that match",
    description:
      "Durable: it survives restarts, and any daemon carries it out, at most `rate` fast. " +
      "With `dry_run` it only counts.",
    body: s.ReplayInput,
    rules: mistakesOf,
    status: 201,
    response: s.Replay,
    variant: {
      status: 200,
      response: s.ReplayCount,
      example: { matched: 1200, matched_exact: true },
    },
    refuses: ["conflict"],
    example: {
      body: { endpoint: example.ENDPOINT_ID, since: "2026-11-24T08:00:00Z", rate: "50/s" },
      response: { ...example.replay, replayed: 0 },
    },
    async handle(ctx, { body, actor }) {
      const selection = await selectionOf(ctx, body);
      const matched = await countReplay(ctx.db.admin, "everything", selection);
      if (body.dry_run) {
        return new Answered({ matched: matched.count, matched_exact: matched.exact });
      }
      const uuid = ctx.newUuid();
      const { endpoint, status, type, since, until, rate } = body;
      await createReplay(ctx.db.admin, {
        ...selection,
        uuid,
        rate_per_s: rate === undefined ? null : parseRate(rate),
        matched,
      }, {
        actor,
        action: "replay.created",
        object: replayId(uuid),
        after: { endpoint, status, type, since, until, rate, matched: matched.count },
      });
      ctx.replays_changed();
      return viewReplay(await find(ctx, replayId(uuid)));
    },
  }),
  operation({
    id: "listReplays",
    method: "get",
    path: "/api/replays",
    tag,
    summary: "Lists replays, the newest first",
    query: ListQuery,
    status: 200,
    response: s.page(s.Replay),
    refuses: [],
    example: { response: { data: [example.replay], next_cursor: null } },
    async handle(ctx, { query: { cursor, limit } }) {
      const before = cursor === undefined ? undefined : parseReplayId(cursor);
      const { rows, next } = await listReplays(ctx.db.admin, "everything", { before, limit });
      return { data: rows.map(viewReplay), next_cursor: next === null ? null : replayId(next) };
    },
  }),
  operation({
    id: "getReplay",
    method: "get",
    path,
    tag,
    summary: "Shows a replay and how far it is",
    status: 200,
    response: s.Replay,
    refuses: ["not_found"],
    example: { id: example.REPLAY_ID, response: example.replay },
    handle: async (ctx, { id }) => viewReplay(await find(ctx, id)),
  }),
  operation({
    id: "cancelReplay",
    method: "post",
    path: `${path}/cancel`,
    tag,
    summary: "Ends a replay where it is",
    description: "What it has made pending stays so.",
    status: 200,
    response: s.Replay,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.REPLAY_ID,
      response: {
        ...example.replay,
        state: "cancelled",
        ended_at: "2026-11-24T10:00:06.000Z",
      },
    },
    async handle(ctx, { id, actor }) {
      const { uuid } = await find(ctx, id);
      const change = { actor, action: "replay.cancelled", object: replayId(uuid) };
      await cancelReplay(ctx.db.admin, uuid, change);
      const row = await find(ctx, id);
      if (row.state === "cancelled") return viewReplay(row);
      throw new AppError("conflict", "The replay is done; cancel its deliveries one by one");
    },
  }),
];

function notFound(): AppError {
  return new AppError("not_found", "There is no such replay");
}

async function find(ctx: RouteContext, id: string): Promise<ReplayRow> {
  const uuid = parseReplayId(id);
  const row = uuid === undefined ? undefined : await getReplay(ctx.db.admin, "everything", uuid);
  if (row === undefined) throw notFound();
  return row;
}

type Input = v.InferOutput<typeof s.ReplayInput>;

async function mistakesOf(
  ctx: RouteContext,
  { endpoint, type, since, until }: Partial<Input>,
): Promise<Mistake[]> {
  const mistakes: Mistake[] = [];
  if (since !== undefined && since >= endOf(ctx, until)) {
    const message = "Must lie before until, which is now if left out";
    mistakes.push({ pointer: "/since", message });
  }
  // What is no event type any more has its history.
  if (type !== undefined && !EVENT_NAME.test(type)) {
    mistakes.push({ pointer: "/type", message: "Must be the name of one event type" });
  }
  if (endpoint !== undefined) {
    const row = await getEndpoint(ctx.db.admin, "everything", endpoint);
    const message = row === undefined
      ? "There is no such endpoint"
      : row.retired_at === null
      ? undefined
      : "The endpoint is retired";
    if (message !== undefined) mistakes.push({ pointer: "/endpoint", message });
  }
  return mistakes;
}

function endOf(ctx: RouteContext, until: string | undefined): string {
  return until ?? new Date(ctx.now()).toISOString();
}

async function selectionOf(
  ctx: RouteContext,
  { endpoint, status, type, since, until: given }: Input,
): Promise<ReplaySelection> {
  const until = endOf(ctx, given);
  const row = endpoint === undefined
    ? undefined
    : await getEndpoint(ctx.db.admin, "everything", endpoint);
  const { first_uuid = "", last_uuid = "" } = periodOf(since, until);
  return {
    statuses: status,
    endpoint_no: row?.no ?? null,
    type: type ?? null,
    since,
    until,
    position: first_uuid,
    last_uuid,
  };
}
