import assert from "node:assert/strict";
import { ADMIN, booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";

const WALL = "wallboard-token-of-the-tests-0";

/** What a payload, an answer's head and body, and a raw cause contain. */
const MARKS = ["NUMBER77", "Quinze", "x-moved-on", "not found said she", "SSH-2\\.0-Open"];

onServer(
  "a token with payloads: false sees what became of events, not what they contain",
  async (database) => {
    await using moved = await startReceiver(() => ({
      status: 404,
      headers: { "X-Moved-On": "yes" },
      body: "not found said she; the signature is wrong",
    }));
    await using broken = await startReceiver(() => "garbage");
    await using daemon = await startDaemon({
      database: database.section,
      delivery: { retry: ["0s", "24h"] },
      admin: {
        tokens: [
          { name: "ops", token: ADMIN, role: "admin" },
          { name: "wallboard", token: WALL, role: "viewer", payloads: false },
        ],
      },
      endpoints: [endpoint("moved", moved.url), endpoint("broken", broken.url)],
    });
    const posted = booking("apt_7", "bus_7", {
      confirmationNumber: "NUMBER77",
      customer: { name: "Quinze" },
    });
    const { body: { id } } = await daemon.post(posted);
    const dlv = {
      moved: await daemon.deliveryId(id, "moved"),
      broken: await daemon.deliveryId(id, "broken"),
    };
    for (const one of Object.values(dlv)) {
      await daemon.delivery(one, ({ attempts }) => attempts.length === 1);
    }
    const paths = [
      ...["events", "events?q=NUMBER77", "events?q=number77", `events/${id}`],
      ...["deliveries", `deliveries/${dlv.moved}`, `deliveries/${dlv.broken}`],
      ...["endpoints", "endpoints/moved", "stats", "audit", "replays", "config", "event-types"],
    ];
    const seen = { [ADMIN]: "", [WALL]: "" };
    for (const path of paths) {
      for (const token of [ADMIN, WALL] as const) {
        const { status, body, headers } = await daemon.api(path, token);
        assert.equal(status, 200, path);
        seen[token] += JSON.stringify([body, [...headers]]);
      }
    }
    for (const mark of MARKS) {
      assert.match(seen[ADMIN], new RegExp(mark, "i"), "a mark that somebody sees");
      assert.doesNotMatch(seen[WALL], new RegExp(mark, "i"), mark);
    }
    assert.match(seen[ADMIN], /mentions a signature/);
    assert.doesNotMatch(seen[WALL], /mentions a signature/, "which its answer says");

    const wall = async (path: string) => (await daemon.api(path, WALL)).body;
    const found = await wall("events?q=NUMBER77");
    assert.equal(found.data[0].id, id, "who knows the number finds the event");
    assert.equal("near" in await wall("events?q=NUMBER78"), false);
    assert.equal("near" in (await daemon.api("events?q=NUMBER78")).body, true);
    const event = await wall(`events/${id}`);
    assert.deepEqual(
      [event.payload_hidden, event.payload, event.confirmation_number, event.subject],
      [true, null, null, "apt_7"],
    );
    const [delivery] = event.deliveries;
    assert.deepEqual(
      [delivery.confirmation_number, delivery.last_cause, delivery.subject],
      [null, null, "apt_7"],
    );
    const [attempt] = (await wall(`deliveries/${dlv.moved}`)).attempts;
    const { payload_hidden, status, outcome, cause, response, advice, request } = attempt;
    assert.deepEqual(
      [payload_hidden, status, outcome, cause, response, advice, request.body],
      [true, 404, "http_4xx", null, null, null, null],
    );
    assert.equal(request.headers["X-BookMe-Event-Id"], id);
    const whole = (await daemon.api(`events/${id}`)).body;
    assert.deepEqual([whole.payload_hidden, whole.payload], [false, JSON.stringify(posted)]);
  },
);
