import { Buffer } from "node:buffer";
import type { Sql } from "postgres";
import { alertId } from "../../../lib/core/ids.ts";
import { OUTDATED } from "../../../lib/store/alerts.ts";
import { sleep } from "../../support/wait.ts";
import { originOf } from "../client.ts";
import type { Random } from "../random.ts";
import { type Receiver, startReceiver } from "../receivers.ts";
import type { Asking } from "./browser.ts";
import type { AlertRow, ChatSeen, NoticeChange, NoticeRow, ToldRow } from "./watched.ts";

/** Writes every change to a notice of an alert down, with who made it. */
export const WRITE_NOTICES = `
create table torture.notices (
  seq bigint generated always as identity primary key,
  at timestamptz not null default now(),
  writer text not null default current_setting('application_name'),
  no bigint not null, what text not null, leased_before timestamptz
);
create function torture.notice() returns trigger language plpgsql security definer as $$
begin
  insert into torture.notices (no, what, leased_before) values (new.no, case
    when new.attempts > old.attempts then 'claimed'
    when new.done_at is not null then 'done'
    when new.cause = '${OUTDATED}' then 'outdated'
    when new.failed_at is not null then 'given_up'
    when new.leased_until is null then 'postponed'
    else 'freed' end, old.leased_until);
  return null;
end $$;
create trigger torture after update on alert_notices
  for each row execute function torture.notice();
`;

/** Ends the leases of notices that these lives hold, and all that are older than `age_ms`: see `expireLeases`. */
export async function freeNotices(
  sql: Sql,
  holders: readonly string[],
  age_ms: number | null,
): Promise<void> {
  await sql`
    update alert_notices n set leased_until = now()
    where n.leased_until > now() and n.done_at is null and n.failed_at is null and exists (
      select from (
        select h.writer, h.at from torture.notices h where h.no = n.no and h.what = 'claimed'
        order by h.seq desc limit 1
      ) h
      where h.writer = any(string_to_array(${holders.join(",")}, ','))
        or h.at < now() - ${age_ms}::int * interval '1 ms')`;
}

/** A chat that gets announcements, and takes its time, so that daemons are struck while they announce. */
export interface Chat {
  readonly url: string;
  readonly seen: readonly ChatSeen[];
  close(): Promise<void>;
}

const SLOW_MS = 1_500;

/** Starts a chat at this address. */
export async function startChat(random: Random, hostname: string): Promise<Chat> {
  const seen: ChatSeen[] = [];
  const receiver = await startReceiver(undefined, hostname);
  receiver.manner = () => ({
    status: 200,
    ...(random.chance(0.5) ? { delay_ms: random.int(1, SLOW_MS) } : {}),
  });
  receiver.onRead = ({ body }) => {
    const { text, link } = wordsOf(Buffer.from(body).toString());
    const what = text.startsWith("Over: ")
      ? "ended"
      : text.startsWith("Reminder: ")
      ? "reminded"
      : "began";
    seen.push({ alert_id: /#(alr_[0-9a-z]+)/.exec(link)?.[1] ?? text, what, at: Date.now() });
  };
  return {
    url: `${originOf(receiver)}/chat`,
    seen,
    close: receiver.close,
  };
}

/** The words of a message to Slack, and its last line, which has the link. */
function wordsOf(message: string): { text: string; link: string } {
  const { text, blocks } = JSON.parse(message);
  return { text, link: blocks.at(-1).text.text };
}

/** The endpoint that says 410 now and then. */
const LEAVER = "leaver";

/** Makes an alert begin and end, again and again. */
export interface Leaving {
  /** Whether it may leave. */
  on: boolean;
  stop(): Promise<void>;
}

/** Lets the receiver of `leaver` say 410 once, waits for the alert, and has an operator resume the endpoint. */
export function startLeaving(
  sql: Sql,
  receiver: Receiver,
  random: Random,
  call: (path: string, asking?: Asking) => Promise<number | undefined>,
): Leaving {
  let leaves = false;
  let stopped = false;
  receiver.manner = () => {
    const status = leaves ? 410 : 200;
    leaves = false;
    return { status };
  };
  async function step(): Promise<void> {
    const [row] = await sql<{ is_gone: boolean; alerts: number }[]>`
      select coalesce(paused_by = 'gone', false) as is_gone, (
        select count(*)::int from alerts a
        where a.subject = n.id and a.kind = 'endpoint_gone' and a.ended_at is null) as alerts
      from endpoints n where id = ${LEAVER}`;
    if (row === undefined) return;
    const { is_gone, alerts } = row;
    // Towards the end it is resumed whether anybody has noticed or not.
    if (is_gone && (alerts > 0 || !leaving.on)) {
      await call(`/api/endpoints/${LEAVER}/resume`, { method: "POST" });
    } else leaves = leaving.on && !is_gone && alerts === 0;
  }
  const leaving: Leaving = {
    on: false,
    async stop() {
      stopped = true;
      await running;
    },
  };
  const running = (async () => {
    while (!stopped) {
      // The database may be away.
      await step().catch(() => {});
      await sleep(random.int(300, 1_000));
    }
  })();
  return leaving;
}

/** How many notices are still to be sent. */
export async function unannounced(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int from alert_notices where done_at is null and failed_at is null`;
  return row?.count ?? NaN;
}

/** Whether each of these endpoints has an open alert that it fails, and the one that left has none any more. */
export async function isTold(sql: Sql, failing: readonly string[]): Promise<boolean> {
  const rows = await sql<{ kind: string; subject: string }[]>`
    select kind, subject from alerts where ended_at is null`;
  return failing.every((id) =>
    rows.some(({ kind, subject }) => kind === "endpoint_failing" && subject === id)
  ) && !rows.some(({ kind }) => kind === "endpoint_gone");
}

/** What the database says of alerts and their notices. */
export async function readAlarms(sql: Sql): Promise<{
  alerts: AlertRow[];
  notices: NoticeRow[];
  notice_changes: NoticeChange[];
  told: ToldRow[];
}> {
  const alerts = await sql<AlertRow[]>`
    select id, kind, subject, occasions,
      (extract(epoch from opened_at) * 1000)::float8 as opened_at,
      (extract(epoch from ended_at) * 1000)::float8 as ended_at
    from alerts`;
  const notices = await sql<NoticeRow[]>`
    select no::text, alert_id, occasion, what, target, attempts, done_at is not null as is_done,
      coalesce(cause = ${OUTDATED}, false) as is_outdated
    from alert_notices order by no`;
  const changes = await sql<NoticeChange[]>`
    select no::text, what, writer, (extract(epoch from at) * 1000)::float8 as at,
      (extract(epoch from leased_before) * 1000)::float8 as leased_before
    from torture.notices order by seq`;
  const events = await sql<ToldRow[]>`
    select payload::json -> 'data' -> 'alert' ->> 'id' as alert_id,
      substr(type, length('webhooks.alert.') + 1) as what, (
        select count(*) from ended_deliveries d
        where d.id between e.id and last_of(e.id))::int + (
        select count(*) from pending_deliveries d
        where d.id between e.id and last_of(e.id))::int as deliveries
    from events e where type like 'webhooks.alert.%'`;
  return {
    alerts: alerts.map((alert) => ({ ...alert, id: alertId(alert.id) })),
    notices: notices.map((notice) => ({ ...notice, alert_id: alertId(notice.alert_id) })),
    notice_changes: [...changes],
    told: [...events],
  };
}
