import assert from "node:assert/strict";
import { makeBudget, startTracing } from "../../lib/observe/traces.ts";
import { ADMIN, booking, endpoint, SECRET, spawnDaemon } from "../support/daemon.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { type ExportedSpan, startCollector } from "../support/collector.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const CAME = `00-${TRACE}-${SPAN}-01`;

const isAttempt = ({ name }: ExportedSpan) => name === "attempt";
const isIngest = ({ name }: ExportedSpan) => name === "ingest";
/** The spans of an event. */
const of = (id: string) => ({ attributes }: ExportedSpan) => attributes["bookme.event.id"] === id;

Deno.test("startTracing() answers nothing, and loads nothing, unless Deno traces", async () => {
  assert.equal(await startTracing(() => "true"), undefined);
});

Deno.test("makeBudget() lets so many through in each second", () => {
  let now = 5_000;
  const budget = makeBudget(2, () => now);
  assert.deepEqual([budget(), budget(), budget()], [true, true, false]);
  now += 999;
  assert.equal(budget(), false);
  now += 1;
  assert.deepEqual([budget(), budget(), budget()], [true, true, false]);
  now += 60_000;
  assert.deepEqual([budget(), budget(), budget()], [true, true, false], "none is saved up");
  const all = makeBudget(Infinity, () => now);
  assert.ok(Array.from({ length: 10_000 }, all).every(Boolean));
});

onBoth(
  "a trace leads from a post to the first attempt, and later ones link to it",
  async (database) => {
    await using collector = startCollector();
    await using asks = await startReceiver(statuses(500, 200));
    await using other = await startReceiver();
    await using daemon = await spawnDaemon(
      {
        database: database.section,
        endpoints: [
          endpoint("asks", asks.url, { traceparent: true, retry: ["0s", "0s"] }),
          endpoint("other", other.url),
        ],
      },
      undefined,
      collector.env,
    );
    const { body: { id } } = await daemon.post(booking("apt_1"), { traceparent: CAME });
    const spans = await collector.recorded(4, of(id));
    const [ingest] = spans.filter(isIngest);
    assert.ok(ingest !== undefined && ingest.took_ms > 0);
    assert.deepEqual([ingest.trace_id, ingest.parent_id, ingest.kind], [TRACE, SPAN, "server"]);
    assert.deepEqual(ingest.attributes, {
      "http.request.method": "POST",
      "http.response.status_code": 202,
      "bookme.events": 1,
      "bookme.event.id": id,
      "bookme.event.type": "booking.created",
    });
    const attempts = spans.filter(isAttempt);
    const [first, second] = [1, 2].map((number) =>
      attempts.find(({ attributes }) =>
        attributes["bookme.endpoint.id"] === "asks" &&
        (attributes["http.request.resend_count"] ?? 0) === number - 1
      )
    );
    const unasked = attempts.find(({ attributes }) => attributes["bookme.endpoint.id"] === "other");
    assert.ok(first !== undefined && second !== undefined && unasked !== undefined);
    for (const child of [first, unasked]) {
      assert.deepEqual([child.trace_id, child.parent_id], [TRACE, ingest.span_id]);
      assert.deepEqual(child.links, []);
    }
    assert.deepEqual(first.attributes, {
      "bookme.event.type": "booking.created",
      "bookme.event.id": id,
      "bookme.delivery.id": await daemon.deliveryId(id, "asks"),
      "bookme.endpoint.id": "asks",
      "server.address": "127.0.0.1",
      "http.response.status_code": 500,
      "error.type": "http_5xx",
    });
    assert.deepEqual([first.kind, first.failed, second.failed], ["client", true, false]);
    assert.equal(second.attributes["http.response.status_code"], 200);
    assert.equal(second.attributes["error.type"], undefined);
    assert.deepEqual([second.parent_id, second.trace_id === TRACE], [null, false]);
    assert.deepEqual(second.links, [{ trace_id: TRACE, span_id: ingest.span_id }]);

    const headers = (await asks.received(2)).map((request) => request.headers["traceparent"]);
    assert.deepEqual(
      headers,
      [first, second].map(({ trace_id, span_id }) => `00-${trace_id}-${span_id}-01`),
    );
    const [plain] = await other.received(1);
    assert.equal(plain?.headers["traceparent"], undefined);
  },
);

onBoth("the trace goes on in another process", async (database) => {
  await using collector = startCollector();
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("late", receiver.url)] };
  let id: string;
  {
    await using first = await spawnDaemon(sections, undefined, collector.env);
    assert.equal((await first.api("endpoints/late/pause", ADMIN, "POST")).status, 200);
    ({ body: { id } } = await first.post(booking("apt_1")));
    first.kill("SIGTERM");
    assert.equal((await first.status).code, 0);
  }
  // A process exports its last spans before it ends.
  const [ingest] = await collector.recorded(1, isIngest);
  assert.equal(ingest?.parent_id, null);
  await using second = await spawnDaemon(sections, undefined, collector.env);
  assert.equal((await second.api("endpoints/late/resume", ADMIN, "POST")).status, 200);
  const [attempt] = await collector.recorded(1, isAttempt);
  assert.deepEqual([attempt?.trace_id, attempt?.parent_id], [ingest?.trace_id, ingest?.span_id]);
  const retried = `deliveries/${await second.deliveryId(id)}/retry`;
  assert.equal((await second.api(retried, ADMIN, "POST")).status, 200);
  const [, again] = await collector.recorded(2, isAttempt);
  assert.notEqual(again?.trace_id, ingest?.trace_id);
  assert.deepEqual(again?.links, [{ trace_id: ingest?.trace_id, span_id: ingest?.span_id }]);
});

