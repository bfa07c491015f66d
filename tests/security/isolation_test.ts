import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { OPERATIONS } from "../../routes/api/routes.ts";
import type { AnyOperation } from "../../routes/api/operation.ts";
import { ADMIN, VIEWER } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import {
  BLIND,
  buildHouse,
  type House,
  type Names,
  neverWas,
  type Party,
  PAYLOAD_MARK,
  posted,
  settle,
} from "../support/house.ts";
import { nameless, refuseMarksIn, stateOf, tableText } from "../support/isolation.ts";
import { until } from "../support/wait.ts";

/** How the walk asks an operation that portal tokens reach, about somebody's names. */
interface Step {
  /** What the `{id}` of the path names. */
  readonly id?: keyof Names;
  /** Queries: what stands behind the `?`. */
  readonly queries?: (of: Names) => readonly string[];
  readonly body?: (of: Names) => unknown;
  /** It is done to one's own last, with this result. */
  readonly own?: number;
}

const WINDOW = "since=2026-01-01T00:00:00Z&until=2099-01-01T00:00:00Z";

/** Every operation that portal tokens reach, in the order in which a business does it to its own. */
const STEPS: Readonly<Record<string, Step>> = {
  listEndpoints: {
    queries: ({ endpoint }) => [
      ...["", "limit=1", "source=api", "source=file", "retired=true"],
      ...[`cursor=${endpoint}`, `retired=true&cursor=${endpoint}`],
    ],
  },
  getEndpoint: { id: "endpoint" },
  listEvents: {
    queries: ({ event, delivery, business, subject, confirmation }) => [
      ...["", "limit=1", "count=true", "type=booking.created&count=true", WINDOW],
      ...[event, delivery, `att_${delivery.slice(4)}001`, subject, confirmation].map((q) =>
        `q=${q}`
      ),
      ...[subject, confirmation].map((name) => `q=${name.slice(0, -1)}x`),
      ...[`q=${business}`, `business=${business}`, `business=${business}&count=true&${WINDOW}`],
      ...[`cursor=${event}`, `cursor=${event}&type=booking.created&count=true`],
    ],
  },
  getEvent: { id: "event" },
  listEventTypes: { queries: () => ["", "cursor=booking.created"] },
  listDeliveries: {
    queries: ({ endpoint, delivery }) => [
      ...["", "limit=1", "count=true", "type=booking.created&count=true", `count=true&${WINDOW}`],
      ...["pending", "delivered", "failed", "cancelled"].map((one) => `status=${one}&count=true`),
      ...["reason=any", "reason=dns", "reason=cancelled&count=true", "code=2xx", "code=500"],
      ...[`endpoint=${endpoint}`, `endpoint=${endpoint}&count=true&status=failed`],
      ...[`cursor=${delivery}`, `cursor=${delivery}&status=failed`],
    ],
  },
  getDelivery: { id: "delivery" },
  compareAttempts: { id: "delivery", queries: () => ["", "attempt=1", "attempt=1&with=1"] },
  listReplays: { queries: ({ replay }) => ["", "limit=1", `cursor=${replay}`] },
  getReplay: { id: "replay" },
  listAlerts: { queries: ({ alert, endpoint }) => ["", `cursor=${alert}`, `endpoint=${endpoint}`] },
  acknowledgeAlert: { id: "alert" },
  snoozeAlert: { id: "alert", body: () => ({ for: "1h" }) },
  getStats: {
    queries: ({ endpoint }) => ["", "window=30d", `endpoint=${endpoint}`],
  },
  listAudit: {
    queries: ({ endpoint, delivery, replay, business, actor }) => [
      ...["", "limit=1", "action=endpoint.paused", "action=portal_link.created", WINDOW],
      ...[endpoint, delivery, replay, business, actor.replace("portal:", "")]
        .map((one) => `object=${one}`),
      "cursor=aud_7zzzzzzzzzzzzzzzzzzzzzzzzc",
      ...[
        `actor=${actor}`,
        `actor=${actor}&action=endpoint.paused`,
        "cursor=aud_00000000000000000000000000",
      ],
    ],
  },
  followChanges: { queries: ({ endpoint }) => [`endpoint=${endpoint}`] },
  createEndpoint: {
    body: ({ business }) => ({
      url: "https://new.invalid/",
      events: ["*"],
      businesses: [business],
    }),
    own: 201,
  },
  updateEndpoint: { id: "endpoint", body: () => ({ description: "Changed" }), own: 200 },
  pauseEndpoint: { id: "endpoint", body: () => ({ reason: "Changed" }), own: 200 },
  resumeEndpoint: { id: "endpoint", own: 200 },
  rotateSecret: { id: "endpoint", body: () => ({}), own: 200 },
  endOverlap: { id: "endpoint", body: () => ({ ends_at: "now" }), own: 200 },
  testEndpoint: { id: "endpoint", body: () => ({ event: "booking.created" }), own: 200 },
  checkEndpoint: { id: "endpoint", own: 200 },
  retryDelivery: { id: "delivery", own: 200 },
  cancelDelivery: { id: "delivery", own: 200 },
  checkSignature: {
    body: ({ endpoint }) => ({
      endpoint,
      body: "{}",
      headers: { "X-BookMe-Signature": `sha256=${"0".repeat(64)}` },
    }),
    own: 200,
  },
  createReplay: {
    body: ({ endpoint }) => ({ endpoint, since: "2026-01-01T00:00:00Z", status: "delivered" }),
    own: 201,
  },
  cancelReplay: { id: "replay", own: 409 },
  deleteEndpoint: { id: "endpoint", own: 200 },
};

