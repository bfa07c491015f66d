import assert from "node:assert/strict";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { runHere } from "../support/cli.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";

const MAIL = "ana@example.org";

Deno.test("erase counts, asks, erases and reports, by text, subject and event", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const customer = { customer: { email: MAIL } };
  const { body } = await daemon.post([
    booking("apt_1", "bus_1", customer),
    booking("apt_2", "bus_1", customer),
    booking("apt_3", "bus_1"),
    booking("apt_4", "bus_1"),
  ]);
  for (const { id } of body) await daemon.delivery(await daemon.deliveryId(id));
  const payloads = async () => {
    const events = body.map(({ id }: { id: string }) => daemon.api(`events/${id}`));
    return (await Promise.all(events)).map((answer) => answer.body.payload !== null);
  };

  const text = { stdin: `${MAIL.toUpperCase()}\n` };
  const counted = await daemon.cli(["erase", "--containing", "-", "--dry-run"], text);
  assert.deepEqual([counted.code, counted.out], [0, "2 of 4 events read would be erased\n"]);
  const unasked = await daemon.cli(["erase", "--containing", "-"], text);
  assert.equal(unasked.code, 2);
  assert.match(unasked.err, /No terminal to confirm on; pass --yes/);
  const no = await daemon.cli(["erase", "--containing", "-"], { ...text, answer: "n" });
  assert.equal(no.code, 1);
  assert.match(no.err, /^2 events: erase for good\? \[y\/N\]Nothing was erased$/m);
  assert.deepEqual(await payloads(), [true, true, true, true]);
  const yes = await daemon.cli(["erase", "--containing", "-"], { ...text, answer: "y" });
  assert.deepEqual(
    [yes.code, yes.out],
    [0, "✓ 2 of 4 events read erased, with 2 answers; 0 pending deliveries cancelled\n"],
  );
  assert.deepEqual(await payloads(), [false, false, true, true]);

  const json = await daemon.cli(["erase", "--subject", "apt_3", "--yes", "--json"]);
  const { kind, state, matched, dry_run } = JSON.parse(json.out);
  assert.deepEqual([kind, state, matched, dry_run], ["subject", "done", 1, false]);
  assert.equal((await daemon.cli(["erase", "--event", body[3].id, "--yes"])).code, 0);
  assert.deepEqual(await payloads(), [false, false, false, false]);
  const none = await daemon.cli(["erase", "--subject", "apt_9"]);
  assert.deepEqual([none.code, none.out], [0, "0 of 0 events read would be erased\n"]);
  const unknown = await daemon.cli(["erase", "--event", "evt_00000000000000000000", "--yes"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.err, /event: There is no such event/);
});

Deno.test("erase takes one thing to look for, and a text from standard input only", async () => {
  const cases: readonly [string[], RegExp][] = [
    [["erase"], /^Name one of --event, --subject and --containing/],
    [["erase", "--event", "a", "--subject", "b"], /^Name one of/],
    [["erase", "--containing", MAIL], /^--containing takes -, for a text on standard input/],
    [["erase", "--containing", "-"], /^--containing: a text needs at least 4 characters/],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await runHere(args, { stdin: " ana \n" });
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, message);
    assert.ok(!err.includes(MAIL));
  }
});
