import type { Context } from "hono";
import { alertsOfEndpoint } from "../../lib/admin/alerts.ts";
import { listAudit } from "../../lib/admin/audit.ts";
import { findInFile } from "../../lib/admin/configuration.ts";
import { getEndpoint, listEndpoints } from "../../lib/admin/endpoints.ts";
import { eventTypesFor } from "../../lib/admin/event_types.ts";
import { getHealth } from "../../lib/admin/health.ts";
import { getEndpointHealth, getOverview } from "../../lib/admin/overview.ts";
import type * as shown from "../../lib/admin/shown.ts";
import { headline, isoTime } from "../../lib/core/alerting/words.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import { settingsValues, withoutSecrets } from "./endpoint_form.ts";
import { type FormState, freshForm, type Note, readNote } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { EndpointPage, type Pin } from "./pages/endpoint.tsx";
import { OverlapPage, PausePage, RotatePage } from "./pages/endpoint_changes.tsx";
import { NewEndpointPage } from "./pages/endpoint_settings.tsx";
import { EndpointListPage, EndpointsPage } from "./pages/endpoints.tsx";
import { changeWords } from "./verdicts/changes.ts";
import { nameOf } from "./verdicts/health.ts";
import type { PageEnv, Visit } from "./visit.ts";

/** Pages about endpoints, read and rendered. */

type PageContext = Context<PageEnv>;

/** Why forms of the page were refused; the other ones are as they were. */
export interface Refused {
  readonly status: PageStatus;
  readonly settings?: FormState;
  readonly removal?: FormState;
  /** Why a button was refused. */
  readonly message?: string;
}

/** Rows that one page of a list has. */
const PAGE_ROWS = 50;

/** The endpoints in force, worst first; with `all` or `retired` a list by age. */
export async function showEndpoints(c: PageContext, ctx: RouteContext): Promise<Response> {
  const visit = c.get("visit");
  const { all, retired, cursor } = c.req.query();
  const head = {
    title: "Endpoints",
    nav: "endpoints",
    live: { deliveries: true, endpoints: true },
  } as const;
  const room = await roomOf(ctx, visit);
  if (all === undefined && retired === undefined) {
    const overview = await getOverview(ctx, visit.by);
    return await page(c, visit, head, EndpointsPage({ visit, overview, room }));
  }
  const list = await listEndpoints(ctx, visit.by, {
    retired: retired !== undefined,
    limit: PAGE_ROWS,
    cursor,
  });
  const props = { visit, list, retired: retired !== undefined, first: cursor === undefined, room };
  return await page(c, visit, head, EndpointListPage(props));
}

/** How many endpoints a business has, and may have; null for an operator. */
async function roomOf(ctx: RouteContext, { by }: Visit) {
  if (by.scope === "everything") return null;
  const most = ctx.in_force().config.portal.max_endpoints;
  const { data } = await listEndpoints(ctx, by, { retired: false, limit: most + 1 });
  return { has: data.length, most };
}

function defaultsOf(ctx: RouteContext) {
  const { timeout_ms, retry_ms } = ctx.policy();
  return { timeout_ms, retry_ms };
}

/** The form of a new endpoint. */
export async function showNew(
  c: PageContext,
  ctx: RouteContext,
  state: FormState,
  status: PageStatus = 200,
): Promise<Response> {
  const visit = c.get("visit");
  refuseReader(visit);
  const body = NewEndpointPage({
    visit,
    state: { ...state, values: withoutSecrets(state.values) },
    endpoint: null,
    types: eventTypesFor(ctx, visit.by).names,
    defaults: defaultsOf(ctx),
    room: await roomOf(ctx, visit),
  });
  return await page(c, visit, { title: "New endpoint", nav: "endpoints", status }, body);
}

function refuseReader({ may_write }: Visit): void {
  if (!may_write) {
    throw new AppError("forbidden", "You may look at everything here and change nothing");
  }
}

/** The page of an endpoint, also after one of its forms was refused. */
export async function showEndpoint(
  c: PageContext,
  ctx: RouteContext,
  id: string,
  refused: Refused = { status: 200 },
): Promise<Response> {
  const visit = c.get("visit");
  const { by } = visit;
  const facts = await getEndpointHealth(ctx, by, id);
  const { endpoint } = facts;
  const [bars, pins, note] = await Promise.all([
    getHealth(ctx, by, id, HOURS),
    pinsOf(ctx, visit, endpoint),
    readNote(c, ctx, visit),
  ]);
  // An endpoint of a business has the types of a business, whoever looks at it.
  const scope = endpoint.owner === null ? by.scope : { business: endpoint.owner };
  const types = eventTypesFor(ctx, { scope }).names;
  const body = EndpointPage({
    visit,
    facts,
    bars,
    pins,
    note: noteOf(note, refused),
    is_refused: refused.message !== undefined,
    check: checkIn(note),
    settings: settingsState(endpoint, types, refused),
    removal: refused.removal ?? freshForm(),
    types,
    defaults: defaultsOf(ctx),
    place: by.scope === "everything" && endpoint.source === "file" ? findInFile(ctx, by, id) : null,
    kept_days: Math.floor(ctx.policy().retention.events_ms / 86_400_000),
  });
  const head = {
    title: nameOf(endpoint),
    nav: "endpoints",
    status: refused.status,
    live: { deliveries: true, endpoint: id },
  } as const;
  return await page(c, visit, head, body);
}

