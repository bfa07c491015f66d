import { type Context, Hono } from "hono";
import { countDeliveries } from "../../lib/admin/deliveries.ts";
import { endpointMistakes, secretMistakes } from "../../lib/admin/endpoint_fields.ts";
import * as admin from "../../lib/admin/endpoints.ts";
import { checkEndpoint } from "../../lib/admin/examination.ts";
import type { Outcome } from "../../lib/admin/forms.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import type * as shown from "../../lib/admin/shown.ts";
import { validBody } from "../../lib/admin/validate.ts";
import { AppError, invalidAt, type Mistake, refuseMistakes } from "../../lib/core/errors.ts";
import { isOperational, matchesType } from "../../lib/core/matching.ts";
import { DURATION, parseDuration } from "../../lib/core/units.ts";
import type { RouteContext } from "../context.ts";
import { fieldError, readSettings, type SettingsBody } from "./endpoint_form.ts";
import {
  askOverlap,
  askPause,
  askRotation,
  showEndpoint,
  showEndpoints,
  showNew,
} from "./endpoint_views.ts";
import { type Form, type FormState, freshForm, readForm, submit } from "./forms.ts";
import type { PageStatus } from "./layout.tsx";
import { nameOf } from "./verdicts/health.ts";
import { many, together } from "./verdicts/verdict.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

type PageContext = Context<PageEnv>;

/** A change that a form asks for. */
interface Asked {
  readonly ctx: RouteContext;
  readonly visit: Visit;
  readonly id: string;
  readonly form: Form;
  /** The page of the endpoint. */
  readonly at: string;
}

/** Endpoints: the list, each one with its settings, and everything that changes them. */
export function endpointPages(ctx: RouteContext, { base }: House): Hono<PageEnv> {
  const app = new Hono<PageEnv>();
  const idOf = (c: PageContext) => c.req.param("id") ?? "";
  const at = (id: string) => `${base}/endpoints/${encodeURIComponent(id)}`;

  app.get(
    "/endpoints",
    (c) => c.req.query("new") === undefined ? showEndpoints(c, ctx) : showNew(c, ctx, freshForm()),
  );
  // An endpoint of the file may be called that.
  app.get("/endpoints/new", (c) =>
    showEndpoint(c, ctx, "new").catch((error) => {
      if (error instanceof AppError && error.code === "not_found") {
        return showNew(c, ctx, freshForm());
      }
      throw error;
    }));
  app.get("/endpoints/:id", (c) => showEndpoint(c, ctx, idOf(c)));
  app.get("/endpoints/:id/pause", (c) => askPause(c, ctx, idOf(c), freshForm()));
  app.get("/endpoints/:id/rotate", (c) => askRotation(c, ctx, idOf(c), freshForm()));
  app.get("/endpoints/:id/overlap", (c) => askOverlap(c, ctx, idOf(c), freshForm()));

  app.post("/endpoints", async (c) => {
    const [visit, form] = [c.get("visit"), await readForm(c)];
    return await submit(c, ctx, visit, form, {
      act: () => create(ctx, visit, form, at),
      refused: (state, status) => showNew(c, ctx, state, status),
    });
  });

  type Again = (
    c: PageContext,
    id: string,
    state: FormState,
    status: PageStatus,
  ) => Promise<Response>;
  /** A form on the endpoint's page, or on one of its own, which is shown again if it is refused. */
  const post = (path: string, act: (asked: Asked) => Promise<Outcome>, again: Again) =>
    app.post(`/endpoints/:id${path}`, async (c) => {
      const [id, visit, form] = [idOf(c), c.get("visit"), await readForm(c)];
      return await submit(c, ctx, visit, form, {
        act: () => act({ ctx, visit, id, form, at: at(id) }),
        refused: (state, status) => again(c, id, state, status),
      });
    });
  const onItsPage: Again = (c, id, { message, errors }, status) =>
    showEndpoint(c, ctx, id, { status, message: message ?? [...errors.values()].join("; ") });

  post("", save, (c, id, settings, status) => showEndpoint(c, ctx, id, { status, settings }));
  post("/pause", pause, (c, id, state, status) => askPause(c, ctx, id, state, status));
  post("/resume", resume, onItsPage);
  post("/check", check, onItsPage);
  post("/rotate", rotate, (c, id, state, status) => askRotation(c, ctx, id, state, status));
  post("/overlap", moveOverlap, (c, id, state, status) => askOverlap(c, ctx, id, state, status));
  post(
    "/delete",
    remove,
    (c, id, removal, status) => showEndpoint(c, ctx, id, { status, removal }),
  );
  return app;
}

