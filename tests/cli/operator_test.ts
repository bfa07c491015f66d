import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { quote } from "../../lib/core/curl.ts";
import {
  type Ended,
  inTemporary,
  runCli,
  runHere,
  startCli,
  TASK_PERMISSIONS,
} from "../support/cli.ts";
import { ADMIN, booking, endpoint, VIEWER } from "../support/daemon.ts";
import { embeddedDatabase, initialise, serverDatabase } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

/** Lines of a table below its head, each cut into its columns. */
function rows({ code, out, err }: Ended): string[][] {
  assert.deepEqual([code, err], [0, ""], out + err);
  return out.trimEnd().split("\n").slice(1).map((line) => line.split(/ {2,}/));
}

async function drained(daemon: Operated): Promise<void> {
  await until("nothing is pending", async () => {
    const { body } = await daemon.api("deliveries?status=pending");
    return body.data.length === 0;
  });
}

Deno.test("an operator finds the failing endpoint, sees why, fixes it, replays, watches it drain", async () => {
  await using database = await embeddedDatabase();
  await using analytics = await startReceiver();
  await using crm = await startReceiver(() => ({
    status: 500,
    headers: { "X-Trace": "7f3a" },
    body: "Disk \x1b[31mfull\x1b[0m",
  }));
  await using daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s", "0s"] },
    endpoints: [
      endpoint("analytics", analytics.url),
      endpoint("crm", `${crm.url}/hooks`, { headers: { "X-Tenant": "bella" } }),
    ],
  });
  const events = 5;
  for (let at = 0; at < events; at++) await daemon.post(booking(`apt_${at}`, "bus_1"));
  await drained(daemon);

  // Which one fails?
  const list = rows(await daemon.cli(["endpoints"]));
  assert.deepEqual(list.map(([id, state, hour]) => [id, state, hour]), [
    ["analytics", "active", "5 ok"],
    ["crm", "active", "10 of 10 failed: http_5xx"],
  ]);
  const shown = await daemon.cli(["endpoints", "crm"]);
  assert.match(shown.out, /last hour +10 of 10 failed: http_5xx\n/);
  assert.match(shown.out, /headers +X-Tenant\n/);
  assert.match(shown.out, /attempts after +0s, 0s\n/);
  assert.match(shown.out, /dlv_\w+ .* Failed after 2 attempts; the last ended with http_5xx/);

  // Can it be reached at all?
  const reached = await daemon.cli(["endpoints", "crm", "--check"]);
  assert.match(reached.out, /^✓ endpoint crm: .* takes connections, without TLS\n$/);
  const json = await daemon.cli(["endpoints", "crm", "--check", "--json"]);
  assert.equal(JSON.parse(json.out).ok, true);
  assert.deepEqual([reached.code, json.code], [0, 0]);
  const whose = await daemon.cli(["endpoints", "--check"]);
  assert.equal(whose.code, 2);
  assert.match(whose.err, /^--check needs the ID of an endpoint/);

  // What exactly?
  const failed = rows(await daemon.cli(["deliveries", "--status", "failed", "--since", "2h"]));
  assert.deepEqual(
    failed.map(([, , type, , at, status, attempts, why]) => [type, at, status, attempts, why]),
    Array(events).fill(["booking.created", "crm", "failed", "2", "http_5xx 500"]),
  );
  const id = failed[0]?.[0] ?? "";
  const one = await daemon.cli(["delivery", id]);
  assert.match(
    one.out,
    /^dlv_\w+\n {2}Failed after 2 attempts; the last ended with http_5xx \(status 500\)/,
  );
  assert.match(one.out, /\n1 .*http_5xx +500 .*\n2 .*http_5xx +500 /);
  assert.match(
    one.out,
    /\nTime: (connect .+, )?waiting \d+(\.\d)? m?s(, on a reused connection)?\n\nIt ans/,
  );
  assert.match(one.out, /It answered 500\nX-Trace: 7f3a\n/i);
  assert.ok(one.out.includes("Disk \\u001b[31mfull\\u001b[0m"));
  assert.ok(!one.out.includes("\x1b"));
  assert.match(one.out, /-H 'X-Tenant: \[redacted\]'/);

  // The request again, by the command it prints: byte for byte what was signed.
  const command = /^printf [^]*?--data-binary @-$/m.exec(one.out)?.[0] ?? "";
  crm.answer(statuses(204));
  const before = crm.requests.length;
  const { success } = await new Deno.Command("bash", { args: ["-c", command] }).output();
  assert.ok(success);
  const again = crm.requests[before];
  const sent = crm.requests.slice(0, before).findLast((request) =>
    request.headers["x-bookme-delivery-id"] === id
  );
  assert.deepEqual(again?.body, sent?.body);
  assert.equal(again?.path, "/hooks");
  for (const name of ["x-bookme-signature", "webhook-signature", "webhook-id", "content-type"]) {
    assert.equal(again?.headers[name], sent?.headers[name] ?? assert.fail(name));
  }

  // It is fixed now: does it accept a test event?
  const test = await daemon.cli(["send", "booking.created", "--endpoint", "crm"]);
  assert.equal(test.code, 0, test.out + test.err);
  assert.match(
    test.out,
    /^✓ booking\.created to crm: delivered by 127\.0\.0\.1:\d+, after \d+ ms\n/,
  );

  // The last two hours again, and watch it drain.
  const dry = await daemon.cli(["replay", "--endpoint", "crm", "--since", "2h", "--dry-run"]);
  assert.equal(dry.out, "5 failed deliveries to crm would be replayed\n");
  const replay = ["replay", "--endpoint", "crm", "--since", "2h", "--status", "failed"];
  const unasked = await daemon.cli(replay);
  assert.equal(unasked.code, 2);
  assert.match(unasked.err, /No terminal to confirm on; pass --yes/);
  const refused = await daemon.cli(replay, { isTerminal: true, answer: "n" });
  assert.deepEqual([refused.code, refused.out], [1, ""]);
  const done = await daemon.cli([...replay, "--rate", "50/s"], { isTerminal: true, answer: "y" });
  assert.equal(done.code, 0, done.err);
  assert.match(done.err, /5 failed deliveries to crm: send again\? \[y\/N\]/);
  assert.match(done.err, /\d of 5 are pending again/);
  assert.match(done.out, /✓.* 5 of 5 replayed\n/);
  assert.match(done.err, /Draining: 0 to be sent/);
  const after = rows(await daemon.cli(["deliveries", "--endpoint", "crm"]));
  assert.deepEqual(new Set(after.map(([, , , , , status]) => status)), new Set(["delivered"]));
});