const HOURS = 72;
const HOUR_MS = 3_600_000;
/** Changes that the axis has room for. */
const MAX_PINS = 8;

/** Changes of the last hours on the axis, the oldest first; tests and the like are not changes. */
async function pinsOf(
  ctx: RouteContext,
  { by, house, now }: Visit,
  { id, failing_since }: shown.Endpoint,
): Promise<Pin[]> {
  const since = new Date(now - HOURS * HOUR_MS).toISOString();
  const [{ data }, alerts] = await Promise.all([
    listAudit(ctx, by, { object: id, since, limit: 4 * MAX_PINS }),
    alertsOfEndpoint(ctx, by, id, since, MAX_PINS),
  ]);
  const changes = data.filter(({ action }) => action !== "endpoint.tested").slice(0, MAX_PINS)
    .toReversed();
  const marks = alerts.map((spoken): Pin => ({
    at: isoTime(Math.max(spoken.began_at, Date.parse(since))),
    who: "Alert:",
    text: headline({ ...spoken, ended_at: null }, house.audience),
    failed_at: null,
    alert: {
      began_at: isoTime(spoken.began_at),
      ended_at: spoken.ended_at === null ? null : isoTime(spoken.ended_at),
    },
  }));
  const pins = changes.map((entry, index): Pin => {
    const next = changes[index + 1]?.at ?? null;
    const is_followed = failing_since !== null && failing_since >= entry.at &&
      (next === null || failing_since < next);
    return {
      at: entry.at,
      ...changeWords(entry, house.audience, null),
      failed_at: is_followed ? failing_since : null,
      alert: null,
    };
  });
  return [...pins, ...marks].toSorted((a, b) => a.at.localeCompare(b.at)).slice(-MAX_PINS);
}

function noteOf(note: Note | null, { message }: Refused): Note | null {
  if (message !== undefined) return { text: message };
  // The findings say it.
  return note?.values?.check === undefined ? note : null;
}

function checkIn(note: Note | null): shown.EndpointCheck | null {
  const check = note?.values?.check;
  return check === undefined ? null : JSON.parse(check) as shown.EndpointCheck;
}

/** The settings as they are, or as they were typed, next to what somebody else has made of them meanwhile. */
function settingsState(
  endpoint: shown.Endpoint,
  types: readonly string[],
  { settings, status }: Refused,
): FormState {
  const stored = settingsValues(endpoint, types);
  if (settings === undefined) return freshForm(stored);
  const typed = withoutSecrets(settings.values);
  const is_older = settings.values.version?.[0] !== String(endpoint.version);
  if (status !== 409 || !is_older) return { ...settings, values: typed };
  const now = Object.keys(stored).filter((name) => name !== "version")
    .map((name) => [name, (stored[name] ?? []).join(", ")] as const)
    .filter(([name, text]) => text !== (typed[name] ?? []).filter((one) => one !== "").join(", "))
    .map(([name, text]) => [name, `Stored meanwhile: ${text === "" ? "nothing" : text}`] as const);
  return { values: typed, errors: new Map(now), message: CHANGED_MEANWHILE };
}

const CHANGED_MEANWHILE =
  "Somebody else changed this endpoint while you edited it, so nothing was saved. What you typed is below; " +
  "saving again overwrites their change";

type Question = (
  c: PageContext,
  ctx: RouteContext,
  id: string,
  state: FormState,
  status?: PageStatus,
) => Promise<Response>;

/** A page of its own that asks about an endpoint. */
function question(
  title: string,
  body: (
    props: { visit: Visit; endpoint: shown.Endpoint; state: FormState },
    c: PageContext,
  ) => ReturnType<typeof PausePage>,
): Question {
  return async (c, ctx, id, state, status = 200) => {
    const visit = c.get("visit");
    refuseReader(visit);
    const endpoint = await getEndpoint(ctx, visit.by, id);
    const shown_state = { ...state, values: withoutSecrets(state.values) };
    const head = { title: `${title} ${nameOf(endpoint)}`, nav: "endpoints", status } as const;
    return await page(c, visit, head, body({ visit, endpoint, state: shown_state }, c));
  };
}

/** Asks why an endpoint is paused. */
export const askPause = question("Pause", (props) => PausePage(props));

/** Asks how a secret is rotated. */
export const askRotation = question("Rotate the secret of", (props) => RotatePage(props));

/** Asks until when the old secret works; with `end=now`, whether it ends now. */
export const askOverlap = question("Overlap of", (props, c) =>
  OverlapPage({
    ...props,
    ends_now: c.req.query("end") === "now" || props.state.values.ends_at?.[0] === "now",
  }));
