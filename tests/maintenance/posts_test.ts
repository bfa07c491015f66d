import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { messageOf } from "../../lib/core/errors.ts";
import { type Refusal, REFUSALS, refusalStatus } from "../../lib/core/refusals.ts";
import { makeClock } from "../../lib/delivery/context.ts";
import { countPosts } from "../../lib/maintenance/posts.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { addPosts, purgePosts } from "../../lib/store/stats.ts";
import { postsSince } from "../../lib/store/reports/stats.ts";
import { checkedApi } from "../support/checked.ts";
import { booking, endpoint, type Front, SECRET, startDaemon } from "../support/daemon.ts";
import { embeddedDatabase, onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { until } from "../support/wait.ts";

const HOUR_MS = 3_600_000;

function signed(body: string): Record<string, string> {
  return {
    "x-bookme-signature": "sha256=" + createHmac("sha256", SECRET).update(body).digest("hex"),
  };
}

/** A post that is refused for this reason. */
async function provoke(daemon: Front, refusal: Refusal): Promise<number> {
  const good = JSON.stringify(booking("apt_1"));
  const post = async (body: string, headers: Record<string, string> = signed(body)) =>
    (await daemon.post(body, headers)).status;
  const conflicting = async () => {
    for (const id of ["apt_1", "apt_2"]) {
      const body = JSON.stringify(booking(id));
      const status = await post(body, { ...signed(body), "idempotency-key": "the same" });
      if (id === "apt_2") return status;
    }
    return 0;
  };
  switch (refusal) {
    case "malformed":
      return await post("{");
    case "signature_missing":
      return await post(good, {});
    case "signature_wrong":
      return await post(good, signed("other"));
    case "address":
      return await post(good, { ...signed(good), "x-forwarded-for": "203.0.113.5" });
    case "loop":
      return await post(good, { "x-bookme-delivery-id": "dlv_1" });
    case "conflict":
      return await conflicting();
    case "too_large":
      return await post(`{"x":"${"x".repeat(5_000)}"}`);
    case "unsupported_media_type":
      return await post(good, { ...signed(good), "content-type": "text/plain" });
    case "invalid":
      return await post("{}");
    default:
      throw new Error(`${refusal} is caused elsewhere`);
  }
}

onServer(
  "GET /api/stats counts refused posts by reason, with the last one's address",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
      ingest: { secret: "main", max_body: "4KiB" },
    });
    const api = await checkedApi(daemon);
    assert.deepEqual((await api.expect(200, "GET", "stats")).body.refused, []);
    const kinds = REFUSALS.filter((kind) => !/^(unavailable|too_many_requests)$/.test(kind));
    for (const kind of kinds) assert.equal(await provoke(daemon, kind), refusalStatus(kind), kind);
    assert.equal(await provoke(daemon, "signature_missing"), 401);
    const { refused } = (await api.expect(200, "GET", "stats")).body;
    const of = (kind: Refusal) =>
      refused.find(({ refusal }: { refusal: string }) => refusal === kind) ?? {};
    for (const kind of kinds) {
      const { status, posts, last_at, last_address } = of(kind);
      assert.deepEqual(
        [status, posts, last_address],
        [
          refusalStatus(kind),
          kind === "signature_missing" ? 2 : 1,
          kind === "address" ? "203.0.113.5" : "127.0.0.1",
        ],
        kind,
      );
      assert.ok(Math.abs(Date.parse(last_at) - Date.now()) < HOUR_MS, kind);
    }
    const times = refused.map(({ last_at }: { last_at: string }) => last_at);
    assert.deepEqual(times, times.toSorted().toReversed(), "the latest first");
    const whole_month = (await api.expect(200, "GET", "stats?window=30d")).body.refused;
    assert.deepEqual(whole_month, refused);
  },
);

Deno.test("GET /api/stats counts posts that the disk had no room for", async () => {
  await using database = await embeddedDatabase();
  await using daemon = await startDaemon({
    database: { ...database.section, min_free: "1000000GiB" },
  });
  await until("ingest is shut", async () => (await daemon.post(booking("apt_1"))).status === 503);
  const { body } = await daemon.api("stats");
  assert.equal(body.refused[0].refusal, "unavailable");
});