Deno.test("deliveries pages, filters and hands on the API's JSON", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  assert.equal((await daemon.cli(["deliveries"])).out, "No deliveries match\n");
  await daemon.post(Array.from({ length: 450 }, (_, at) => booking(`apt_${at}`)));
  await drained(daemon);
  const all = JSON.parse((await daemon.cli(["deliveries", "--limit", "1000", "--json"])).out);
  assert.equal(new Set(all.data.map(({ id }: { id: string }) => id)).size, 450);
  assert.equal(all.next_cursor, null);
  const some = await daemon.cli(["deliveries", "--limit", "3"]);
  assert.equal(some.out.trimEnd().split("\n").length, 4);
  const [, cursor = ""] = /There may be more; continue with --cursor (dlv_\w+)\n/.exec(some.err) ??
    [];
  const rest = JSON.parse(
    (await daemon.cli(["deliveries", "--cursor", cursor, "--limit", "2", "--json"])).out,
  );
  assert.deepEqual(rest.data.map(({ id }: { id: string }) => id), [all.data[3].id, all.data[4].id]);
  const terminal = await daemon.cli(["deliveries", "--limit", "3"], { isTerminal: true });
  assert.match(terminal.out, /\d+ s ago/);
  assert.ok(terminal.out.includes("\x1b[32mdelivered"));
  for (
    const filter of [
      ["--until", "1h"],
      ["--status", "failed"],
      ["--reason", "tls"],
      ["--type", "booking.cancelled"],
    ]
  ) {
    const { code, out } = await daemon.cli(["deliveries", ...filter]);
    assert.deepEqual([code, out], [0, "No deliveries match\n"], filter.join(" "));
  }
  // An empty list would look as if crm had missed nothing.
  for (
    const args of [
      ["deliveries", "--endpoint", "cmr"],
      ["replay", "--since", "2h", "--endpoint", "cmr"],
      ["replay", "--status", "pending", "--endpoint", "cmr"],
      ["stats", "--endpoint", "cmr"],
      ["send", "booking.created", "--endpoint", "cmr"],
      ["endpoints", "cmr"],
      ["pause", "cmr"],
    ]
  ) {
    const { code, out, err } = await daemon.cli(args);
    assert.deepEqual([code, out], [1, ""], args.join(" "));
    assert.match(err, /There is no endpoint "cmr"; did you mean crm\?/);
  }
  const hostile = await daemon.cli(["deliveries", "--endpoint", "' or true --"]);
  assert.match(hostile.err, /There is no endpoint "' or true --"; there is crm/);
});

