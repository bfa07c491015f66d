import type { Config } from "../config/config.ts";
import { alertEvent, alertEventType } from "../core/alerting/event.ts";
import type { Sent } from "../core/alerting/undelivered.ts";
import { announcement, type Spoken, testWords } from "../core/alerting/words.ts";
import { AppError } from "../core/errors.ts";
import { alertId } from "../core/ids.ts";
import { uncapitalised } from "../core/words.ts";
import type { Offer } from "../delivery/batch.ts";
import type { Context } from "../delivery/context.ts";
import type { Fleet } from "../delivery/fleet.ts";
import type { HttpClient } from "../http/client.ts";
import { sendChat } from "../notify/chat.ts";
import type { Mailer } from "../notify/mail.ts";
import { finishNotice, type Notice, postponeNotice, takeNotices } from "../store/alerts.ts";
import { findContact } from "../store/alert_contacts.ts";
import { eventReceivers } from "./event_receivers.ts";
import { type Paced, POLL_MS, startPaced } from "./paced.ts";

/** By which announcements leave the program. */
export interface Ways {
  readonly fleet: () => Pick<Fleet, "endpoints" | "match" | "policy">;
  /** Stores events with their deliveries. */
  readonly accept: (offers: readonly Offer[]) => Promise<unknown>;
  readonly client: Pick<HttpClient, "post">;
  readonly mailer: Mailer;
  /** The beginning of links to the pages, or null. */
  readonly base_url: () => string | null;
}

/** Notices that are sent together. */
const AT_ONCE = 10;
/** The waits after attempts that failed. */
const WAITS_MS = [10_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000] as const;

/**
 * Sends the notices of alerts. Each daemon runs one; a daemon has a notice for a minute. Operational events are stored
 * under a key of their own, so once; chats and mails are sent again if a daemon is killed before it has noted that they
 * arrived. Only a daemon with the file in force sends those: their URLs are in there.
 */
export function startAnnouncer(ctx: Context, ways: Ways): Paced {
  async function round(): Promise<number> {
    const notices = await takeNotices(ctx.db.admin, ctx.shared().digest, AT_ONCE);
    await Promise.all(notices.map((notice) => announce(ctx, ways, notice)));
    return notices.length === 0 ? POLL_MS : 0;
  }
  return startPaced(round, (cause) => ctx.log.error("Announcing failed, trying again", { cause }));
}

async function announce(ctx: Context, ways: Ways, notice: Notice): Promise<void> {
  const { no, target, attempts } = notice;
  const sent = await send(ctx, ways, notice);
  const alert_id = alertId(notice.alert.id);
  if (sent.ok) {
    await finishNotice(ctx.db.admin, no);
    // Not sent again: the others would get it twice.
    const { missed = null } = sent;
    if (missed !== null) {
      const fields = { target, alert: alert_id, cause: missed };
      ctx.log.warn("An announcement did not reach everybody", fields);
    }
    return;
  }
  const wait_ms = WAITS_MS[attempts - 1] ?? null;
  await postponeNotice(ctx.db.admin, no, sent.cause, wait_ms);
  // Not each time: it may go on for days.
  if (attempts > 1 && wait_ms !== null) return;
  const { cause, remedy } = sent;
  const what = wait_ms === null ? "An announcement was given up" : "An announcement did not arrive";
  ctx.log.warn(what, { target, alert: alert_id, cause, remedy });
}

async function send(ctx: Context, ways: Ways, notice: Notice): Promise<Sent> {
  const { target, what, occasion, alert } = notice;
  const spoken = spokenOf(notice);
  const links = { base_url: ways.base_url() };
  if (target === "events") return await storeEvent(ctx, ways, notice, spoken);
  const { chat, mail } = ctx.config().alerts;
  const id = `${spoken.id}.${occasion}`;
  if (target === "mail" && mail !== null) {
    return await ways.mailer.send(mail, mail.to, announcement(spoken, what, links, "operator"), id);
  }
  if (target === "business-mail" && mail !== null && alert.business !== null) {
    const contact = await findContact(ctx.db.admin, alert.business);
    if (contact.mail === null) return { ok: true };
    const words = announcement(spoken, what, links, "business");
    return await ways.mailer.send(mail, [contact.mail], words, id);
  }
  const found = chat.find(({ name }) => name === target);
  // It was taken out of the file since.
  if (found === undefined) return { ok: true };
  return await sendChat(ways.client, found, announcement(spoken, what, links, "operator"));
}

function spokenOf({ alert, details, what }: Notice): Spoken {
  const is_over = what === "ended";
  return {
    ...alert,
    id: alertId(alert.id),
    ended_at: is_over ? alert.ended_at : null,
    end_reason: is_over ? alert.end_reason : null,
    details,
  };
}

/** Stores the operational event, for those who want it but the endpoint that it is about. */
async function storeEvent(
  ctx: Context,
  { fleet, accept, base_url }: Ways,
  { what, occasion, at, alert }: Notice,
  spoken: Spoken,
): Promise<Sent> {
  const { business } = alert;
  const contact = business === null ? null : await findContact(ctx.db.admin, business);
  const only_endpoint_nos = eventReceivers(fleet(), { ...alert, what }, contact?.endpoint ?? null);
  // They have left the fleet since.
  if (only_endpoint_nos.length === 0) return { ok: true };
  const audience = business === null ? "operator" : "business";
  const { link } = announcement(spoken, what, { base_url: base_url() }, audience);
  const event = {
    payload: alertEvent({ spoken, business, link }, what, at),
    type: alertEventType(what),
    business,
    subject: null,
    subject_key: null,
    confirmation: null,
  };
  try {
    await accept([{ event, key: `alert:${spoken.id}:${occasion}`, only_endpoint_nos }]);
    return { ok: true };
  } catch (error) {
    // Another daemon has stored it, with a link of its own.
    if (error instanceof AppError && error.code === "conflict") return { ok: true };
    if (!(error instanceof AppError)) throw error;
    return { ok: false, cause: "The event could not be stored", remedy: "It is tried again" };
  }
}

/** A test of one target by an operator. */
export interface TargetTest {
  readonly target: string;
  readonly ok: boolean;
  /** In words, with the remedy if it failed. */
  readonly explanation: string;
}

/** Sends a test to chats and mail, or to one of them, at once; answers in their order. */
export async function testTargets(
  alerts: Config["alerts"],
  { client, mailer, base_url }: Pick<Ways, "client" | "mailer" | "base_url">,
  only: string | undefined,
  id: string,
): Promise<TargetTest[]> {
  const base = base_url();
  const words = testWords(base === null ? null : `${base}/dashboard/alerts`);
  const tests: [string, () => Promise<Sent>][] = alerts.chat.map((
    chat,
  ) => [chat.name, () => sendChat(client, chat, words)]);
  const { mail } = alerts;
  if (mail !== null) tests.push(["mail", () => mailer.send(mail, mail.to, words, id)]);
  return await Promise.all(
    tests.filter(([target]) => only === undefined || target === only).map(
      async ([target, test]) => {
        return { target, ...verdictOf(await test()) };
      },
    ),
  );
}

function verdictOf(sent: Sent): Omit<TargetTest, "target"> {
  if (!sent.ok) return { ok: false, explanation: `${sent.cause}; ${uncapitalised(sent.remedy)}` };
  const { missed = null } = sent;
  return missed === null
    ? { ok: true, explanation: "The test arrived" }
    : { ok: false, explanation: `${missed}; the others got the test` };
}
