import { type Kind, KINDS } from "../core/alerting/kinds.ts";
import { type Audience, headline, type Spoken } from "../core/alerting/words.ts";
import { AppError, invalidAt, show } from "../core/errors.ts";
import { alertId, parseAlertId } from "../core/ids.ts";
import { isMailAddress, MAIL_ADDRESS_RULE } from "../core/mail_address.ts";
import type { Scope } from "../core/scope.ts";
import * as act from "../store/alert_actions.ts";
import { writeAudit } from "../store/audit.ts";
import * as contacts from "../store/alert_contacts.ts";
import type { Page } from "../store/reports/page.ts";
import * as read from "../store/reports/alerts.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { SnoozeInput, TestAlertsInput } from "./inputs.ts";
import { type Paged, readCursor, viewPage } from "./lists.ts";
import { filterEndpoint, findAlert, findEndpointInForce, requireEverything } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { testEndpoint } from "./test_event.ts";
import { spokenOf, viewAlert } from "./views.ts";

/** Narrows a list of alerts. */
export interface AlertQuery extends Paged {
  readonly status: "open" | "ended" | "all";
  readonly endpoint?: string | undefined;
  readonly kind?: Kind | undefined;
}

/** An alert, as far as every page shows it. */
export interface OpenAlert {
  readonly spoken: Spoken;
  /** Whether somebody looks after it, or it is to be quiet for now. */
  readonly is_quiet: boolean;
}

/** An alert with what sentences about it are made of. */
export interface AlertInWords extends OpenAlert {
  readonly alert: shown.Alert;
}

/** The open alerts in short. */
export interface OpenAlerts {
  /** How many there are, and how many of them are not quiet; at least these, unless `exact`. */
  readonly count: number;
  readonly loud: number;
  readonly exact: boolean;
  /** The worst of them. */
  readonly worst: readonly OpenAlert[];
}

/** Alerts, newest first. */
export async function listAlerts(
  ctx: AdminContext,
  by: Asker,
  query: AlertQuery,
): Promise<shown.Page<shown.Alert>> {
  return viewPage(await readPage(ctx, by, query), viewFor(by.scope), alertId);
}

/** The same, for pages. */
export async function alertsInWords(
  ctx: AdminContext,
  by: Asker,
  query: AlertQuery,
): Promise<shown.Page<AlertInWords>> {
  const view = viewFor(by.scope);
  return viewPage(
    await readPage(ctx, by, query),
    (row) => ({ alert: view(row), spoken: spokenOf(row), is_quiet: isQuiet(row, ctx.now()) }),
    alertId,
  );
}

async function readPage(
  ctx: AdminContext,
  by: Asker,
  { cursor, endpoint, ...filter }: AlertQuery,
): Promise<Page<read.ToldAlert>> {
  const before = readCursor(cursor, parseAlertId);
  const found = await filterEndpoint(ctx, by, endpoint);
  return await read.listAlerts(ctx.db.admin, by.scope, {
    ...filter,
    before,
    endpoint_no: found?.no,
  });
}

function viewFor(scope: Scope): (row: read.ToldAlert) => shown.Alert {
  const audience = audienceOf(scope);
  return (row) => viewAlert(row, audience);
}

function audienceOf(scope: Scope): Audience {
  return scope === "everything" ? "operator" : "business";
}

