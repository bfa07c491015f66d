import assert from "node:assert/strict";
import { describeChange } from "../../lib/cli/commands/audit.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { runHere } from "../support/cli.ts";
import { booking, endpoint } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

Deno.test("stats counts the window's attempts at once, in all and by endpoint", async () => {
  await using database = await serverDatabase();
  await using good = await startReceiver();
  await using bad = await startReceiver(statuses(500));
  await using daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [
      endpoint("bad", bad.url),
      endpoint("good", good.url, { businesses: ["bus_1"] }),
      endpoint("idle", good.url, { events: ["service.*"] }),
    ],
  });
  assert.match((await daemon.cli(["stats"])).out, /attempts +0\n[^]*pending +0\n\nENDPOINT/);
  await daemon.post([booking("apt_1", "bus_1"), booking("apt_2", "bus_1"), booking("apt_3")]);
  const { out } = await until("all is recorded", async () => {
    const shown = await daemon.cli(["stats"]);
    return /attempts +5,/.test(shown.out) && !/being sent/.test(shown.out) ? shown : undefined;
  });
  assert.match(
    out,
    /attempts +5, 40 % delivered\n +failed +http_5xx 3\n +latency +p50 \d+ ms, p95/,
  );
  assert.match(
    out,
    /pending +3\n +events without a business +1: endpoints with `businesses` do not/,
  );
  assert.match(out, /\nbad +3, 0 % delivered +http_5xx 3 +\d+ ms +\d+ ms +\d+ ms +3\n/);
  assert.match(out, /\ngood +2, 100 % delivered +- +\d+ ms .* 0\nidle +0 +- +- +- +- +0\n$/);
  await daemon.api("endpoints/bad/pause", undefined, "POST");
  const { body } = await daemon.api("deliveries?endpoint=bad&limit=1");
  await daemon.api(`deliveries/${body.data[0].id}/retry`, undefined, "POST");
  const one = await daemon.cli(["stats", "--endpoint", "bad", "--window", "1d"]);
  assert.match(one.out, /pending +3 \(1 due, for up to \d+ s\)\n/);
  assert.ok(!one.out.includes("\ngood"));
  const json = await daemon.cli(["stats", "--json"]);
  assert.equal(JSON.parse(json.out).totals.attempts, 5);
  await daemon.post("{");
  const refused = await until("the refusal is counted", async () => {
    const shown = await daemon.cli(["stats"]);
    return /REFUSED/.test(shown.out) ? shown.out : undefined;
  });
  assert.match(refused, /\n\nREFUSED .*\n1 +400 +\S+Z +127\.0\.0\.1 +the body is not valid JSON\n/);
  const typo = await daemon.cli(["stats", "--endpoint", "goood"]);
  assert.deepEqual([typo.code, typo.out], [1, ""]);
  assert.match(typo.err, /endpoint: There is no endpoint "goood"; did you mean good\?/);
});

Deno.test("audit lists changes newest first, with who, what, and from what to what", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: ["crm", "erp"].map((id) => endpoint(id, "http://127.0.0.1:9/")),
  });
  await daemon.cli(["pause", "crm", "erp", "--reason", "Moving"]);
  await daemon.cli(["pause", "crm", "--reason", "Still moving"]);
  await daemon.cli(["resume", "crm"]);
  const rows = async (...args: string[]) => {
    const { code, out, err } = await daemon.cli(["audit", ...args]);
    assert.equal(code, 0, err);
    return {
      err,
      rows: out.trimEnd().split("\n").slice(1).map((line) => line.split(/ {2,}/).slice(1)),
    };
  };
  assert.deepEqual((await rows("--object", "crm", "--actor", "ops")).rows, [
    ["ops", "127.0.0.1", "endpoint.resumed", "crm", 'reason: "Still moving" → -'],
    ["ops", "127.0.0.1", "endpoint.paused", "crm", 'reason: "Moving" → "Still moving"'],
    ["ops", "127.0.0.1", "endpoint.paused", "crm", 'reason: "Moving"'],
  ]);
  const made = await rows("--action", "endpoint.created", "--limit", "1");
  assert.match(
    made.rows[0]?.join(" ") ?? "",
    /^the configuration file - endpoint.created erp url: "/,
  );
  const [, cursor = ""] = /There may be more; continue with --cursor (aud_\w+)\n/.exec(made.err) ??
    [];
  const rest = await rows("--action", "endpoint.created", "--cursor", cursor);
  assert.deepEqual([rest.rows.length, rest.rows[0]?.[3], rest.err], [1, "crm", ""]);
  assert.equal((await rows("--since", "1h")).rows.length, 6);
  const none = await daemon.cli(["audit", "--until", "1h"]);
  assert.deepEqual(none, { code: 0, out: "No changes match\n", err: "" });
  const { data, next_cursor } = JSON.parse((await daemon.cli(["audit", "--json"])).out);
  assert.deepEqual([data.length, next_cursor, data[0].actor], [6, null, "ops"]);
  assert.equal(
    (await daemon.api("audit?since=2026-02-02T00:00:00Z&until=2026-02-01T00:00:00Z")).status,
    422,
  );
});