// --- settings --------------------------------------------------------------------------------------------

async function create(
  ctx: RouteContext,
  visit: Visit,
  form: Form,
  at: (id: string) => string,
): Promise<Outcome> {
  const { body, mistakes } = readSettings(form, null, visit.by.scope === "everything");
  const typed = form.text("secret");
  const given = { ...body, events: body.events ?? [], ...(typed === "" ? {} : { secret: typed }) };
  const input = await settingsOf(ctx, visit, form, inputs.EndpointInput, given, mistakes);
  const { id, secret } = await admin.createEndpoint(ctx, visit.by, input);
  const note = secret === null
    ? { text: "The endpoint is made. Its deliveries are not signed." }
    : {
      text: "The endpoint is made. Send it a test once it knows the secret.",
      values: { secret },
    };
  return { location: at(id), note };
}

/** The settings of a form by the API's own schema and rules; mistakes point to fields. */
async function settingsOf<S extends typeof inputs.EndpointInput | typeof inputs.EndpointPatch>(
  ctx: RouteContext,
  { by }: Visit,
  form: Form,
  schema: S,
  body: SettingsBody,
  mistakes: readonly Mistake[],
) {
  const rules = (sound: Parameters<typeof endpointMistakes>[2]) =>
    endpointMistakes(ctx, by.scope, sound);
  try {
    const input = await validBody(schema, rules, body);
    if (mistakes.length > 0) refuseMistakes(rules(input));
    refuseMistakes(mistakes);
    return input;
  } catch (error) {
    throw fieldError(error, form, mistakes);
  }
}

async function save({ ctx, visit, id, form, at }: Asked): Promise<Outcome> {
  const before = await admin.getEndpoint(ctx, visit.by, id);
  const version = Number(form.text("version"));
  if (version !== before.version) {
    throw new AppError("conflict", `The endpoint has version ${before.version} by now`);
  }
  const read = readSettings(form, before, visit.by.scope === "everything");
  const patch = await settingsOf(ctx, visit, form, inputs.EndpointPatch, read.body, read.mistakes);
  if (Object.keys(patch).length === 0) {
    return { location: at, note: { text: "Nothing was different, so nothing was changed." } };
  }
  if (!form.list("confirmed").includes("yes")) await refuseCancels(ctx, visit, before, patch);
  try {
    const changed = await admin.changeEndpoint(ctx, visit.by, id, { ...patch, version });
    return { location: at, note: { text: savedWords(changed) } };
  } catch (error) {
    throw fieldError(error, form);
  }
}

function savedWords({ cancels, cancels_exact }: shown.EndpointChanged): string {
  return cancels === 0 && cancels_exact
    ? "Saved. It takes effect with the next attempt."
    : `Saved. ${
      many(cancels, "waiting delivery is", "waiting deliveries are", cancels_exact)
    } being cancelled.`;
}

