import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { booking, endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";

onServer(
  "send says whether a real event of that type and business would be owed",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startOperated({
      database: database.section,
      endpoints: [
        endpoint("all", receiver.url),
        endpoint("services", receiver.url, { events: ["service.*"] }),
        endpoint("bella", receiver.url, { businesses: ["bus_bella"] }),
      ],
    });
    await daemon.post(booking("apt_known", "bus_bella"));
    const send = async (id: string, type: string, data?: unknown, options = {}) =>
      await daemon.cli(
        ["send", type, "--endpoint", id, ...(data === undefined ? [] : ["--data", "-"])],
        { stdin: JSON.stringify(data), ...options },
      );
    const whole = { event: "booking.confirmed", data: { appointment: { id: "apt_1" } } };
    const known = { appointment: { id: "apt_known" } };
    const owed: [id: string, type: string, data?: unknown][] = [
      ["all", "booking.created"],
      ["services", "service.created"],
      ["bella", "booking.created", booking("apt_1", "bus_bella")],
      ["bella", "booking.created", booking("apt_1", "bus_bella").data],
      ["bella", "booking.confirmed", { ...whole, business: "bus_bella" }],
      // Inherited, as a real one would.
      ["bella", "booking.confirmed", known],
    ];
    for (const [id, type, data] of owed) {
      const { code, out, err } = await send(id, type, data);
      assert.equal(code, 0, err);
      assert.match(out, /^✓ .*: delivered/);
      assert.doesNotMatch(out, /would not be owed/, `${id} ${type}`);
    }
    const unowed: [id: string, type: string, data: unknown, reason: RegExp][] = [
      [
        "services",
        "booking.created",
        undefined,
        /would not be owed to services: The endpoint does not select booking\.created; it selects service\.\*/,
      ],
      [
        "bella",
        "booking.created",
        booking("apt_1", "bus_other"),
        /would not be owed to bella: The event is of the business bus_other; the endpoint wants bus_bella only/,
      ],
      [
        "bella",
        "booking.created",
        undefined,
        /The event is of the business bus_\w+; the endpoint wants/,
      ],
      ["bella", "booking.confirmed", whole, /would not be owed to bella: No business known/],
    ];
    for (const [id, type, data, reason] of unowed) {
      const { code, out } = await send(id, type, data);
      assert.equal(code, 0, "the test itself is delivered");
      assert.match(out, reason);
    }
    const json = JSON.parse(
      (await daemon.cli(["send", "booking.created", "--endpoint", "services", "--json"])).out,
    );
    assert.deepEqual(
      [json.would_be_owed, json.reason],
      [false, "The endpoint does not select booking.created; it selects service.*"],
    );
    const narrow = await send("services", "booking.created", undefined, {
      isTerminal: true,
      columns: 60,
    });
    const warning = stripVTControlCharacters(narrow.out).split("\n").filter((line) =>
      /owed|select/.test(line)
    );
    assert.ok(warning.length > 1 && warning.every((line) => line.length <= 60), narrow.out);
  },
);

onServer("send refuses what it cannot send, with the remedy", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const near = await daemon.cli(["send", "booking.creatd"]);
  assert.equal(near.code, 1);
  assert.match(near.err, /event: There is no such event type; did you mean booking\.created\?/);
  const far = await daemon.cli(["send", "nothing.like.it"]);
  assert.match(far.err, /there are booking\.created, /);
  const other = await daemon.cli(["send", "booking.created", "--data", "-"], {
    stdin: JSON.stringify({ ...booking("apt_1"), event: "booking.cancelled" }),
  });
  assert.equal(other.code, 2);
  assert.match(
    other.err,
    /^--data: - is an event of the type "booking\.cancelled", not "booking\.created"/,
  );
  await daemon.cli(["pause", "crm", "--reason", "Moving house"]);
  const paused = await daemon.cli(["send", "booking.created"]);
  assert.equal(paused.code, 1);
  assert.match(
    paused.err,
    /^The endpoint crm is paused \(Moving house\); resume it first\. Real events are owed to it meanwhile, and wait$/m,
  );
  assert.equal(receiver.requests.length, 0);
});
