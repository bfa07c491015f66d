import { type Context, Hono } from "hono";
import {
  acknowledgeAlert,
  alertsInWords,
  alertTargets,
  getContact,
  MAX_OPEN,
  setContact,
  snoozeAlert,
  testAlerts,
  worstFirst,
} from "../../lib/admin/alerts.ts";
import { listEndpoints } from "../../lib/admin/endpoints.ts";
import { invalidAt } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import { type FormState, freshForm, readForm, readNote, submit } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { AlertsPage, SNOOZES } from "./pages/alerts.tsx";
import type { House, PageEnv } from "./visit.ts";

type PageContext = Context<PageEnv>;

/** Alerts that are over, on one page. */
const HISTORY = 25;

/** Alerts: the open ones, the latest that ended, and where they go. */
export function alertPages(ctx: RouteContext, { base, audience }: House): Hono<PageEnv> {
  const location = `${base}/alerts`;
  const app = new Hono<PageEnv>()
    .get("/alerts", (c) => show(c, ctx))
    // An operator gets the place of theirs as the reason of a refusal.
    .post("/alerts/contact", async (c) => {
      const [visit, form] = [c.get("visit"), await readForm(c)];
      const empty = (text: string) => text === "" ? null : text;
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const choice = { endpoint: empty(form.text("endpoint")), mail: empty(form.text("mail")) };
          await setContact(ctx, visit.by, choice);
          return { location, note: { text: "Saved." } };
        },
        refused: (state, status) => show(c, ctx, state, status),
      });
    });
  if (audience === "business") return app;
  return app
    .post("/alerts/test", async (c) => {
      const [visit, form] = [c.get("visit"), await readForm(c)];
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const { targets } = await testAlerts(ctx, visit.by, {});
          const text = targets.map(({ target, explanation }) => `${target}: ${explanation}.`)
            .join(" ");
          return { location, note: { text } };
        },
        refused: (state, status) => show(c, ctx, state, status),
      });
    })
    .post("/alerts/:id/acknowledge", async (c) => {
      const [id, visit, form] = [c.req.param("id"), c.get("visit"), await readForm(c)];
      return await submit(c, ctx, visit, form, {
        act: async () => {
          await acknowledgeAlert(ctx, visit.by, id);
          return {
            location,
            note: { text: "Acknowledged: it is not announced again before it ends." },
          };
        },
        refused: (state, status) => show(c, ctx, state, status),
      });
    })
    .post("/alerts/:id/snooze", async (c) => {
      const [id, visit, form] = [c.req.param("id"), c.get("visit"), await readForm(c)];
      return await submit(c, ctx, visit, form, {
        act: async () => {
          const chosen = SNOOZES.find(({ value }) => value === form.text("for"));
          if (chosen === undefined) throw invalidAt("/for", SNOOZE_RULE);
          await snoozeAlert(ctx, visit.by, id, { for: chosen.ms });
          return { location, note: { text: `Quiet for ${chosen.label}, unless it ends before.` } };
        },
        refused: (state, status) => show(c, ctx, state, status, id),
      });
    });
}

const SNOOZE_RULE = `Must be one of ${SNOOZES.map(({ value }) => value).join(", ")}`;

async function show(
  c: PageContext,
  ctx: RouteContext,
  state: FormState = freshForm(),
  status: PageStatus = 200,
  refused: string | null = null,
): Promise<Response> {
  const visit = c.get("visit");
  const { by, house } = visit;
  const is_business = house.audience === "business";
  const [open, ended, note, contact, own] = await Promise.all([
    alertsInWords(ctx, by, { status: "open", limit: MAX_OPEN }),
    alertsInWords(ctx, by, { status: "ended", limit: HISTORY, cursor: c.req.query("cursor") }),
    readNote(c, ctx, visit),
    is_business ? getContact(ctx, by) : null,
    is_business ? listEndpoints(ctx, by, { retired: false, limit: 200 }) : null,
  ]);
  const body = AlertsPage({
    visit,
    open: open.data.toSorted(worstFirst),
    is_all: open.next_cursor === null,
    ended,
    targets: is_business ? [] : alertTargets(ctx),
    contact: contact === null ? null : { ...contact, endpoints: own?.data ?? [] },
    state,
    refused,
    note: note?.text ?? null,
    is_first: c.req.query("cursor") === undefined,
  });
  const head = { title: "Alerts", nav: "alerts", status, live: { alerts: true } } as const;
  return await page(c, visit, head, body);
}
