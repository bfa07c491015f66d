import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { makeDemoEvents } from "../../lib/cli/demo/events.ts";
import { EVENT_TYPES, makeEventTypes } from "../../lib/core/event_types.ts";
import { parseIngest } from "../../lib/core/payload.ts";
import { inTemporary, startCli } from "../support/cli.ts";
import { openLink, signIn } from "../support/visitor.ts";

const NOW = Date.UTC(2025, 9, 31, 15, 30);

Deno.test("makeDemoEvents() makes the same valid events for a seed, each booking in its order", () => {
  const types = makeEventTypes([]);
  const [one, two, other] = [makeDemoEvents(1), makeDemoEvents(1), makeDemoEvents(2)];
  const states = new Map<string, string[]>();
  const seen = new Set<string>();
  let differs = false;
  for (let second = 0; second < 500; second++) {
    const now_ms = NOW + second * 1000;
    const event = one.next(now_ms);
    assert.deepEqual(two.next(now_ms), event);
    differs ||= other.next(now_ms).payload !== event.payload;
    const [parsed] = parseIngest(new TextEncoder().encode(event.payload), "json", types).events;
    assert.equal(parsed?.type, event.type);
    assert.ok(!seen.has(event.payload), "payloads are told apart by their text");
    seen.add(event.payload);
    if (event.type.startsWith("booking.")) {
      const id = parsed?.subject ?? assert.fail();
      states.set(id, [...states.get(id) ?? [], event.type.slice("booking.".length)]);
    }
  }
  assert.ok(differs);
  const lives = new Set([...states.values()].map((steps) => steps.join(" ")));
  for (const life of lives) {
    assert.match(life, /^created( confirmed( completed)?)?$|^created( confirmed)? cancelled$/);
  }
  assert.ok(lives.has("created confirmed completed") && lives.has("created cancelled"));
});

Deno.test("demo --once delivers the eight samples everywhere, on a free port, and tidies up", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", () => resolve()));
  const { port } = taken.address() as AddressInfo;
  try {
    await inTemporary(async (directory) => {
      const env = { TMPDIR: directory };
      const { code, out, err } = await startCli(["demo", "--once", "--port", String(port)], { env })
        .ended;
      assert.equal(code, 0, out + err);
      assert.match(out, new RegExp(`^Port ${port} is taken; using a free one\\.$`, "m"));
      for (const { name } of EVENT_TYPES) {
        assert.match(out, new RegExp(`✓ analytics .* ${RegExp.escape(name)} +200  verified`));
        assert.match(
          out,
          new RegExp(`✓ flaky .* ${RegExp.escape(name)} .*, in attempt 3`),
        );
      }
      assert.match(out, /^ {2}Dashboard {2}http:\/\/127\.0\.0\.1:\d+\/dashboard$/m);
      assert.match(
        out,
        /^ {2}Portal {5}http:\/\/127\.0\.0\.1:\d+\/portal\/open\/portal_[\w-]{43} /m,
      );
      assert.match(out, /crm +4 delivered and verified, 4 attempts\n/);
      assert.match(out, /analytics +8 delivered and verified, 8 attempts\n/);
      assert.match(out, /flaky +8 delivered and verified, 24 attempts\n/);
      assert.deepEqual([...Deno.readDirSync(directory)], []);
    });
  } finally {
    await new Promise((resolve) => taken.close(resolve));
  }
});

Deno.test("demo --once exits with 1 if something did not arrive", async () => {
  const demo = startCli(["demo", "--once", "--port", "0"]);
  await demo.until(/✗ flaky .* again in 2 s/);
  demo.kill("SIGINT");
  const { code, err } = await demo.ended;
  assert.equal(code, 1);
  assert.match(err, /flaky: \d of the samples did not arrive/);
});

Deno.test("demo shows bookings until SIGINT, and can be looked into with the line it prints", async () => {
  await inTemporary(async (directory) => {
    const demo = startCli(["demo", "--port", "0"], { env: { TMPDIR: directory } });
    try {
      const [, file = "", url = ""] = await demo.until(
        /curl -s -H "Authorization: Bearer \$\(cat (\S+)\)" "(http\S+)"/,
      );
      await demo.until(
        /Bookings, about one every second[^]*✓ crm .* booking\.created +200 {2}verified/,
      );
      const token = (await Deno.readTextFile(file)).trim();
      const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      assert.equal((await answer.json()).data.length, 5);
      const [, dashboard = "", given = "", portal = ""] = await demo.until(
        /Dashboard {2}(http\S+)\n {2}Token {6}(\S+)\n {2}Portal {5}(http\S+) {2}of the business bus_123\n/,
      );
      assert.equal(given, token);
      const { origin } = new URL(dashboard);
      const operator = await signIn(origin, given);
      assert.equal((await operator.get("/dashboard")).status, 200);
      const business = await openLink(origin, portal.split("/").at(-1) ?? "");
      assert.equal((await business.get("/portal")).status, 200);
    } finally {
      demo.kill("SIGINT");
    }
    const { code, out, err } = await demo.ended;
    assert.equal(code, 0, out + err);
    assert.match(out, /\n\d+ events in \d+ s\n {2}crm +\d+ delivered and verified/);
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  });
});