/** Says that the asker looks after an open alert: it is not announced again before it ends. */
export async function acknowledgeAlert(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Alert> {
  const { uuid } = await findOpen(ctx, by, id);
  await act.acknowledgeAlert(ctx.db.admin, uuid, {
    actor: by.actor,
    action: "alert.acknowledged",
    object: alertId(uuid),
  });
  return viewFor(by.scope)(await findAlert(ctx, by, id));
}

/** Keeps an open alert quiet for a while. */
export async function snoozeAlert(
  ctx: AdminContext,
  by: Asker,
  id: string,
  { for: for_ms }: SnoozeInput,
): Promise<shown.Alert> {
  const { uuid } = await findOpen(ctx, by, id);
  await act.snoozeAlert(ctx.db.admin, uuid, for_ms, {
    actor: by.actor,
    action: "alert.snoozed",
    object: alertId(uuid),
    after: { for_ms },
  });
  return viewFor(by.scope)(await findAlert(ctx, by, id));
}

async function findOpen(ctx: AdminContext, by: Asker, id: string): Promise<read.ToldAlert> {
  requireEverything(by);
  const row = await findAlert(ctx, by, id);
  if (row.ended_at === null) return row;
  throw new AppError("conflict", "The alert has ended: it is not announced any more");
}

/** Open alerts that are counted, or listed on one page. */
export const MAX_OPEN = 200;
/** The worst of them, which pages show that are not about alerts. */
const MAX_WORST = 5;

/** The open alerts within the scope, as far as every page shows them. */
export async function openAlerts(ctx: AdminContext, { scope }: Asker): Promise<OpenAlerts> {
  const bounds = { counted: MAX_OPEN + 1, limit: MAX_WORST };
  const rows = await read.openAlerts(ctx.db.admin, scope, KINDS, bounds);
  const { open, loud } = rows[0] ?? { open: 0, loud: 0 };
  return {
    count: Math.min(open, MAX_OPEN),
    loud: Math.min(loud, MAX_OPEN),
    exact: open <= MAX_OPEN,
    worst: rows.map((row) => ({
      spoken: spokenOf({ ...row, ended_at: null, end_reason: null }),
      is_quiet: row.is_quiet,
    })),
  };
}

function isQuiet({ acknowledged_at, snoozed_until }: read.AlertRow, now: number): boolean {
  return acknowledged_at !== null || (snoozed_until?.getTime() ?? 0) > now;
}

/** Sorts alerts: quiet ones last, then the worst kind first, and of one kind the one that has lasted longest. */
export function worstFirst(one: OpenAlert, other: OpenAlert): number {
  return Number(one.is_quiet) - Number(other.is_quiet) ||
    KINDS.indexOf(one.spoken.kind) - KINDS.indexOf(other.spoken.kind) ||
    one.spoken.began_at - other.spoken.began_at;
}

/** Sentences about those of these alerts (`alr_…`) that are within the scope, by their ids. */
export async function alertHeadlines(
  ctx: AdminContext,
  { scope }: Asker,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const uuids = ids.flatMap((id) => parseAlertId(id) ?? []);
  if (uuids.length === 0) return new Map();
  const rows = await read.alertsById(ctx.db.admin, scope, [...new Set(uuids)]);
  const audience = audienceOf(scope);
  return new Map(rows.map((row) => [alertId(row.uuid), headline(spokenOf(row), audience)]));
}

/** Alerts about an endpoint that were open at a time from `since` (ISO 8601) on, the newest first. */
export async function alertsOfEndpoint(
  ctx: AdminContext,
  { scope }: Asker,
  endpoint: string,
  since: string,
  limit: number,
): Promise<Spoken[]> {
  const rows = await read.alertsOfEndpoint(ctx.db.admin, scope, endpoint, since, limit);
  return rows.map(spokenOf);
}

/** How long a test waits for the answers of endpoints, in milliseconds. */
const TEST_MS = 15_000;

/** Sends a test to those who get alerts, or to one of them, and says whether it arrived. */
export async function testAlerts(
  ctx: AdminContext,
  by: Asker,
  { target }: TestAlertsInput,
): Promise<shown.AlertTest> {
  requireEverything(by);
  const named = alertTargets(ctx).filter((one) => target === undefined || target === one);
  if (target !== undefined && named.length === 0) {
    throw invalidAt(
      "/target",
      "No such alert target; the section alerts of the configuration names them",
    );
  }
  await writeAudit(ctx.db.admin, {
    actor: by.actor,
    action: "alerts.tested",
    object: target ?? "all",
    after: { targets: named },
  });
  const endpoints = ctx.policy().alerts.to.filter((id) => named.includes(id));
  const ends_at = performance.now() + TEST_MS;
  const [reached, tested] = await Promise.all([
    ctx.test_targets(target, alertId(ctx.newUuid())),
    Promise.all(endpoints.map(async (id) => {
      try {
        const input = { event: "webhooks.alert.began" };
        const isOver = () => performance.now() > ends_at;
        const { attempt, delivery } = await testEndpoint(ctx, by, id, input, isOver);
        const ok = attempt?.outcome === "delivered";
        return { target: id, ok, explanation: delivery.explanation };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        return { target: id, ok: false, explanation: error.message };
      }
    })),
  ]);
  return { targets: [...reached, ...tested] };
}

/** Names of those who get alerts: chats, mail and endpoints. */
export function alertTargets(ctx: AdminContext): string[] {
  const { chat, mail, to } = ctx.policy().alerts;
  return [...chat, ...(mail ? ["mail"] : []), ...to];
}

// --- where a business wants them -----------------------------------------------------------------------

/** Where a business wants alerts about its own endpoints, and whether mail can be sent at all. */
export interface ContactShown extends contacts.AlertContact {
  readonly can_mail: boolean;
}

/** The choice of the asker's business. */
export async function getContact(ctx: AdminContext, by: Asker): Promise<ContactShown> {
  const contact = await contacts.findContact(ctx.db.admin, requireBusiness(by));
  return { ...contact, can_mail: ctx.policy().alerts.mail };
}

/** Changes it; null removes. */
export async function setContact(
  ctx: AdminContext,
  by: Asker,
  { endpoint, mail }: contacts.AlertContact,
): Promise<void> {
  const business = requireBusiness(by);
  const before = await contacts.findContact(ctx.db.admin, business);
  const found = endpoint === null ? null : await findOwn(ctx, by, endpoint);
  if (mail !== null && !isMailAddress(mail)) {
    throw invalidAt("/mail", `${MAIL_ADDRESS_RULE}, not ${show(mail)}`);
  }
  if (mail !== null && mail !== before.mail && !ctx.policy().alerts.mail) {
    throw invalidAt("/mail", "Mail is not set up here; ask BookMe to do that");
  }
  ctx.pace(by, "change");
  await contacts.setContact(ctx.db.admin, business, { endpoint_no: found?.no ?? null, mail }, {
    actor: by.actor,
    action: "alert_contact.updated",
    object: business,
    before,
    after: { endpoint, mail },
  });
}

async function findOwn(ctx: AdminContext, by: Asker, id: string) {
  try {
    return await findEndpointInForce(ctx, by, id);
  } catch (error) {
    if (error instanceof AppError) throw invalidAt("/endpoint", error.message);
    throw error;
  }
}

function requireBusiness({ scope }: Asker): string {
  if (scope !== "everything") return scope.business;
  throw new AppError(
    "forbidden",
    "Only for a business: operators name theirs in the configuration",
  );
}