/** A request to the API. */
interface Request {
  readonly method: string;
  /** Behind `/api/`. */
  readonly path: string;
  readonly body?: unknown;
}

interface Answer {
  readonly status: number;
  /** Head and body, but for the moment. */
  readonly text: string;
}

async function ask(house: House, request: Request, token: string | null): Promise<Answer> {
  const { method, path, body } = request;
  const response = await fetch(`${house.daemon.url}/api/${path}`, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(method === "GET" ? {} : { "content-type": "application/json" }),
    },
    ...(method === "GET" ? {} : { body: JSON.stringify(body ?? {}) }),
  });
  const head = [...response.headers].filter(([name]) => name !== "date");
  return { status: response.status, text: JSON.stringify(head) + await response.text() };
}

/** All requests of an operation about these names. */
function requestsOf(operation: AnyOperation, of: Names): Request[] {
  const { id, queries, body } = STEPS[operation.id] ?? {};
  const method = operation.method.toUpperCase();
  const path = operation.path.replace("/api/", "")
    .replace("{id}", id === undefined ? "some" : of[id]);
  const paths = queries?.(of).map((query) => query === "" ? path : `${path}?${query}`) ?? [path];
  return paths.map((path) => ({ method, path, ...(body === undefined ? {} : { body: body(of) }) }));
}

/** An answer without what differs between two moments. */
function withoutMoments({ status, text }: Answer): string {
  // The numbers of an answer to 200 change in length.
  const whole = status === 200 ? text.replace(/"content-length","\d+"/, "") : text;
  return `${status} ` + whole.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replaceAll(/("oldest(?:_pending|_overdue)?_ms":|"overdue_ms":)[\d.]+/g, "$1MS");
}

/** The same without the names that it was asked about. */
function withoutNames(answer: Answer, names: Names): string {
  return withoutMoments({ ...answer, text: nameless(answer.text, names) });
}

