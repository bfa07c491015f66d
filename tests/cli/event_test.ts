import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { widthOf } from "../../lib/cli/table.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";
import { runHere } from "../support/cli.ts";
import { until } from "../support/wait.ts";

const NUMBER = "BK7X9M2P";

/** Posts a booking's events, the first one created. */
async function postLife(daemon: Operated): Promise<string[]> {
  const ids: string[] = [];
  for (const type of ["booking.created", "booking.confirmed", "booking.cancelled"]) {
    const business = type === "booking.created" ? "bus_1" : undefined;
    const made = booking("apt_789", business, { confirmationNumber: NUMBER });
    const { status, body } = await daemon.post({ ...made, event: type });
    assert.equal(status, 202, JSON.stringify(body));
    ids.push(body.id);
  }
  return ids;
}

async function settled(daemon: Operated, ids: readonly string[]): Promise<void> {
  await until("nothing is under way", async () => {
    for (const id of ids) {
      const { body } = await daemon.api(`events/${id}`);
      const busy = body.endpoints.some(({ state }: { state: string }) => /sending|due/.test(state));
      if (busy) return false;
    }
    return true;
  });
}

onServer("event says where a booking went, where not, and why", async (database) => {
  await using receiver = await startReceiver(({ path }) => ({
    status: path === "/down" ? 503 : 200,
  }));
  const at = (id: string, more: Record<string, unknown> = {}) =>
    endpoint(id, `${receiver.url}/${id}`, { retry: ["0s"], ...more });
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [
      at("crm"),
      at("down"),
      at("later", { retry: ["0s", "1h"], events: ["booking.created"] }),
      at("paused"),
      at("services", { events: ["service.*"] }),
      at("bella", { businesses: ["bus_2"] }),
    ],
  });
  await daemon.api("endpoints/paused/pause", undefined, "POST");
  const ids = await postLife(daemon);
  await daemon.post(booking("apt_1", "bus_1", { confirmationNumber: "BKOTHER" }));
  await settled(daemon, ids);

  const { code, out, err } = await daemon.cli(["event", NUMBER]);
  assert.deepEqual([code, err], [0, ""]);
  const heads = [...out.matchAll(/^(evt_\w+) {2}(booking\.\w+)$/gm)].map(([, id]) => id);
  assert.deepEqual(heads, ids.toReversed(), "the newest first");
  assert.match(out, /^3 events match BK7X9M2P, the newest first:$/m);

  const first = await daemon.cli(["event", ids[0] ?? ""]);
  const lines = first.out.split("\n");
  const lineOf = (id: string) => lines.find((line) => line.startsWith(`${id} `)) ?? "";
  assert.match(first.out, /^ {2}business +bus_1$/m);
  assert.match(first.out, /^ {2}subject +apt_789$/m);
  assert.match(first.out, /^ {2}confirmation +BK7X9M2P$/m);
  assert.match(
    lineOf("crm"),
    /^crm +delivered +Delivered after 1 attempt, with status 200, \S+Z\. dlv_\w+$/,
  );
  assert.match(
    lineOf("down"),
    /failed +Failed after 1 attempt; the last ended with http_5xx \(status 503\); .*, \S+Z\. The receiver, or a proxy in front of it, is not available/,
  );
  assert.match(lineOf("later"), /delivered +Delivered after 1 attempt/);
  assert.match(lineOf("paused"), /pending +Waits until the endpoint is resumed; it is paused: /);
  assert.match(
    lineOf("services"),
    /not owed +The endpoint does not select booking\.created; it selects service\.\*$/,
  );
  assert.match(
    lineOf("bella"),
    /not owed +The event is of the business bus_1; the endpoint wants bus_2 only$/,
  );
  assert.match(
    first.out,
    /\nFor attempts, request and answer:\nbookme-webhooks delivery dlv_\w+\n$/,
  );

  // Every other way to name it.
  const delivery = / (dlv_\w+)$/.exec(lineOf("crm"))?.[1] ?? "";
  assert.match((await daemon.cli(["event", delivery])).out, new RegExp(`^${ids[0]} `));
  assert.match((await daemon.cli(["event", "apt_789"])).out, /^3 events match apt_789/);
  const two = await daemon.cli(["event", NUMBER, "--limit", "2"]);
  assert.match(two.out, /^2 events match/);
  assert.match(two.err, /^Events before .* match as well: raise --limit$/m);
  const json = JSON.parse((await daemon.cli(["event", NUMBER, "--json"])).out);
  assert.deepEqual(json.data.map(({ id }: { id: string }) => id), ids.toReversed());
  assert.equal(json.next_cursor, null);
  assert.equal(json.data[0].endpoints.length, 6);

  // On a narrow terminal nothing is cut, and no line is longer.
  const narrow = await daemon.cli(["event", NUMBER], { isTerminal: true, columns: 60 });
  for (const line of stripVTControlCharacters(narrow.out).split("\n")) {
    assert.ok(widthOf(line) <= 60, line);
  }
  assert.ok(narrow.out.includes(delivery));
  const list = await daemon.cli(["deliveries"], { isTerminal: true, columns: 60 });
  for (const line of stripVTControlCharacters(list.out).split("\n")) {
    assert.ok(widthOf(line) <= 60, line);
  }
});

