import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  alertId,
  deliveryId,
  deliveryUuid,
  endpointId,
  eventId,
  parseAlertId,
  parseDeliveryId,
  parseEventId,
  parseReplayId,
  replayId,
} from "../../lib/core/ids.ts";
import type { Sql } from "postgres";
import type { openDatabase } from "../../lib/store/database.ts";
import { putAlert, stopJudging } from "./alerts.ts";
import { ENCRYPTION_KEY } from "./checked.ts";
import { ADMIN, booking, endpoint, startDaemon, type TestDaemon, VIEWER } from "./daemon.ts";
import type { TestDatabase } from "./databases.ts";
import { type Receiver, startReceiver } from "./receiver.ts";
import { openLink } from "./visitor.ts";
import { until } from "./wait.ts";

/*
 * A house in which two businesses and an operator live, each with one of everything. Whatever belongs to one
 * of them has its word in it, or is an id among its marks: nobody else may find either in an answer.
 */

/** A viewer's token with `payloads: false`. */
export const BLIND = "blind-token-of-the-tests-0123";

/** Where the operator's requests come from, and posts that are refused. */
const ADDRESS = "10.66.6.6";

/** What all payloads, confirmation numbers and answers have in them. */
export const PAYLOAD_MARK = "payloadmark";

/** What a request can name. */
export interface Names {
  readonly endpoint: string;
  readonly event: string;
  readonly delivery: string;
  readonly replay: string;
  readonly alert: string;
  readonly business: string;
  readonly subject: string;
  readonly confirmation: string;
  /** Of changes in the audit log. */
  readonly actor: string;
}

/** Somebody in the house. */
export interface Party extends Names {
  readonly word: string;
  /** Bearer tokens: one that may write, and one that may only read. */
  readonly writer: string;
  readonly reader: string;
  readonly marks: readonly string[];
  /** A delivery that waits, at an endpoint of its own that is paused. */
  readonly waiting: string;
}

/** The house, with everything settled. */
export interface House extends AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly businesses: readonly [Party, Party];
  readonly operator: Party;
}

type Asked = (
  method: string,
  path: string,
  body?: unknown,
  token?: string,
  // deno-lint-ignore no-explicit-any
) => Promise<any>;

/** Builds it, on a daemon and a database of its own, which `open` opens; `sql` reaches the same database. */
export async function buildHouse(
  database: Pick<TestDatabase, "section">,
  sql: Sql,
  open?: typeof openDatabase,
): Promise<House> {
  const receiver = await startReceiver(() => ({
    status: 500,
    headers: { "X-Basalt": `basalt ${PAYLOAD_MARK}` },
    body: `basalt ${PAYLOAD_MARK}`,
  }));
  const daemon = await startDaemon(
    {
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
      delivery: { retry: ["0s"] },
      alerts: {
        chat: [{ kind: "slack", url: `${receiver.url}/basalt` }],
        mail: { smtp: "smtp://127.0.0.1:9", from: "a@basalt.invalid", to: ["b@basalt.invalid"] },
      },
      admin: {
        tokens: [
          { name: "basalt-ops", token: ADMIN, role: "admin" },
          { name: "basalt-wall", token: VIEWER, role: "viewer" },
          { name: "basalt-blind", token: BLIND, role: "viewer", payloads: false },
        ],
      },
      endpoints: [
        endpoint("basalt-all", receiver.url, { headers: { "X-Basalt": "basalt-value" } }),
        endpoint("basalt-for-quince", receiver.url, { businesses: ["bus_quince"] }),
      ],
    },
    undefined,
    open,
  );
  await stopJudging(sql);
  const ask: Asked = async (method, path, body, token = ADMIN) => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        ...(token === ADMIN ? { "x-forwarded-for": ADDRESS } : {}),
      },
      ...(method === "GET" ? {} : { body: JSON.stringify(body ?? {}) }),
    });
    const answer = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const quince = await moveIn(daemon, sql, ask, "quince");
  const walnut = await moveIn(daemon, sql, ask, "walnut");
  const operator = await operate(daemon, sql, ask);
  await settle(sql);
  await deliver(sql, [quince, walnut]);
  return {
    daemon,
    businesses: [await withMarks(sql, quince), await withMarks(sql, walnut)],
    operator: await withMarks(sql, operator),
    [Symbol.asyncDispose]: () => close(daemon, receiver),
  };
}

