import { type Context, Hono } from "hono";
import { groupDeliveries } from "../../lib/admin/deliveries.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import {
  cancelReplay,
  countReplay,
  createReplay,
  getReplay,
  listReplays,
} from "../../lib/admin/replays.ts";
import { AppError, HTTP_STATUS, invalidAt } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import {
  type FormState,
  formState,
  freshForm,
  makeForm,
  readForm,
  readNote,
  submit,
} from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { NewReplayPage, ReplayPage, ReplaysPage } from "./pages/replays.tsx";
import { FIELDS, readReplay, readTyped, type Settled, type Typed } from "./replay_form.ts";
import { MUCH, type ReplayCounted } from "./verdicts/replay.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

type PageContext = Context<PageEnv>;

const PER_PAGE = 50;

/** Replays: the list, a new one that is counted first, and each one while it runs. */
export function replayPages(ctx: RouteContext, { base }: House): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .get("/replays", async (c) => {
      const { cursor, ...rest } = c.req.query();
      // Links of other pages come with a selection.
      if ([...FIELDS, "missing"].some((name) => name in rest)) {
        return c.redirect(`${base}/replays/new?${new URL(c.req.url).searchParams}`, 303);
      }
      return await showAll(c, ctx, cursor);
    })
    .get("/replays/new", async (c) => {
      const typed = readTyped((name) => c.req.queries(name) ?? []);
      const is_asked = [...FIELDS, "missing"].some((name) => c.req.query(name) !== undefined);
      return await showNew(c, ctx, typed, is_asked ? depthOf(c.req.query("count")) : null);
    })
    .get("/replays/:id", (c) => showOne(c, ctx, c.req.param("id")))
    .post("/replays", async (c) => {
      const [visit, form] = [c.get("visit"), await readForm(c)];
      const typed = readTyped((name) => form.list(name));
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const { input } = await readReplay(ctx, visit, typed);
          refuseUnconfirmed(form.text("matched"), form.text("confirm"));
          const { id } = await createReplay(ctx, visit.by, input);
          return { location: `${base}/replays/${id}` };
        },
        refused: (state, status) =>
          showNew(c, ctx, typed, depthOf(form.text("count")), { state, status }),
      });
    })
    .post("/replays/:id/cancel", async (c) => {
      const [id, visit, form] = [c.req.param("id"), c.get("visit"), await readForm(c)];
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const { replayed } = await cancelReplay(ctx, visit.by, id);
          const text = replayed === 0
            ? "Cancelled before it sent anything."
            : "Cancelled. What it had sent stays on its way.";
          return { location: `${base}/replays/${id}`, note: { text } };
        },
        refused: ({ message }, status) => showOne(c, ctx, id, { message, status }),
      });
    });
}

async function showAll(c: PageContext, ctx: RouteContext, cursor?: string): Promise<Response> {
  const visit = c.get("visit");
  const [replays, names] = await Promise.all([
    listReplays(ctx, visit.by, { cursor, limit: PER_PAGE }),
    endpointNames(ctx, visit.by),
  ]);
  const props = { visit, replays, names, is_first: cursor === undefined };
  const head = { title: "Replays", nav: "replays", live: { replays: true } } as const;
  return await page(c, visit, head, ReplaysPage(props));
}

async function showOne(
  c: PageContext,
  ctx: RouteContext,
  id: string,
  { message, status = 200 }: { message?: string | null; status?: PageStatus } = {},
): Promise<Response> {
  const visit = c.get("visit");
  const replay = await getReplay(ctx, visit.by, id);
  const [names, note] = await Promise.all([
    endpointNames(ctx, visit.by),
    readNote(c, ctx, visit),
  ]);
  return await page(
    c,
    visit,
    { title: "Replay", nav: "replays", status, live: { replays: true, id: replay.id } },
    ReplayPage({ visit, replay, names, said: message ?? note?.text ?? null }),
  );
}

/** How far the page counts: to the end only if it is asked to. */
function depthOf(count: string | undefined): ReplayCounted["depth"] {
  return count === "all" ? "whole" : "glance";
}

/** The form, and what the replay would send if a depth is asked for. */
async function showNew(
  c: PageContext,
  ctx: RouteContext,
  typed: Typed,
  depth: ReplayCounted["depth"] | null,
  refused?: { readonly state: FormState; readonly status: PageStatus },
): Promise<Response> {
  const visit = c.get("visit");
  const { counted, failure } = depth === null
    ? { counted: null, failure: null }
    : await count(ctx, visit, typed, depth);
  const form = makeForm(new URLSearchParams(Object.entries(typed)));
  const state = refused?.state ??
    (failure === null ? freshForm() : formState(form, failure));
  const status = refused?.status ??
    (failure === null ? 200 : HTTP_STATUS[failure.code] as PageStatus);
  const { event_types } = ctx.in_force();
  return await page(
    c,
    visit,
    { title: "New replay", nav: "replays", status },
    NewReplayPage({
      visit,
      typed,
      counted,
      state,
      names: await endpointNames(ctx, visit.by),
      types: event_types.names,
    }),
  );
}

interface Found {
  readonly counted: ReplayCounted | null;
  readonly failure: AppError | null;
}

async function count(
  ctx: RouteContext,
  visit: Visit,
  typed: Typed,
  depth: ReplayCounted["depth"],
): Promise<Found> {
  try {
    const settled = await readReplay(ctx, visit, typed);
    return { counted: await countSettled(ctx, visit, settled, depth), failure: null };
  } catch (failure) {
    if (!(failure instanceof AppError) || failure.code !== "invalid") throw failure;
    return { counted: null, failure };
  }
}

async function countSettled(
  ctx: RouteContext,
  { by }: Visit,
  { input, typed }: Settled,
  depth: ReplayCounted["depth"],
): Promise<ReplayCounted> {
  const { missing, status, endpoint, type, reason, code, since, until } = input;
  const [count, groups] = await Promise.all([
    countReplay(ctx, by, input, depth),
    missing ? null : groupDeliveries(ctx, by, {
      status: status ?? (reason === undefined ? "failed" : undefined),
      endpoint,
      type,
      reason,
      code,
      since,
      until,
    }),
  ]);
  return { count, groups, typed, missing, depth };
}

/** Refuses a large replay whose number was not typed. */
function refuseUnconfirmed(matched: string, typed: string): void {
  if (!/^\d+$/.test(matched)) {
    throw new AppError("conflict", "Nothing was counted before; count it first");
  }
  if (Number(matched) <= MUCH || typed.replaceAll(/[,.+\s]/g, "") === matched) return;
  throw invalidAt("/confirm", `Type ${matched} to confirm`);
}