onServer(
  "refused posts are counted by all daemons together, a flood in a few rows",
  async (database) => {
    const sections = { database: database.section, ingest: { secret: "main" } };
    await using one = await startDaemon(sections);
    await using two = await startDaemon(sections);
    for (let round = 0; round < 20; round++) {
      await Promise.all([one, one, two].map((daemon) => provoke(daemon, "signature_missing")));
    }
    const counted = async () => (await one.api("stats")).body.refused[0]?.posts;
    await until("the other daemon has written its own down", async () => await counted() === 60);
    await provoke(two, "signature_missing");
    await two.stop();
    assert.equal(await counted(), 61, "a stop writes down what is left");
    await using db = await database.open();
    const rows = await db.admin`select from posts`;
    // A minute may have ended in between.
    assert.ok(rows.length <= 6, `${rows.length}`);
  },
);

onServer("refused posts that cannot be written down are kept", async (database) => {
  await using db = await database.open();
  const signals = makeSignals();
  const refused = countPosts({ db, clock: makeClock(), signals });
  const emit = (address: string | null) =>
    signals.refused.emit({ by: "ingest", code: "invalid", address, signed: true });
  signals.refused.emit({ by: "http", code: "version" });
  assert.equal(await refused.flush(), 0);
  emit("192.0.2.1");
  await db.admin`alter table posts rename to elsewhere`;
  await assert.rejects(refused.flush(), (error) => /posts/.test(messageOf(error)));
  emit(null);
  await db.admin`alter table elsewhere rename to posts`;
  assert.equal(await refused.flush(), 1);
  assert.equal(await refused.flush(), 0);
  const [row] = await postsSince(db.admin, "everything", HOUR_MS, new Date(Date.now() - HOUR_MS));
  assert.deepEqual([row?.answer, row?.posts, row?.last_address], ["invalid", 2, null]);
  assert.deepEqual(
    await postsSince(db.admin, { business: "bus_1" }, HOUR_MS, new Date(0)),
    [],
    "a business sees none",
  );
});

onServer("purgePosts() keeps minutes for 2 days and hours for 90", async (database) => {
  await using db = await database.open();
  for (const days of [0, 3, 91]) {
    const last_at = Date.now() - days * 24 * HOUR_MS;
    await addPosts(db.admin, [{ answer: "loop", type: "", posts: 1, last_at, last_address: null }]);
  }
  await purgePosts(db.admin, 100);
  const rows = await db.admin`
    select span, count(*)::int as count from posts group by span order by span`;
  assert.deepEqual(rows.map(({ span, count }) => [span, count]), [["hour", 2], ["minute", 1]]);
});

onServer("doctor says that posts are refused, and why", async (database) => {
  await using daemon = await startOperated({
    database: database.section,
    ingest: { secret: "main" },
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  });
  const said = async () => {
    const { data } = JSON.parse((await daemon.cli(["doctor", "--json"])).out);
    return data.find(({ subject }: { subject: string }) => subject === "ingest");
  };
  assert.deepEqual(await said(), {
    mark: "✓",
    subject: "ingest",
    text: "no post was refused in the last hour",
    remedy: null,
  });
  await provoke(daemon, "signature_missing");
  assert.deepEqual(await said(), {
    mark: "!",
    subject: "ingest",
    text:
      "BookMe's posts are refused: 1 in the last hour, the signature is missing (the last from " +
      "127.0.0.1)",
    remedy: "have BookMe sign its posts with ingest.secret",
  });
  await provoke(daemon, "invalid");
  await provoke(daemon, "invalid");
  const { text, remedy } = await said();
  assert.equal(
    text,
    "BookMe's posts are refused: 3 in the last hour, 2 because the payload is not valid (the last " +
      "from 127.0.0.1); 1 because the signature is missing (the last from 127.0.0.1)",
  );
  assert.match(remedy, /name each field/);
});