onServer(
  "delivery and deliveries take an event's id, and point elsewhere for other names",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startOperated({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url), endpoint("erp", receiver.url)],
    });
    const { body: { id } } = await daemon.post(
      booking("apt_1", "bus_1", { confirmationNumber: NUMBER }),
    );
    await settled(daemon, [id]);
    assert.equal((await daemon.cli(["delivery", id])).out, (await daemon.cli(["event", id])).out);
    const shown = JSON.parse((await daemon.cli(["delivery", id, "--json"])).out);
    assert.equal(shown.deliveries.length, 2);
    const attempt = await daemon.cli(["delivery", id, "--attempt", "1"]);
    assert.deepEqual([attempt.code, attempt.out], [2, ""]);
    const table = await daemon.cli(["deliveries", id]);
    assert.equal(table.out.trimEnd().split("\n").length, 3);
    assert.match(table.out, new RegExp(`booking\\.created +${NUMBER} +crm`));
    const combined = await daemon.cli(["deliveries", id, "--status", "failed"]);
    assert.equal(combined.code, 2);
    assert.match(combined.err, /^An event's id cannot be combined with other filters/);
    const number = await daemon.cli(["delivery", NUMBER]);
    assert.equal(number.code, 1);
    assert.match(
      number.err,
      /^"BK7X9M2P" is no delivery's id \(dlv_…\); `bookme-webhooks event BK7X9M2P` finds an event/,
    );
    const numbers = await daemon.cli(["deliveries", NUMBER]);
    assert.equal(numbers.code, 2);
    assert.match(numbers.err, /`bookme-webhooks event BK7X9M2P` finds/);
    const missing = await daemon.cli(["delivery", "evt_00000000000000000000"]);
    assert.deepEqual([missing.code, missing.out], [1, ""]);
  },
);

onServer("event says what it looked for where it finds nothing", async (database) => {
  await using daemon = await startOperated({
    database: database.section,
    ip_ranges: { development: ["127.0.0.0/8"] },
    ingest: { secret: "main" },
  });
  const none = await daemon.cli(["event", NUMBER]);
  assert.deepEqual([none.code, none.out], [1, ""]);
  assert.match(
    none.err,
    /^No event matches "BK7X9M2P"\n {2}looked for +the id of an event or a delivery/,
  );
  assert.match(
    none.err,
    /^ {2}back to +the oldest event that is kept \(30d, retention\.events\)$/m,
  );
  assert.match(none.err, /^ {2}refused +no post in the last 24 hours$/m);
  assert.match(none.err, /^ {2}next +check the spelling; .*`bookme-webhooks doctor`/m);
  assert.doesNotMatch(none.err, /similar/);
  await daemon.post(booking("apt_1"));
  const refused = await daemon.cli(["event", NUMBER, "--since", "2026-11-01"]);
  assert.match(
    refused.err,
    /^ {2}refused +BookMe's posts are refused: 1 in the last 24 hours, the signature is missing \(the last from 127\.0\.0\.1\); have BookMe sign/m,
  );
  assert.match(refused.err, /^ {2}back to +2026-11-01T00:00:00\.000Z$/m);
  const json = await daemon.cli(["event", NUMBER, "--json"]);
  assert.equal(json.code, 1);
  assert.deepEqual(JSON.parse(json.out), { data: [], next_cursor: null, near: [] });
});

onServer(
  "event finds an old subject among many events, and names what is similar",
  async (database) => {
    await using daemon = await startOperated({ database: database.section });
    const { body: { id } } = await daemon.post(
      booking("apt_old", "bus_1", { confirmationNumber: NUMBER }),
    );
    await using db = await database.open();
    await db.admin`
    insert into events (id, type, received_at, payload, subject)
    select (left(e.id::text, 9) || 'ffff-7' || to_char(n / 1000, 'FM000') || '-8' ||
      to_char(n % 1000, 'FM000') || '-000000000000')::uuid, 'booking.created', now(), '{}',
      'apt_' || n
    from events e, generate_series(1, 45000) n where e.subject = 'apt_old'`;
    const page = await daemon.cli(["event", "apt_old", "--json"]);
    assert.equal(JSON.parse(page.out).next_cursor, null, "found by index, not page by page");
    const found = await daemon.cli(["event", "apt_old"]);
    assert.match(found.out, new RegExp(`^${id} `), found.err);
    const near = await daemon.cli(["event", "apt_4500l"]);
    assert.match(near.err, /^ {2}similar +apt_4500\d? \(evt_\w+\)/m);
  },
);

Deno.test("event-types is also called events", async () => {
  const [now, before] = [await runHere(["event-types"]), await runHere(["events"])];
  assert.deepEqual(now, before);
  assert.match((await runHere(["events", "--help"])).out, /Usage: bookme-webhooks event-types/);
});

onServer(
  "event says that an endpoint no longer selects what it was owed, or was retired",
  async (database) => {
    await using daemon = await startOperated({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    const api = await checkedApi(daemon);
    const make = async () => {
      const input = { url: "http://127.0.0.1:9/", events: ["*"] };
      const { body: { id } } = await api.expect(201, "POST", "endpoints", input);
      await api.expect(200, "POST", `endpoints/${id}/pause`);
      return id;
    };
    const [narrowed, retired] = [await make(), await make()];
    await daemon.post(booking("apt_1", "bus_1", { confirmationNumber: NUMBER }));
    await api.expect(200, "PATCH", `endpoints/${narrowed}`, { events: ["service.*"] });
    await api.call("DELETE", `endpoints/${retired}`);
    const expected = [
      [narrowed, "the endpoint no longer selects it; only a retry or a replay sends it again"],
      [retired, "the endpoint was retired"],
    ];
    for (const [id, reason] of expected) {
      await until(`${id} is cancelled`, async () => {
        const { out } = await daemon.cli(["event", NUMBER]);
        const line = out.split("\n").find((line) => line.startsWith(id)) ?? "";
        return line.includes(`cancelled  Cancelled after 0 attempts: ${reason}, `) ||
          Promise.reject(new Error(line));
      });
    }
  },
);