Deno.test("retry and cancel do what they can, and exit with 1 if anything failed", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const ids: string[] = [];
  for (const name of ["a", "b"]) {
    const { body } = await daemon.post(booking(name));
    ids.push(await daemon.deliveryId(body.id));
  }
  const [a = "", b = ""] = ids;
  for (const id of ids) {
    await daemon.delivery(id, (found) => found.attempt_count === 1 && !found.sending);
  }
  const cancelled = await daemon.cli(["cancel", a]);
  assert.deepEqual([cancelled.code, cancelled.err], [0, ""]);
  assert.match(
    cancelled.out,
    /^✓ dlv_\w+: Cancelled after 1 attempt: Cancelled by ops; only a retry /,
  );
  receiver.answer(statuses(200));
  const retried = await daemon.cli(["retry", a, "dlv_nonsense", b]);
  assert.equal(retried.code, 1);
  assert.match(retried.out, new RegExp(`^✓ ${a}: .*\\n✓ ${b}: .*\\n$`));
  assert.match(retried.err, /^✗ dlv_nonsense: There is no such delivery/);
  await drained(daemon);
  const late = await daemon.cli(["cancel", a, "--json"]);
  assert.deepEqual([late.code, late.out], [1, ""]);
  assert.match(late.err, /has ended already: it is delivered/);
  const shown = await daemon.cli(["delivery", a, "--attempt", "1"]);
  assert.match(shown.out, /\nAttempt 1, as a command:\n[^]*It answered 500\n/);
  const none = await daemon.cli(["delivery", a, "--attempt", "7"]);
  assert.equal(none.code, 2);
  assert.match(none.err, /no attempt 7; choose one of 1, 2/);
});

Deno.test("send prints the result, reads data from a file or standard input, and needs no --endpoint if there is one", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(200, 401));
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const stdin = JSON.stringify(booking("apt_own"));
  const good = await daemon.cli(["send", "booking.created", "--data", "-"], { stdin });
  assert.equal(good.code, 0, good.err);
  const [request] = await receiver.received(1);
  assert.equal(JSON.parse(String(request?.body)).data.appointment.id, "apt_own");
  assert.equal(request?.headers["x-bookme-test"], "true");
  const bad = await daemon.cli(["send", "booking.created", "--json"]);
  assert.equal(bad.code, 1);
  assert.equal(JSON.parse(bad.out).attempt.outcome, "http_4xx");
  const table: [string[], number, RegExp][] = [
    [["booking.creatd"], 1, /event type/],
    [
      ["booking.created", "--endpoint", "nobody"],
      1,
      /^There is no endpoint "nobody"; there is crm\n/,
    ],
    [["booking.created", "--data", "/nowhere/x.json"], 2, /does not exist/],
    [["booking.created", "--data", daemon.path], 2, /is not JSON/],
    [[], 2, /^TYPE is missing/],
  ];
  for (const [args, code, expected] of table) {
    const ended = await daemon.cli(["send", ...args]);
    assert.equal(ended.code, code, ended.err);
    assert.match(ended.err, expected);
  }
});