Deno.test("describeChange() shows the members that differ, within objects too", () => {
  const before = {
    url: "https://a/",
    events: ["*"],
    settings: { timeout_ms: null, unsigned: false },
  };
  const after = {
    url: "https://b/",
    events: ["*"],
    settings: { timeout_ms: 5000, unsigned: false },
  };
  assert.equal(
    describeChange(before, after),
    'url: "https://a/" → "https://b/", timeout_ms: null → 5000',
  );
  assert.equal(describeChange(null, { matched: 3 }), "matched: 3");
  assert.equal(describeChange({ reason: "x" }, null), 'reason: "x" → -');
  assert.equal(describeChange(before, before), "");
  assert.equal(describeChange(null, before), 'url: "https://a/", events: ["*"], unsigned: false');
  assert.equal(describeChange({ settings: { a: 1 } }, { settings: null }), "a: 1 → -");
});

Deno.test("replays lists replays with their progress, shows one and cancels it", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  assert.equal((await daemon.cli(["replays"])).out, "No replays\n");
  await daemon.post(Array.from({ length: 4 }, (_, at) => booking(`apt_${at}`)));
  const delivered = (times: number) =>
    until("all is recorded", async () => {
      const { totals } = (await daemon.api("stats")).body;
      return totals.delivered === 4 * times && totals.pending === 0;
    });
  await delivered(1);
  const start = [
    "replay",
    "--since",
    "1h",
    "--status",
    "delivered",
    "--yes",
    "--json",
    "--endpoint",
  ];
  const fast = JSON.parse((await daemon.cli([...start, "crm"])).out);
  await until("the fast one is done", async () => {
    const { out } = await daemon.cli(["replays", fast.id]);
    return /state +done\n +replayed +4 of 4\n/.test(out);
  });
  await delivered(2);
  const slow = JSON.parse(
    (await daemon.cli([...start, "crm", "--rate", "1/h", "--code", "2xx"])).out,
  );
  const { out } = await until("the slow one has begun", async () => {
    const shown = await daemon.cli(["replays", slow.id]);
    return /replayed +1 of 4 \(25 %\)\n/.test(shown.out) ? shown : undefined;
  });
  assert.match(out, /^rpl_\w+\n +state +running\n[^]* time left +about 3 h\n +endpoint +crm\n/);
  assert.match(out, /created +\S+Z \(.*ago\) by ops\n/);
  const names = out.split("\n").map((line) => line.trim().split(/ {2,}/)[0]).filter(Boolean);
  assert.deepEqual(names, [...new Set(names)], "each once");
  const list = (await daemon.cli(["replays"])).out.trimEnd().split("\n").map((line) =>
    line.split(/ {2,}/)
  );
  assert.deepEqual(list.slice(1).map(([id, , ...rest]) => [id, ...rest]), [
    [slow.id, "ops", "running", "1 of 4 (25 %)", "crm", "delivered 2xx", "all", "1/h"],
    [fast.id, "ops", "done", "4 of 4", "crm", "delivered", "all", "-"],
  ]);
  const page = await daemon.cli(["replays", "--limit", "1"]);
  assert.match(page.err, new RegExp(`continue with --cursor ${slow.id}\n$`));
  const next = JSON.parse((await daemon.cli(["replays", "--cursor", slow.id, "--json"])).out);
  assert.deepEqual(next.data.map(({ id }: { id: string }) => id), [fast.id]);

  const cancelled = await daemon.cli(["replays", slow.id, "--cancel"]);
  assert.match(cancelled.out, /state +cancelled\n +replayed +1 of 4\n/);
  const late = await daemon.cli(["replays", fast.id, "--cancel"]);
  assert.deepEqual([late.code, late.out], [1, ""]);
  assert.match(late.err, /^The replay is done/);
  const unknown = await daemon.cli(["replays", "rpl_nonsense"]);
  assert.deepEqual([unknown.code, unknown.err], [1, "There is no such replay\n"]);
});

