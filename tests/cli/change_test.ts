import assert from "node:assert/strict";
import { runHere } from "../support/cli.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { ADMIN, booking, endpoint, VIEWER } from "../support/daemon.ts";
import { serverDatabase, type TestDatabase } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

async function actions(daemon: Operated, object: string): Promise<string[]> {
  const { body } = await daemon.api(`audit?object=${object}`);
  return body.data.map((entry: { action: string; actor: string }) =>
    `${entry.action} by ${entry.actor}`
  );
}

async function makeEndpoint(
  daemon: Operated,
  input: Record<string, unknown>,
): Promise<{ id: string; secret: string }> {
  const made = await fetch(`${daemon.url}/api/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify(input),
  });
  assert.equal(made.status, 201);
  return await made.json();
}

/** Two endpoints, of which only `crm` gets bookings, each of them again after an hour. */
function startTwo({ section }: TestDatabase, url: string): Promise<Operated> {
  return startOperated({
    database: section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", url), endpoint("analytics", url, { events: ["service.*"] })],
  });
}

Deno.test("pause and resume change each endpoint named, and say what waits and what is sent", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startTwo(database, receiver.url);
  const { body: event } = await daemon.post(booking("apt_1"));
  const retried = await daemon.deliveryId(event.id);
  await daemon.delivery(retried, (found) => found.attempt_count === 1 && !found.sending);

  const ids = ["analytics", "crn", "crm", "crm"];
  const paused = await daemon.cli(["pause", ...ids, "--reason", "Moving house"]);
  assert.deepEqual(paused, {
    code: 1,
    out: "✓ analytics: paused: Moving house; no delivery waits\n" +
      "✓ crm: paused: Moving house; 1 delivery waits\n",
    err: '✗ crn: There is no endpoint "crn"; did you mean crm?\n',
  });
  const early = await daemon.cli(["resume", "crm"]);
  assert.match(early.out, /Moving house; 1 delivery waits for the next attempt\n$/);
  await daemon.cli(["pause", "crm", "--reason", "Moving house"]);
  const again = await daemon.cli(["pause", "crm"]);
  assert.equal(again.out, "✓ crm: was paused already: Moving house; 1 delivery waits\n");
  await daemon.post([booking("apt_2"), booking("apt_3")]);
  receiver.answer(statuses(200));
  const resumed = await daemon.cli(["resume", "crm", "crn", "analytics"]);
  assert.equal(resumed.code, 1);
  assert.match(
    resumed.out,
    /^✓ crm: resumed; .* Moving house; 2 deliveries are sent now, 1 more waits for the next attempt\n✓ analytics: .*; nothing waited\n$/,
  );
  await until("what was due is delivered", async () => {
    const { body } = await daemon.api("deliveries?status=pending");
    return body.data.length === 1 && body.data[0].id === retried;
  });
  const json = await daemon.cli(["resume", "crm", "analytics", "--json"]);
  const answers = json.out.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(answers.map(({ id, state }) => [id, state]), [
    ["crm", "active"],
    ["analytics", "active"],
  ]);
  assert.equal((await daemon.cli(["resume", "crm"])).out, "✓ crm: was not paused\n");
  assert.deepEqual((await actions(daemon, "crm")).slice(0, 2), [
    "endpoint.resumed by ops",
    "endpoint.paused by ops",
  ]);
});

Deno.test("resume --all says why a 410 paused an endpoint, and what is sent now", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(410));
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [
      endpoint("gone", receiver.url),
      endpoint("other", receiver.url, { events: ["service.*"] }),
    ],
  });
  const none = await daemon.cli(["resume", "--all"]);
  assert.deepEqual(none, { code: 0, out: "No endpoint is paused\n", err: "" });
  const { body: first } = await daemon.post(booking("apt_1"));
  await daemon.delivery(await daemon.deliveryId(first.id));
  const { body: second } = await daemon.post(booking("apt_2"));
  const waiting = await daemon.deliveryId(second.id);
  const list = await daemon.cli(["endpoints"]);
  assert.match(list.out, /\ngone +paused .* 1 \(1 due, for up to \d+ s\)/);
  assert.match(
    list.out,
    /\ngone is paused since \S+Z \(\d+ s ago\): The endpoint answered 410 Gone\n/,
  );
  const one = await daemon.cli(["endpoints", "gone"]);
  assert.match(
    one.out,
    /paused since +\S+Z \(.*ago\)\n +because +The endpoint answered 410 Gone\n/,
  );
  assert.match(one.out, /failing since +\S+Z \(.*ago\)\n +last success +-\n +latency +p50 \d+ ms/);

  receiver.answer(statuses(200));
  const resumed = await daemon.cli(["resume", "--all"]);
  assert.deepEqual([resumed.code, resumed.err], [0, ""]);
  assert.match(
    resumed.out,
    /^✓ gone: resumed; it was paused for \d+ s: The endpoint answered 410 Gone; 1 delivery is sent now\n$/,
  );
  assert.equal((await daemon.delivery(waiting)).status, "delivered");
  const healed = await daemon.cli(["endpoints", "gone"]);
  assert.match(healed.out, /state +active\n[^]*failing since +-\n +last success +\S+Z/);
  assert.deepEqual(await actions(daemon, "gone"), [
    "endpoint.resumed by ops",
    "endpoint.paused by the dispatcher",
    "endpoint.created by the configuration file",
  ]);
});

Deno.test("an automatic pause says when it is tried next, wherever the endpoint is shown", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startTwo(database, receiver.url);
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(event.id);
  await daemon.delivery(id, (found) => found.attempt_count === 1 && !found.sending);
  await using db = await database.open();
  await db.admin`
    update endpoints set paused_at = now(), pause_reason = 'Nothing but failures for 5 days',
      paused_by = 'automatic', probe_at = now() + interval '12 min 30 s'`;

  const shown = (await daemon.api("endpoints/crm")).body;
  assert.equal(shown.paused_by, "automatic");
  const at = shown.next_probe_at;
  const [row] = await db.admin`select probe_at from endpoints where id = 'crm'`;
  assert.equal(at, row?.probe_at.toISOString());
  const { explanation } = (await daemon.api(`deliveries/${id}`)).body;
  assert.match(
    explanation,
    /^Waits because the endpoint is paused automatically: Nothing but failures for 5 days; one waiting delivery is tried at /,
  );
  assert.ok(explanation.includes(`is tried at ${at} (in `));

  const list = (await daemon.cli(["endpoints"])).out.replaceAll(/\s+/g, " ");
  assert.match(
    list,
    /crm is paused since \S+ \(.*\): Nothing but failures for 5 days; resumes by itself/,
  );
  assert.ok(list.includes(`one that waits is tried at ${at} (in `));
  assert.match(
    list,
    /analytics is paused .* resumes by itself once a delivery arrives; none waits/,
  );
  const one = (await daemon.cli(["endpoints", "crm"])).out.replaceAll(/\s+/g, " ");
  assert.ok(
    one.includes(` resumes by itself once a delivery arrives; one that waits is tried at ${at}`),
  );
  const checked = (await daemon.cli(["endpoints", "crm", "--check"])).out.replaceAll(/\s+/g, " ");
  assert.ok(checked.includes(`one waiting delivery is tried at ${at} (in `));
  assert.match(checked, /`bookme-webhooks resume crm` sends them now/);

  await daemon.cli(["pause", "crm"]);
  const by_hand = (await daemon.api("endpoints/crm")).body;
  assert.deepEqual([by_hand.paused_by, by_hand.next_probe_at], ["hand", null]);
});

Deno.test("rotate prints the new secret to standard output alone, and ends its overlap", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const { id, secret } = await makeEndpoint(daemon, { url: receiver.url, events: ["service.*"] });
  const shown: string[] = [];
  for (const isTerminal of [false, true]) {
    const { code, out, err } = await daemon.cli(["rotate", id], { isTerminal });
    assert.equal(code, 0, err);
    assert.match(out, /^whsec_\S+\n$/);
    assert.match(err, /not shown again\nep_\w+: the new secret signs X-BookMe-Signature; the old/);
    shown.push(out.trim());
  }
  const own = await daemon.cli([
    "rotate",
    id,
    "--secret",
    "-",
    "--activate",
    "2h",
    "--overlap",
    "0s",
  ], {
    stdin: `${secret.replace(/.{8}=$/, "AAAAAAAA=")}\n`,
  });
  assert.deepEqual([own.code, own.out], [0, ""]);
  assert.match(own.err, /signs X-BookMe-Signature from (\S+Z) on; the old one .* until \1\n$/);
  const early = await daemon.cli(["rotate", id, "--end-overlap", "now"]);
  assert.deepEqual([early.code, early.out], [1, ""]);
  assert.match(early.err, /^The new secret signs from \S+Z on, and the old one must until then/);
  const json = await daemon.cli(["rotate", id, "--json"]);
  const answer = JSON.parse(json.out);
  assert.match(answer.secret, /^whsec_/);
  const listed = await daemon.cli(["endpoints"]);
  assert.match(
    listed.out,
    /\nep_\w+: the new secret signs X-BookMe-Signature;/,
  );
  const later = await daemon.cli(["rotate", id, "--end-overlap", "2h"]);
  assert.match(later.out, /^ep_\w+: the new secret signs X-BookMe-Signature; .* until \S+Z\n$/);
  const ended = await daemon.cli(["rotate", id, "--end-overlap", "now"]);
  assert.deepEqual(ended, { code: 0, out: `${id}: the new secret signs alone\n`, err: "" });
  const again = await daemon.cli(["rotate", id, "--end-overlap", "now"]);
  assert.deepEqual([again.code, again.out], [1, ""]);
  assert.match(again.err, /No rotation is under way/);

  const file = await daemon.cli(["rotate", "crm"]);
  assert.deepEqual([file.code, file.out], [1, ""]);
  assert.match(file.err, /belongs to the configuration file; write secret: \[new, old\] there/);
  const log = JSON.stringify((await daemon.api("audit")).body);
  for (const value of [secret, answer.secret, ...shown]) assert.ok(!log.includes(value));
});

Deno.test("a fault that concerns every change ends the command, which names what it left", async () => {
  await using database = await serverDatabase();
  const daemon = await startOperated({
    database: database.section,
    endpoints: ["a", "b", "c"].map((id) => endpoint(id, "http://127.0.0.1:9/")),
  });
  try {
    const viewer = ["--token", "env:VIEWER"];
    const env = { VIEWER };
    const refused = await daemon.cli(["pause", "a", "b", "c", ...viewer], { env });
    assert.deepEqual([refused.code, refused.out], [1, ""]);
    assert.match(
      refused.err,
      /^✗ a: The token wall has the role viewer, .* role admin\n✗ b: Not tried\n✗ c: Not tried\n$/,
    );
    await daemon.stop();
    const away = await daemon.cli(["resume", "a", "b"]);
    assert.equal(away.code, 1);
    assert.match(
      away.err,
      /^✗ a: No answer from http:\S+: .* is the daemon running\?.*\n✗ b: Not tried\n$/,
    );
  } finally {
    await daemon[Symbol.asyncDispose]();
  }
});

Deno.test("pause, resume and rotate check their options before the daemon is asked", async () => {
  const url = ["--url", `http://127.0.0.1:${await freePort()}`, "--token", "env:T"];
  const table: [string[], RegExp][] = [
    [["pause"], /^ID… is missing/],
    [["resume"], /^ID… is missing; --all resumes every paused endpoint/],
    [["resume", "crm", "--all"], /^--all takes no ID/],
    [["rotate"], /^ID is missing/],
    [["rotate", "crm", "analytics"], /^Unexpected argument "analytics"/],
    [["rotate", "crm", "--activate", "soon"], /^--activate must be now, how long from now/],
    [["rotate", "crm", "--activate", "2026-02-30"], /^--activate must be now/],
    [["rotate", "crm", "--overlap", "24"], /^--overlap: Must be a duration/],
    [["rotate", "crm", "--overlap", "31d"], /^--overlap must be at most/],
    [["rotate", "crm", "--secret", "hunter2hunter2hunter2hunter2"], /never the secret itself/],
    [["rotate", "crm", "--end-overlap", "now", "--overlap", "1h"], /^--end-overlap goes with no/],
    [["rotate", "crm", "--end-overlap", "yesterday"], /^--end-overlap must be now/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere([...args, ...url], { env: { T: "t".repeat(20) } });
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
    assert.ok(!err.includes("hunter2"));
  }
});

Deno.test("resume says when what waited cannot be sent", async () => {
  await using database = await serverDatabase();
  let id = "";
  {
    await using daemon = await startOperated({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    id = (await makeEndpoint(daemon, { url: "http://127.0.0.1:9/", events: ["*"] })).id;
    assert.equal((await daemon.cli(["pause", id])).code, 0);
    await daemon.post(booking("apt_1"));
  }
  // Without the key.
  await using daemon = await startOperated({ database: database.section });
  const list = await daemon.cli(["endpoints"]);
  assert.match(list.out, /\nep_\w+ is paused since \S+Z \(.*\): Paused by ops\n$/);
  const resumed = await daemon.cli(["resume", id]);
  assert.match(
    resumed.out,
    /^✓ ep_\w+: resumed; .*: Paused by ops; 1 delivery waits, because it cannot be sent to: The secrets/,
  );
  const unsendable = await daemon.cli(["endpoints"]);
  assert.match(
    unsendable.out,
    /\nep_\w+ +cannot send .*\nep_\w+ cannot be sent to: The secrets are/,
  );
});