Deno.test("the daemon's address and token come from its configuration, or from --url and --token", async () => {
  await inTemporary(async (directory) => {
    const config = `${directory}/config.yaml`;
    const port = await freePort();
    // The token that the embedded default makes; a secret that only the daemon can read.
    await Deno.writeTextFile(
      config,
      `server: { listen: "127.0.0.1:${port}" }\nsecrets: { crm: env:CRM_SECRET }\n`,
    );
    const early = await runHere(["endpoints", "-c", config]);
    assert.equal(early.code, 2);
    assert.match(early.err, /data\/admin\.token" does not exist; the daemon makes it at its first/);
    await initialise(`${directory}/data`);
    const daemon = startCli(["-c", config], { env: { CRM_SECRET: "x".repeat(30) } });
    try {
      await daemon.until(/"Listening"/);
      const { code, out, err } = await runHere(["endpoints", "-c", config]);
      assert.deepEqual([code, out, err], [0, "No endpoints\n", ""]);
      const url = `http://127.0.0.1:${port}`;
      const file = `file:${directory}/data/admin.token`;
      const bare = await runHere(["endpoints", "--url", url, "--token", file, "-c", "/nowhere"]);
      assert.deepEqual([bare.code, bare.out], [0, "No endpoints\n"]);
      const wrong = await runHere(["endpoints", "--url", url, "--token", "env:T"], {
        env: { T: "hunter2-hunter2-hunter2" },
      });
      assert.equal(wrong.code, 1);
      assert.match(wrong.err, /refuses the token of --token env:T/);
      assert.ok(!wrong.err.includes("hunter2"));
      const literal = await runHere(["endpoints", "--url", url, "--token", "hunter2-hunter2"]);
      assert.equal(literal.code, 2);
      assert.ok(!literal.err.includes("hunter2"));
    } finally {
      daemon.kill("SIGTERM");
      await daemon.ended;
    }
    const late = await runHere(["endpoints", "-c", config]);
    assert.equal(late.code, 1);
    assert.match(
      late.err,
      /No answer from http:\/\/127\.0\.0\.1:\d+: .*; is the daemon running\? Start it with `bookme-webhooks --config \S+config\.yaml`, which names this address \(server\.listen\), or/,
    );
  });
});

Deno.test("commands trust the environment's authorities only for a daemon behind TLS", async () => {
  const certificates = await testCertificates();
  const server = createServer(certificates.good, (_, response) => {
    response.end(JSON.stringify({ data: [], next_cursor: null }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  await using _ = { [Symbol.asyncDispose]: () => promisify(server.close.bind(server))() };
  const { port } = server.address() as AddressInfo;
  const ask = (env: Record<string, string>) =>
    runCli(
      ["endpoints", "--url", `https://localhost:${port}`, "--token", "env:TOKEN"],
      { permissions: TASK_PERMISSIONS, env: { TOKEN: ADMIN, ...env } },
    );
  const { ca, cert } = certificates.files;
  const trusting = [
    { NODE_EXTRA_CA_CERTS: ca },
    // The authorities of either do not take the place of the other's.
    { NODE_EXTRA_CA_CERTS: cert, DENO_CERT: ca },
    { NODE_EXTRA_CA_CERTS: "", DENO_CERT: ca },
  ];
  for (const env of trusting) {
    assert.deepEqual(await ask(env), { code: 0, out: "No endpoints\n", err: "" });
  }
  for (const path of [cert, "/nowhere.pem", ""]) {
    const { code, err } = await ask({ NODE_EXTRA_CA_CERTS: path });
    assert.equal(code, 1);
    assert.match(err, /^No answer from https:\/\/localhost:\d+: unable to verify the first cert/);
  }
});

Deno.test("a viewer's token may read; a change is refused with the reason", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  });
  const env = { ADMIN, VIEWER };
  const viewer = ["--token", "env:VIEWER"];
  assert.equal((await daemon.cli(["endpoints", ...viewer], { env })).code, 0);
  const { code, err } = await daemon.cli(["replay", "--since", "1h", "--yes", ...viewer], { env });
  assert.equal(code, 1);
  assert.match(err, /^The token wall has the role viewer, .* needs a token with the role admin\n$/);
});

Deno.test("an unknown endpoint is answered with the id that may be meant", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: ["crm", "analytics", "billing"].map((id) => endpoint(id, "http://127.0.0.1:9/")),
  });
  const said = async (...args: string[]) => {
    const { code, out, err } = await daemon.cli(args);
    assert.deepEqual([code, out], [1, ""], args.join(" "));
    return err;
  };
  const typo = 'There is no endpoint "anlytics"; did you mean analytics?\n';
  assert.equal(await said("endpoints", "anlytics"), typo);
  assert.equal(await said("send", "booking.created", "--endpoint", "anlytics"), typo);
  assert.match(await said("replay", "--since", "1h", "--endpoint", "anlytics"), /mean analytics\?/);
  for (const name of ["deliveries", "replay"]) {
    assert.equal(
      await said(name, "--since", "1h", "--type", "booking.creatd"),
      'Nothing matches: there is no event type "booking.creatd"; did you mean booking.created?\n',
    );
  }
  const list = 'There is no endpoint "x/../y"; there is analytics, billing, crm\n';
  assert.equal(await said("endpoints", "x/../y"), list);
});