Deno.test("replay --missing owes a new endpoint what it missed, and says so", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
  await using daemon = await startOperated(sections);
  await daemon.post(Array.from({ length: 3 }, (_, at) => booking(`apt_${at}`)));
  const { body: { id } } = await (await checkedApi(daemon)).expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  const replay = ["replay", "--endpoint", id, "--since", "1h"];
  const failed = await daemon.cli([...replay, "--dry-run"]);
  assert.equal(failed.out, `0 failed deliveries to ${id} would be replayed\n`);
  assert.match(
    failed.err,
    new RegExp(`^Note: ${id} was made at \\S+; it was never owed what came before: .* missing `),
  );
  const dry = await daemon.cli([...replay, "--missing", "--dry-run"]);
  assert.deepEqual([dry.out, dry.err], [`3 missing deliveries to ${id} would be owed\n`, ""]);
  const done = await daemon.cli([...replay, "--missing"], { isTerminal: true, answer: "y" });
  assert.match(done.err, /3 missing deliveries to \S+: owe and send them\? \[y\/N\]/);
  assert.match(done.out, /✓.* 3 of 3 owed\n/);
  await receiver.received(3);
  const list = (await daemon.cli(["replays"])).out;
  assert.match(list, / done +3 of 3 +\S+ +missing /);
  const json = JSON.parse((await daemon.cli(["replays", "--json"])).out);
  assert.match((await daemon.cli(["replays", json.data[0].id])).out, /\n +status +missing\n/);
  const event = await daemon.cli(["event", "apt_1"]);
  assert.match(event.out, new RegExp(`owed by the replay ${json.data[0].id}`));
});

Deno.test("stats, audit and replays check their options before the daemon is asked", async () => {
  const table: [string[], RegExp][] = [
    [["stats", "crm"], /^Unexpected argument "crm"/],
    [["stats", "--window", "1"], /^--window: Must be a duration/],
    [["stats", "--window", "30s"], /^--window must be at least 1m/],
    [["stats", "--window", "31d"], /^--window must be at most 30d\n/],
    [["audit", "--limit", "0"], /^--limit must be a whole number from 1 to 10000/],
    [["audit", "--since", "yesterday"], /^--since must be/],
    [
      ["audit", "--since", "2h", "--until", "3h"],
      /^--since 2h \(\S+Z\) must lie before --until 3h \(\S+Z\)\n/,
    ],
    [["replay", "--missing", "--since", "1h"], /^--missing needs --endpoint/],
    [
      ["replay", "--missing", "--since", "1h", "--endpoint", "crm", "--code", "4xx"],
      /^--missing excludes --code/,
    ],
    [
      ["replay", "--missing", "--since", "1h", "--endpoint", "crm", "--status", "failed"],
      /^--missing excludes --status/,
    ],
    [["replays", "--cancel"], /^--cancel needs the ID of a replay/],
    [["replays", "a", "b"], /^Unexpected argument "b"/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere(args, { env: {} });
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});

Deno.test("endpoints, stats, audit and replays fit a terminal of 60 columns", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(410));
  const ids = ["analytics-warehouse", "crm"];
  await using daemon = await startOperated({
    database: database.section,
    endpoints: ids.map((id) => endpoint(id, receiver.url, { events: ["booking.created"] })),
  });
  const { body } = await daemon.post(booking("apt_1"));
  for (const id of ids) await daemon.delivery(await daemon.deliveryId(body.id, id));
  await daemon.cli(["replay", "--since", "1h", "--endpoint", "crm", "--yes", "--json"]);
  const file = Deno.readTextFileSync(daemon.path);
  Deno.writeTextFileSync(daemon.path, file.replaceAll("booking.created", "booking.*"));
  assert.equal((await daemon.cli(["reload"])).code, 0);
  const { out } = await daemon.cli(["audit", "--action", "config.reloaded"]);
  assert.match(
    out,
    / config {2}~ analytics-warehouse, events: booking\.created → booking\.\*; ~ crm, /,
  );
  for (const command of ["endpoints", "stats", "audit", "replays"]) {
    const { code, out, err } = await daemon.cli([command], { isTerminal: true, columns: 60 });
    assert.deepEqual([code, err], [0, ""], command);
    // deno-lint-ignore no-control-regex
    const lines = out.replaceAll(/\x1b\[\d+m/g, "").split("\n");
    assert.deepEqual(lines.filter((line) => line.length > 60), [], command);
    const shown = command === "replays" ? ["crm"] : ids;
    for (const id of shown) assert.ok(lines.some((line) => line.includes(id)), `${command}: ${id}`);
  }
});