/** Asks before a change that deselects what waits, with how much that is. */
async function refuseCancels(
  ctx: RouteContext,
  { by, house }: Visit,
  before: shown.Endpoint,
  { events, businesses }: inputs.EndpointPatch,
): Promise<void> {
  if (before.pending === 0) return;
  const noun = house.audience === "operator" ? ["delivery", "deliveries"] : ["update", "updates"];
  const [one = "", more = ""] = noun;
  const left = ctx.in_force().event_types.names.filter((name) =>
    events !== undefined && !isOperational(name) && matchesType(before.events, name) &&
    !matchesType(events, name)
  );
  const counts = await Promise.all(
    left.slice(0, MAX_COUNTED_TYPES).map((type) =>
      countDeliveries(ctx, by, { status: "pending", endpoint: before.id, type })
    ),
  );
  const value = counts.reduce((sum, count) => sum + count.value, 0);
  const exact = left.length <= MAX_COUNTED_TYPES && counts.every((count) => count.exact);
  if (value > 0) {
    throw invalidAt(
      "/confirm",
      `Cancels ${many(value, `waiting ${one}`, `waiting ${more}`, exact)} of ${
        together(left)
      }. Check ` +
        "the box and save again",
    );
  }
  const kept = businesses ?? null;
  const is_narrower = businesses !== undefined && kept !== null &&
    (before.businesses === null || before.businesses.some((name) => !kept.includes(name)));
  if (!is_narrower) return;
  throw invalidAt(
    "/confirm",
    `Cancels what waits for other businesses: up to ${
      many(before.pending, one, more, before.pending_exact)
    }. Check the box and save again`,
  );
}

/** Types whose waiting deliveries are counted. */
const MAX_COUNTED_TYPES = 20;

// --- what its buttons do ------------------------------------------------------------------------------------

function done(
  endpoint: Pick<shown.Endpoint, "id" | "description">,
  what: string,
  at: string,
): Outcome {
  return { location: at, note: { text: `${nameOf(endpoint)} ${what}` } };
}

async function pause({ ctx, visit, id, form, at }: Asked): Promise<Outcome> {
  const reason = form.text("reason");
  const input = await validBody(inputs.PauseInput, () => [], reason === "" ? {} : { reason });
  return done(await admin.pauseEndpoint(ctx, visit.by, id, input), "is paused.", at);
}

async function resume({ ctx, visit, id, at }: Asked): Promise<Outcome> {
  const endpoint = await admin.resumeEndpoint(ctx, visit.by, id);
  return done(endpoint, "is resumed: what waited is being sent.", at);
}

async function check({ ctx, visit, id, at }: Asked): Promise<Outcome> {
  const found = await checkEndpoint(ctx, visit.by, id);
  return { location: at, note: { text: "Checked.", values: { check: JSON.stringify(found) } } };
}

async function rotate({ ctx, visit, id, form, at }: Asked): Promise<Outcome> {
  const secret = form.text("secret");
  const overlap = form.text("overlap");
  const input = await validBody(inputs.RotateInput, (body) => secretMistakes(ctx, body), {
    activate: momentIn(form.text("activate"), visit.now),
    ...(overlap === "" ? {} : { overlap }),
    ...(secret === "" ? {} : { secret }),
  });
  const made = await admin.rotateSecret(ctx, visit.by, id, input);
  const text = made.rotation === null
    ? "The new secret signs every delivery from now on."
    : "The secret is rotated. The old one works in webhook-signature until the overlap ends.";
  return { location: at, note: { text, values: { secret: made.secret ?? "" } } };
}

/** A time as the API reads it: now, a time of its own, or a wait from now on. */
function momentIn(text: string, now: number): string {
  if (text === "" || text === "now") return "now";
  return DURATION.test(text) ? new Date(now + parseDuration(text)).toISOString() : text;
}

async function moveOverlap({ ctx, visit, id, form, at }: Asked): Promise<Outcome> {
  const ends_at = momentIn(form.text("ends_at"), visit.now);
  const input = await validBody(inputs.OverlapInput, () => [], { ends_at });
  const { rotation } = await admin.endOverlap(ctx, visit.by, id, input);
  const text = rotation === null
    ? "The overlap is over: only the new secret signs."
    : "The end of the overlap is moved.";
  return { location: at, note: { text } };
}

async function remove({ ctx, visit, id, form, at }: Asked): Promise<Outcome> {
  const before = await admin.getEndpoint(ctx, visit.by, id);
  const name = nameOf(before);
  if (form.text("name") !== name) {
    throw invalidAt("/name", `Type ${name} here to delete it`);
  }
  const { cancels, cancels_exact } = await admin.retireEndpoint(ctx, visit.by, id);
  const text = cancels === 0 && cancels_exact
    ? "is deleted."
    : `is deleted; ${
      many(cancels, "waiting delivery is", "waiting deliveries are", cancels_exact)
    } being cancelled.`;
  return done(before, text, at);
}