onServer("a trace that its beginner does not record is passed on unrecorded", async (database) => {
  await using collector = startCollector();
  await using receiver = await startReceiver(statuses(500, 200));
  await using daemon = await spawnDaemon(
    {
      database: database.section,
      endpoints: [endpoint("asks", receiver.url, { traceparent: true, retry: ["0s", "0s"] })],
    },
    undefined,
    collector.env,
  );
  const unsampled = `00-${TRACE}-${SPAN}-00`;
  await daemon.post(booking("apt_1"), { traceparent: unsampled });
  const passed = await receiver.received(2);
  assert.deepEqual(passed.map(({ headers }) => headers["traceparent"]), [unsampled, unsampled]);
  // A malformed one begins a trace, as none does.
  for (const headers of [{ traceparent: `${CAME}-more` }, {}]) {
    const { body: { id } } = await daemon.post(booking("apt_2"), headers);
    const spans = await collector.recorded(2, of(id));
    const [ingest, attempt] = [spans.find(isIngest), spans.find(isAttempt)];
    assert.deepEqual([ingest?.parent_id, attempt?.trace_id], [null, ingest?.trace_id]);
    assert.notEqual(ingest?.trace_id, TRACE);
  }
  // An array is one post, each event with its own attempts. A conflict is a post as well.
  const { body: events } = await daemon.post(
    [{ ...booking("apt_3"), id: "one" }, booking("apt_4")],
    { traceparent: CAME },
  );
  const [all] = await collector.recorded(1, ({ attributes }) => attributes["bookme.events"] === 2);
  for (const { id } of events) {
    const [attempt] = await collector.recorded(1, of(id));
    assert.equal(attempt?.parent_id, all?.span_id);
  }
  await daemon.post({ ...booking("apt_5"), id: "one" });
  const [conflict] = await collector.recorded(
    1,
    ({ attributes }) => attributes["error.type"] === "conflict",
  );
  assert.equal(conflict?.attributes["http.response.status_code"], 409);
  // Whoever may not post makes no spans.
  assert.equal((await daemon.post("{")).status, 400);
  assert.deepEqual(collector.spans.filter(isIngest).length, 4);
});

onServer("nothing exported has a payload, a search, a token or a URL's path", async (database) => {
  await using collector = startCollector();
  await using receiver = await startReceiver(statuses(500, 200));
  const url = new URL(receiver.url);
  await using daemon = await spawnDaemon(
    {
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      ingest: { secret: "main" },
      endpoints: [
        endpoint("crm", `${url.origin}/mark-path?mark-query=1`, {
          traceparent: true,
          retry: ["0s", "0s"],
          headers: { "X-Mark": "mark-header" },
        }),
      ],
    },
    undefined,
    collector.env,
  );
  const event = booking("mark-subject", "mark-business", { notes: "mark-payload" });
  const text = JSON.stringify({ ...event, id: "mark-key" });
  const { createHmac } = await import("node:crypto");
  const signature = "sha256=" + createHmac("sha256", SECRET).update(text).digest("hex");
  const { status, body: { id } } = await daemon.post(text, { "x-bookme-signature": signature });
  assert.equal(status, 202);
  await collector.recorded(3, of(id));

  const { body: link } = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business: "mark-business" }),
  }).then(async (answer) => ({ body: await answer.json() }));
  assert.ok(link.token.length > 20);
  for (
    const path of [
      `/portal/open/${link.token}`,
      "/dashboard/search?q=mark-search",
      "/dashboard/login",
      "/api/deliveries?subject=mark-subject",
      "/mark-unknown",
    ]
  ) {
    const answer = await fetch(daemon.url + path, { redirect: "manual" });
    await answer.body?.cancel();
  }
  await daemon.api("events?q=mark-search");
  // A command asks the daemon by requests of its own.
  await lookFor("mark-search", daemon.url, collector.env);
  daemon.kill("SIGTERM");
  assert.equal((await daemon.status).code, 0);

  assert.deepEqual([...collector.paths].filter((path) => path === "/v1/traces").length, 1);
  for (
    const secret of ["mark-", link.token, ADMIN, SECRET, signature.slice(7), "/ingest", "/api"]
  ) {
    const at = collector.text.indexOf(secret);
    assert.equal(at, -1, `${secret}: …${collector.text.slice(at - 200, at + 60)}`);
  }
  assert.deepEqual(
    new Set(collector.spans.map(({ scope }) => scope)),
    new Set(["bookme-webhooks"]),
  );
});

/** Runs the command `event` against that daemon. */
async function lookFor(query: string, url: string, env: Record<string, string>): Promise<void> {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", main, "event", query, "--url", url, "--token", "env:TOKEN"],
    env: { ...env, TOKEN: ADMIN },
  }).output();
  assert.equal(code, 1, new TextDecoder().decode(stderr));
}