Deno.test("replay says what holds deliveries up, and does not watch them for ever", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(503));
  await using daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const { body } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(body.id);
  await daemon.delivery(id, ({ attempt_count, sending }) => attempt_count === 1 && !sending);
  await daemon.cli(["pause", "crm"]);
  const held = "crm is paused; `bookme-webhooks resume crm` sends what waits\n";
  const start = ["replay", "--status", "pending", "--yes"];
  const made = await daemon.cli([...start, "--endpoint", "crm"], { isTerminal: true });
  assert.equal(made.code, 0);
  assert.ok(made.err.includes(held), made.err);
  for (const more of [["--endpoint", "crm"], []]) {
    const again = await daemon.cli([...start, ...more]);
    assert.equal(again.code, 0);
    assert.match(again.out, /^0 pending deliveries .*would be sent now\n$/);
    assert.equal(again.err, `1 is due already or being sent\n${held}`);
  }
});

Deno.test("options are checked before the daemon is asked", async () => {
  const table: [string[], RegExp][] = [
    [
      ["deliveries", "--status", "faild"],
      /^--status must be pending, delivered, failed or cancelled; did you mean failed\?/,
    ],
    [["deliveries", "--reason", "http_5x"], /did you mean http_5xx\?/],
    [["deliveries", "--since", "yesterday"], /^--since must be how long ago, such as 2h/],
    [["deliveries", "--since", "2026-13-45"], /^--since must be/],
    [["deliveries", "--since", "2026-02-30"], /^--since must be/],
    [["event", "BK1", "--since", "2026-02-30T00:00:00Z"], /^--since must be/],
    [["replay", "--since", "2025-02-29"], /^--since must be/],
    [["deliveries", "--until", "2026-04-31"], /^--until must be/],
    ...["deliveries", "replay", "audit"].flatMap((name): [string[], RegExp][] => [
      [
        [name, "--since", "2h", "--until", "3h"],
        /^--since 2h \(20.*\) must lie before --until 3h \(20.*\)/,
      ],
      [[name, "--since", "2h", "--until", "2h"], /^--since 2h .* must lie before --until 2h/],
    ]),
    ...["deliveries", "replay", "audit", "event"].map((name): [string[], RegExp] => [
      [name, ...(name === "event" ? ["BK1"] : []), "--since", "2999-02-28"],
      /^--since 2999-02-28 is yet to come: it is 20\S+Z now/,
    ]),
    [["deliveries", "--limit", "0"], /^--limit must be a whole number from 1 to 10000/],
    [["delivery"], /^ID is missing/],
    [["retry"], /^ID… is missing/],
    [["replay"], /^--since is missing/],
    [["replay", "--since", "2h", "--rate", "fast"], /^--rate: Must be a rate, such as 50\/s/],
    [["replay", "--since", "2h", "--status", "pendin"], /did you mean pending\?/],
    [["replay", "--status", "pending", "--status", "failed"], /^--status pending stands alone/],
    [["replay", "--since", "2h", "--code", "4x"], /^--code must be a status such as 401, or 4xx/],
    [["deliveries", "--code", "xx"], /^--code must be/],
    [
      ["endpoints", "--url", "ftp://x", "--token", "env:T"],
      /^--url must be the address of the daemon/,
    ],
    [["endpoints", "--url", "http://u:p@x/", "--token", "env:T"], /^--url must be/],
    [["completions", "tcsh"], /^Completions exist for bash, zsh, fish, not for "tcsh"/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere(args, { env: { T: "t".repeat(20) } });
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});

Deno.test("quote() makes a word that a shell gives back as it was", async () => {
  const words = [
    "",
    "plain",
    'it\'s $HOME `id` !! \\ "x"',
    "two\nlines",
    "tab\there\r\x1b[31m\x9b\u202e\u2028é😀'\\'",
  ];
  for (const word of words) {
    const quoted = quote(word);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(quoted, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/);
    const { stdout } = await new Deno.Command("bash", { args: ["-c", `printf %s ${quoted}`] })
      .output();
    assert.equal(new TextDecoder("utf-8", { ignoreBOM: true }).decode(stdout), word);
  }
});

Deno.test("completions complete commands, options and values in bash", async () => {
  const { code, out } = await runHere(["completions", "bash"]);
  assert.equal(code, 0);
  const complete = async (line: string) => {
    const words = line.split(" ");
    const script = `${out}
      COMP_WORDS=(${words.map(quote).join(" ")}); COMP_CWORD=${words.length - 1}
      compopt() { COMPREPLY=(files); }
      _bookme_webhooks; printf '%s ' "\${COMPREPLY[@]}"`;
    const { stdout } = await new Deno.Command("bash", { args: ["-c", script] }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  assert.equal(await complete("bookme-webhooks deli"), "deliveries delivery");
  assert.equal(await complete("bookme-webhooks health"), "healthcheck");
  assert.equal(await complete("bookme-webhooks deliveries --st"), "--status");
  assert.equal(
    await complete("bookme-webhooks deliveries --status "),
    "pending delivered failed cancelled",
  );
  assert.equal(await complete("bookme-webhooks deliveries --status f"), "failed");
  assert.equal(await complete("bookme-webhooks --config x.yaml replay --dr"), "--dry-run");
  assert.equal(await complete("bookme-webhooks check --config "), "files");
  assert.equal(await complete("bookme-webhooks completions "), "--help bash zsh fish");
  for (const shell of ["zsh", "fish"]) {
    const made = await runHere(["completions", shell]);
    assert.equal(made.code, 0);
    assert.match(made.out, /deliveries/);
  }
});

Deno.test("completions complete the ids of endpoints, as the daemon of --config knows them", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: ["crm", "crm-staging", "analytics"].map((id) => endpoint(id, "http://127.0.0.1:9/")),
  });
  const { out } = await runHere(["completions", "bash"]);
  await inTemporary(async (directory) => {
    const program = `${directory}/bookme-webhooks`;
    const main = new URL("../../main.ts", import.meta.url).pathname;
    Deno.writeTextFileSync(
      program,
      `#!/bin/sh\nexec ${Deno.execPath()} run -A --quiet ${main} "$@"\n`,
      { mode: 0o755 },
    );
    const complete = async (...words: string[]) => {
      const script = `${out}
        COMP_WORDS=(${[program, ...words].map(quote).join(" ")}); COMP_CWORD=${words.length}
        _bookme_webhooks; printf '%s ' "\${COMPREPLY[@]}"`;
      const { stdout } = await new Deno.Command("bash", {
        args: ["-euc", script],
        cwd: directory,
      }).output();
      return new TextDecoder().decode(stdout).trim();
    };
    assert.equal(await complete("pause", "--config", daemon.path, "cr"), "crm crm-staging");
    assert.equal(
      await complete("-c", daemon.path, "deliveries", "--endpoint", ""),
      "analytics crm crm-staging",
    );
    assert.equal(await complete("resume", "--config", "=", daemon.path, "an"), "analytics");
    assert.equal(await complete("rotate", "--config", "/nowhere.yaml", "cr"), "");
    assert.equal(await complete("resume", "--al"), "--all");
  });
});