/** Fails if an answer has anything in it that belongs to another party than `own`. */
function refuseMarks(house: House, own: Party | null, request: Request, { text }: Answer): void {
  const echoed = text.replaceAll(/No such route: [^"]*/g, "");
  const asked = `${request.method} ${request.path} ${JSON.stringify(request.body ?? {})}`;
  refuseMarksIn(house, own, asked, echoed);
}

/** The statuses that an operation answered with, by who asked about what. */
type Seen = Map<string, Map<string, Set<number>>>;

function note(seen: Seen, operation: AnyOperation, column: string, { status }: Answer): void {
  const row = seen.get(operation.id) ?? new Map<string, Set<number>>();
  seen.set(operation.id, row.set(column, (row.get(column) ?? new Set()).add(status)));
}

const walked = OPERATIONS.filter(({ portal }) => portal === true);

/** A business asks about what it does not have: it is as what never was. */
async function walkOthers(house: House, own: Party, seen: Seen): Promise<void> {
  const others = [...house.businesses, house.operator].filter((party) => party !== own);
  for (const operation of walked) {
    for (const other of others) {
      const never = neverWas(other);
      const twins = requestsOf(operation, never);
      for (const [index, request] of requestsOf(operation, other).entries()) {
        const twin = twins[index] ?? request;
        const found = await ask(house, request, own.writer);
        const missing = await ask(house, twin, own.writer);
        for (const [asked, answer] of [[request, found], [twin, missing]] as const) {
          refuseMarks(house, own, asked, answer);
        }
        assert.equal(
          withoutNames(found, other),
          withoutNames(missing, never),
          `${request.method} ${request.path} as ${twin.path}`,
        );
        note(seen, operation, other === house.operator ? "operator's" : "another's", found);
        note(seen, operation, "never was", missing);
        const read = await ask(house, request, own.reader);
        refuseMarks(house, own, request, read);
        if (operation.method !== "get") assert.equal(read.status, 403, request.path);
        else assert.equal(withoutNames(read, other), withoutNames(found, other), request.path);
        note(seen, operation, "read-only link", read);
      }
    }
  }
}

/** A business reads what it has. Returns the answers. */
async function walkOwn(house: House, own: Party, seen: Seen): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  for (const operation of walked.filter(({ method }) => method === "get")) {
    if (operation.id === "followChanges") continue;
    const found: string[] = [];
    for (const request of requestsOf(operation, own)) {
      const answer = await ask(house, request, own.writer);
      assert.equal(answer.status, 200, `${request.path}: ${answer.text}`);
      refuseMarks(house, own, request, answer);
      note(seen, operation, "own", answer);
      found.push(answer.text);
      answers.set(request.path, withoutMoments(answer));
    }
    // Otherwise the walk would prove nothing.
    if (operation.id === "listEventTypes") continue;
    assert.ok(own.marks.some((mark) => found.join().includes(mark)), operation.id);
  }
  return answers;
}

/** A business asks for what portal tokens do not reach. */
async function walkClosed(house: House, own: Party, seen: Seen): Promise<void> {
  const closed = OPERATIONS.filter(({ portal }) => portal !== true);
  assert.ok(closed.length > 3);
  const withoutRoute = ({ status, text }: Answer) =>
    `${status} ${text.replace(/No such route: [^"]*/, "").replace(/"content-length","\d+"/, "")}`;
  for (const operation of closed) {
    for (const request of requestsOf(operation, own)) {
      for (const token of [own.writer, own.reader]) {
        const answer = await ask(house, request, token);
        const never = await ask(house, { ...request, path: "never-was" }, token);
        assert.equal(withoutRoute(answer), withoutRoute(never), request.path);
        refuseMarks(house, own, request, answer);
        note(seen, operation, token === own.writer ? "own" : "read-only link", answer);
        for (const column of token === own.writer ? ["another's", "operator's", "never was"] : []) {
          note(seen, operation, column, answer);
        }
      }
    }
  }
}

/** The viewers, and nobody, ask for everything. */
async function walkViewers(house: House, seen: Seen): Promise<void> {
  const parties = [...house.businesses, house.operator];
  for (const operation of OPERATIONS) {
    if (operation.id === "followChanges") continue;
    for (const request of parties.flatMap((party) => requestsOf(operation, party))) {
      const nobody = await ask(house, request, null);
      assert.equal(nobody.status, 401, request.path);
      refuseMarks(house, null, request, nobody);
      note(seen, operation, "no token", nobody);
      for (const [column, token] of [["viewer", VIEWER], ["payloads: false", BLIND]] as const) {
        const answer = await ask(house, request, token);
        if (operation.method !== "get") assert.equal(answer.status, 403, request.path);
        note(seen, operation, column, answer);
        if (token !== BLIND || request.path.includes(PAYLOAD_MARK)) continue;
        assert.ok(!answer.text.includes(PAYLOAD_MARK), `${request.path}: ${answer.text}`);
      }
    }
  }
}

/** A business does what it may to what it has. */
async function change(house: House, sql: Sql, own: Party, seen: Seen): Promise<void> {
  const byId = new Map(walked.map((operation) => [operation.id, operation]));
  for (const [id, step] of Object.entries(STEPS)) {
    const operation = byId.get(id);
    if (operation === undefined || step.own === undefined) continue;
    const names = id === "cancelDelivery" ? { ...own, delivery: own.waiting } : own;
    for (const request of requestsOf(operation, names)) {
      const answer = await ask(house, request, own.writer);
      assert.equal(answer.status, step.own, `${request.path}: ${answer.text}`);
      refuseMarks(house, own, request, answer);
      note(seen, operation, "own", answer);
    }
    await settle(sql);
  }
  // All that failed or was cancelled: its own, if it need not name an endpoint.
  const body = { since: "2026-01-01T00:00:00Z", status: ["failed", "cancelled"] };
  const answer = await ask(house, { method: "POST", path: "replays", body }, own.writer);
  assert.ok([201, 422].includes(answer.status), answer.text);
  await settle(sql);
}

/** A stream that is being read. */
interface Followed extends AsyncDisposable {
  /** Waits until a message has this in it, and returns all that came. */
  heard(what: string): Promise<string>;
}

/** Follows what changes with this token. */
async function follow(house: House, token: string): Promise<Followed> {
  const leaving = new AbortController();
  const response = await fetch(`${house.daemon.url}/api/stream`, {
    headers: { authorization: `Bearer ${token}` },
    signal: leaving.signal,
  });
  assert.equal(response.status, 200);
  let text = "";
  const reading = (async () => {
    const body = response.body?.pipeThrough(new TextDecoderStream()) ?? [];
    for await (const part of body) text += part;
  })().catch(() => {}); // when it leaves
  const heard = (what: string) =>
    until(`the stream says ${what}`, () => text.includes(what) ? text : undefined);
  await heard("event: ready");
  return {
    heard,
    async [Symbol.asyncDispose]() {
      leaving.abort();
      await reading;
    },
  };
}

/** Two businesses follow what changes while `happens`: neither hears of the other, or of the operator. */
async function walkStream(house: House, happens: () => Promise<void>): Promise<void> {
  if (walked.every(({ id }) => id !== "followChanges")) return await happens();
  const [one, two] = house.businesses;
  await using heard_one = await follow(house, one.reader);
  await using heard_two = await follow(house, two.writer);
  await happens();
  for (const [own, followed] of [[one, heard_one], [two, heard_two]] as const) {
    // It comes last: everything before has been told by then.
    const { body } = await house.daemon.post(posted(own.word, 5, own.business));
    const answer = { status: 200, text: await followed.heard(body.id) };
    refuseMarks(house, own, { method: "GET", path: "stream" }, answer);
  }
}

const COLUMNS = ["own", "another's", "operator's", "never was", "read-only link"].concat(
  ["viewer", "payloads: false", "no token"],
);

/** The table of docs/isolation.md. */
function tableOf(seen: Seen): string {
  const rows = OPERATIONS.map((operation) => {
    const cells = COLUMNS.map((column) =>
      [...seen.get(operation.id)?.get(column) ?? []].toSorted().join(", ") || "-"
    );
    return [`\`${operation.method.toUpperCase()} ${operation.path}\``, ...cells];
  });
  return tableText([["route", ...COLUMNS], ...rows]);
}

const PAGE = new URL("../../docs/isolation.md", import.meta.url);

/** Compares the table with the one of the documentation, or writes it there. */
async function document(table: string): Promise<void> {
  const page = await Deno.readTextFile(PAGE);
  const next = page.replace(/^\| route[^]*?\|\n(?!\|)/m, () => `${table}\n`);
  if (Deno.env.get("ISOLATION") === "write") return await Deno.writeTextFile(PAGE, next);
  assert.equal(page, next, "docs/isolation.md is out of date: run `deno task isolation`");
}

Deno.test("the walk knows how to ask every operation that portal tokens reach", () => {
  const missing = walked.map(({ id }) => id).filter((id) => !Object.hasOwn(STEPS, id));
  assert.deepEqual(missing, [], "add them to STEPS, and run `deno task isolation`");
});

onServer(
  "isolation.walk: a business neither sees nor changes what is another's or the operator's",
  async (database) => {
    await using db = await database.open();
    const sql = db.admin;
    await using house = await buildHouse(database, sql);
    const [one, two] = house.businesses;
    const seen: Seen = new Map();
    const before = await stateOf(sql);
    for (const own of house.businesses) {
      await walkOthers(house, own, seen);
      await walkOwn(house, own, seen);
      await walkClosed(house, own, seen);
    }
    await walkViewers(house, seen);
    assert.deepEqual(await stateOf(sql), before, "nothing was changed");
    assert.equal((await ask(house, { method: "GET", path: "config" }, ADMIN)).status, 200);

    const others = await stateOf(sql, one);
    const shown = await walkOwn(house, two, seen);
    await walkStream(house, async () => {
      await change(house, sql, one, seen);
      assert.deepEqual(await stateOf(sql, one), others, "nothing of others was changed");
      await house.daemon.post([posted("basalt", 3), posted("basalt", 4, "bus_basalt")]);
      await settle(sql);
      assert.deepEqual(await walkOwn(house, two, seen), shown, "whatever others do");
    });
    await document(tableOf(seen));
  },
);