async function close(daemon: TestDaemon, receiver: Receiver): Promise<void> {
  await daemon[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
}

/** Waits until nothing is due or under way any more. */
export async function settle(sql: Sql): Promise<void> {
  await until("everything has ended or waits", async () => {
    const [row] = await sql<{ open: number }[]>`
      select ((select count(*) from pending_deliveries p join endpoints n on n.no = p.endpoint_no
          where n.paused_at is null and p.due_at <= now())
        + (select count(*) from replays where state = 'running'))::int as open`;
    return row?.open === 0;
  });
}

/** An event whose payload has the word in every place that is shown or found. */
export function posted(word: string, nth: number, business?: string) {
  return booking(`apt_${word}_${nth}`, business, {
    confirmationNumber: `${word}-${PAYLOAD_MARK}-${nth}`,
    customer: { name: `${word} ${PAYLOAD_MARK}` },
  });
}

const SINCE = "2026-01-01T00:00:00Z";

async function moveIn(
  daemon: TestDaemon,
  sql: Sql,
  ask: Asked,
  word: string,
): Promise<Party> {
  const business = `bus_${word}`;
  const writer = await ask("POST", "portal-links", { business });
  const reader = await ask("POST", "portal-links", { business, read_only: true });
  const make = async (name: string) => {
    const made = await ask("POST", "endpoints", {
      url: `https://${word}.invalid/${word}-${name}`,
      events: ["*"],
      description: `${word} ${name}`,
      headers: { [`X-${word}`]: `${word}-value` },
    }, writer.token);
    return made as { readonly id: string; readonly secret: string };
  };
  const [open, paused, gone] = [await make("open"), await make("paused"), await make("gone")];
  await ask("POST", `endpoints/${paused.id}/pause`, {}, writer.token);
  const { body: first } = await daemon.post(posted(word, 1, business));
  const { body: second } = await daemon.post(posted(word, 2, business));
  await ask("DELETE", `endpoints/${gone.id}`, {}, writer.token);
  const delivery = await daemon.deliveryId(first.id, open.id);
  await daemon.delivery(delivery);
  await daemon.delivery(await daemon.deliveryId(second.id, open.id));
  const cancelled = await daemon.deliveryId(first.id, paused.id);
  await ask("POST", `deliveries/${cancelled}/cancel`, {}, writer.token);
  const tested = { event: "booking.created" };
  await ask("POST", `endpoints/${open.id}/test`, tested, writer.token);
  const input = { endpoint: open.id, since: SINCE };
  const replay = await ask("POST", "replays", input, writer.token);
  // The operator changes what is theirs, too.
  await ask("POST", `endpoints/${open.id}/pause`, {});
  await ask("POST", `endpoints/${open.id}/resume`, {});
  await ask("POST", `endpoints/${paused.id}/pause`, { reason: `seen to by hand at ${word}` });
  const mail = `${word}@${word}.invalid`;
  const saved = await (await openLink(daemon.url, writer.token))
    .submit("/portal/alerts/contact", { endpoint: open.id, mail }, "/portal/alerts");
  assert.equal(saved.status, 303, saved.text);
  const alert = await alarm(sql, open.id, paused.id);
  return {
    word,
    alert,
    endpoint: open.id,
    event: first.id,
    delivery,
    replay: replay.id,
    business,
    subject: `apt_${word}_1`,
    confirmation: `${word}-${PAYLOAD_MARK}-1`,
    actor: `portal:${writer.id}`,
    writer: writer.token,
    reader: reader.token,
    marks: [writer.id, reader.id, writer.token, reader.token, open.secret, gone.secret],
    waiting: await daemon.deliveryId(second.id, paused.id),
  };
}

/** An open alert about each of two endpoints, and an older one that ended; the operator looks after the first. */
async function alarm(sql: Sql, endpoint: string, other: string): Promise<string> {
  const told = { "basalt-chat": false, mail: true, "business-mail": true };
  await putAlert(sql, {
    kind: "endpoint_gone",
    endpoint,
    began: 90,
    ended: { ago: 60, reason: "resumed" },
    told,
  });
  await putAlert(sql, { kind: "deliveries_overdue", endpoint: other, began: 30, told });
  return await putAlert(sql, {
    kind: "endpoint_failing",
    endpoint,
    began: 20,
    details: { attempts: 7, failed: 7, reason: "dns" },
    acknowledged_by: "basalt-ops",
    told,
  });
}

async function operate(daemon: TestDaemon, sql: Sql, ask: Asked): Promise<Party> {
  const made = await ask("POST", "endpoints", {
    url: "https://basalt.invalid/",
    events: ["*"],
    businesses: ["bus_quince", "bus_walnut"],
    description: "basalt",
  });
  await ask("POST", `endpoints/${made.id}/pause`, {});
  const refused = await daemon.post(posted("basalt", 9), { "x-forwarded-for": ADDRESS });
  assert.equal(refused.status, 403);
  const { body: event } = await daemon.post(posted("basalt", 1));
  const { body: shared } = await daemon.post(posted("basalt", 2, "bus_basalt"));
  const delivery = await daemon.deliveryId(event.id, "basalt-all");
  await daemon.delivery(delivery);
  await daemon.delivery(await daemon.deliveryId(shared.id, "basalt-all"));
  await ask("POST", "endpoints/basalt-all/test", { event: "booking.created" });
  const replay = await ask("POST", "replays", { endpoint: "basalt-all", since: SINCE });
  await putAlert(sql, { kind: "disk_low", subject: "basalt-daemon", began: 20 });
  await putAlert(sql, { kind: "target_failing", subject: "business-mail:bus_quince", began: 20 });
  const alert = await alarm(sql, "basalt-for-quince", made.id);
  return {
    word: "basalt",
    alert,
    endpoint: made.id,
    event: event.id,
    delivery,
    replay: replay.id,
    business: "bus_basalt",
    subject: "apt_basalt_1",
    confirmation: `basalt-${PAYLOAD_MARK}-1`,
    actor: "basalt-ops",
    writer: ADMIN,
    reader: VIEWER,
    marks: [ADMIN, VIEWER, BLIND, made.secret, ADDRESS],
    waiting: delivery,
  };
}

/** Their receivers are at public addresses, which no test has: one delivery of each counts as delivered. */
async function deliver(sql: Sql, parties: readonly Party[]): Promise<void> {
  for (const { word, delivery } of parties) {
    const { count } = await sql`
      update ended_deliveries set status = 'delivered', last_outcome = 'delivered', last_status = 200,
        cause = null, response_head = ${`HTTP/1.1 200 OK\r\nX-Answer: ${word} ${PAYLOAD_MARK}`},
        response_body = convert_to(${`${word} ${PAYLOAD_MARK}`}, 'UTF8'), response_truncated = false,
        request_timestamp = 1
      where id = ${parseDeliveryId(delivery) ?? ""}::uuid`;
    assert.equal(count, 1);
  }
}

/** Adds the ids of all that belongs to a party, by what the database has. */
async function withMarks(sql: Sql, party: Party): Promise<Party> {
  const is_operator = party.word === "basalt";
  const owner = is_operator ? sql`n.owner is null` : sql`n.owner = ${party.business}`;
  const rows = await sql<{ id: string }[]>`
    select n.id from endpoints n where ${owner}
    union all select shown_event(e.id) from events e where ${
    is_operator
      ? sql`e.business is null or e.business = ${party.business}`
      : sql`e.business = ${party.business}`
  }
    -- Without dlv_, to find attempts as well.
    union all select substr(d.id, 5) from deliveries d join endpoints n on n.id = d.endpoint where ${owner}`;
  const alerts = await sql<{ id: string }[]>`
    select a.id from alerts a where ${
    is_operator ? sql`a.business is null` : sql`a.business = ${party.business}`
  }`;
  return {
    ...party,
    marks: [
      ...[party.word, ...party.marks, party.replay],
      ...rows.map(({ id }) => id),
      ...alerts.map(({ id }) => alertId(id)),
    ],
  };
}

/** Names like these, of the same length and time, that name nothing. */
export function neverWas(names: Names): Names {
  const event = eventId(twisted(parseEventId(names.event) ?? ""));
  const uuid = parseDeliveryId(names.delivery) ?? "";
  const no = Number.parseInt(uuid.slice(-8), 16);
  const other = (text: string) => text.replace(/[a-z]{6}/, "nobody");
  return {
    endpoint: endpointId(randomBytes(20)),
    event,
    delivery: deliveryId(deliveryUuid(twisted(uuid), no)),
    replay: replayId(twisted(parseReplayId(names.replay) ?? "")),
    alert: alertId(twisted(parseAlertId(names.alert) ?? "")),
    business: other(names.business),
    subject: other(names.subject),
    confirmation: other(names.confirmation),
    actor: names.actor.startsWith("portal:") ? `portal:lnk_${"0".repeat(20)}` : other(names.actor),
  };
}

/** A UUID with another random bit. */
function twisted(uuid: string): string {
  const digit = Number.parseInt(uuid.charAt(27), 16) ^ 1;
  return uuid.slice(0, 27) + digit.toString(16) + uuid.slice(28);
}
