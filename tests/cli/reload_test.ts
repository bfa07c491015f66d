import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { booking, endpoint, SECRET } from "../support/daemon.ts";
import { runHere } from "../support/cli.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { type Leaf, testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

// deno-lint-ignore no-explicit-any
function edit(path: string, change: (file: any) => void, to = path): void {
  const file = parse(Deno.readTextFileSync(path));
  change(file);
  Deno.writeTextFileSync(to, stringify(file), { mode: 0o600 });
}

onServer("check --diff says which certificates change, and shows no key", async (database) => {
  const { ca, client, soon } = await testCertificates();
  const directory = await Deno.makeTempDir({ prefix: "bookme-diff-" });
  const put = (name: string, { cert, key }: Leaf) =>
    Deno.writeTextFileSync(`${directory}/${name}.pem`, `${cert}\n${key}`);
  try {
    put("old", client);
    put("new", soon);
    Deno.writeTextFileSync(`${directory}/ca.pem`, ca);
    const tls = { cert: `file:${directory}/old.pem`, key: `file:${directory}/old.pem` };
    await using daemon = await startOperated({
      database: database.section,
      endpoints: [endpoint("crm", "https://localhost:9/", { tls })],
    });
    edit(daemon.path, (file) => {
      file.endpoints[0].tls = {
        ca: `file:${directory}/ca.pem`,
        cert: `file:${directory}/new.pem`,
        key: `file:${directory}/new.pem`,
      };
    });
    const { out } = await daemon.cli(["check", "--diff", "--url", daemon.url]);
    assert.match(
      out,
      /\n {4}tls: client until 2098-01-01 → soon until \d{4}-\d\d-\d\d, trusts ca\n/,
    );
    const json = await daemon.cli(["check", "--diff", "--json", "--url", daemon.url]);
    for (const text of [out, json.out]) assert.ok(!text.includes("BEGIN"), text);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** A daemon whose endpoints crm and erp are owed a booking and a service each. */
async function owing(database: TestDatabase, url: string): Promise<Operated> {
  const daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", `${url}/crm`), endpoint("erp", `${url}/erp`)],
  });
  for (const event of [booking("apt_1"), sampleOf("service.created")]) await daemon.post(event);
  await until("each has failed once", async () => {
    const { body } = await daemon.api("deliveries");
    return body.data.every((one: { attempt_count: number }) => one.attempt_count === 1) &&
      body.data.length === 4;
  });
  return daemon;
}

const cancelled = async (daemon: Operated) =>
  (await daemon.api("deliveries?status=cancelled")).body.data
    .map((one: Record<string, string>) => `${one["endpoint_id"]} ${one["cancel_reason"]}`)
    .toSorted();

onServer("check --diff and reload say what changes, and reload asks first", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await owing(database, receiver.url);
  const { cli, path } = daemon;
  assert.equal((await cli(["reload"])).out, "Nothing changes\n");
  edit(path, (file) => {
    file.secrets.other = SECRET.replace("M", "N");
    file.endpoints = [
      {
        ...file.endpoints[0],
        events: ["booking.*"],
        timeout: "5s",
        retry: ["0s", "2h"],
        secret: ["other", "main"],
      },
      endpoint("new", "http://127.0.0.1:9/token-of-the-path"),
    ];
    file.retention = { events: "7d", attempts: "7d" };
    file.server.listen = "127.0.0.1:1";
  });
  const lines = [
    "+ new  127.0.0.1:9  *",
    "~ crm  cancels 1 pending delivery",
    "    events: * → booking.*",
    "    retry_ms: 0s 1h → 0s 2h",
    "    timeout_ms: 30s → 5s",
    "    secret: changed",
    "- erp  cancels 2 pending deliveries",
    "~ retention.payloads_ms changed",
    "~ retention.attempts_ms changed",
    "~ retention.events_ms changed",
    "~ server.listen.port changed, at the next start only",
  ].join("\n") + "\n";
  const there = ["--url", daemon.url];
  const diff = await cli(["check", "--diff", ...there]);
  assert.deepEqual([diff.code, diff.err], [0, ""]);
  assert.equal(
    diff.out,
    `${path} is valid. A reload of the daemon, which reads ${path}:\n${lines}`,
  );
  const json = await cli(["check", "--diff", "--json", ...there]);
  const planned = JSON.parse(json.out);
  assert.deepEqual(planned.diff.endpoints.retired, [{
    id: "erp",
    cancels: 2,
    cancels_exact: true,
  }]);

  const refused = await cli(["reload", ...there]);
  assert.equal(refused.code, 1);
  assert.ok(refused.err.startsWith(lines), refused.err);
  assert.match(refused.err, /Nothing was changed: .* pass --force to go ahead/);
  const no = await cli(["reload", ...there], { answer: "n" });
  assert.equal(no.code, 1);
  assert.match(no.err, /cancel these deliveries\? \[y\/N\]Nothing was changed\n$/);
  assert.deepEqual(await cancelled(daemon), []);
  assert.equal((await daemon.api("endpoints/erp")).body.retired_at, null);

  const yes = await cli(["reload", ...there], { answer: "y" });
  assert.deepEqual([yes.code, yes.out], [0, lines]);
  await until("they are cancelled", async () => (await cancelled(daemon)).length === 3);
  assert.deepEqual(await cancelled(daemon), [
    "crm deselected",
    "erp endpoint_retired",
    "erp endpoint_retired",
  ]);
  edit(path, (file) => file.endpoints = []);
  const forced = await cli(["reload", "--force", "--json", ...there]);
  assert.equal(forced.code, 0, forced.err);
  assert.deepEqual(
    JSON.parse(forced.out).endpoints.retired.map(({ id }: { id: string }) => id),
    ["crm", "new"],
  );
});

onServer("reload and check print each mistake, and change nothing", async (database) => {
  await using daemon = await startOperated({ database: database.section });
  const { cli, path, url } = daemon;
  const good = Deno.readTextFileSync(path);
  edit(path, (file) => {
    file.retention = { events: "soon" };
    file.endpoints = [endpoint("crm", "ftp://nowhere/")];
  });
  const check = await cli(["check"]);
  assert.equal(check.code, 2);
  const reload = await cli(["reload"]);
  assert.deepEqual([reload.code, reload.out], [2, ""]);
  assert.deepEqual(
    reload.err.trim().split("\n").toSorted(),
    check.err.trim().split("\n").toSorted(),
  );
  const json = await cli(["check", "--json"]);
  assert.equal(json.code, 2);
  const { valid, mistakes } = JSON.parse(json.out);
  assert.deepEqual([valid, mistakes.length], [false, 2]);
  // The file given is valid, and the daemon's is not.
  const other = `${path}.new`;
  Deno.writeTextFileSync(other, good);
  const { code, err } = await runHere(["check", "--diff", "--url", url, "--config", other]);
  assert.equal(code, 2, err);
  assert.match(err, /config\.yaml:\d+:\d+: retention\.events: /);
});

onServer("check --diff says so if the daemon reads another file", async (database) => {
  await using daemon = await startOperated({ database: database.section });
  const other = `${daemon.path}.new`;
  edit(daemon.path, () => {}, other);
  const same = await runHere(["check", "--diff", "--config", other]);
  assert.deepEqual([same.code, same.err], [0, ""], "with the same content");
  edit(daemon.path, (file) => file.retention = { events: "7d", attempts: "7d" }, other);
  const { code, out, err } = await runHere(["check", "--diff", "--config", other]);
  assert.equal(code, 0);
  assert.match(out, /\nNothing changes\n$/);
  assert.match(err, /^The daemon reads another file, .*config\.yaml, whose content differs/);
});

onServer("check --diff and reload compare with the file of another daemon", async (database) => {
  const sections = {
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/"), endpoint("erp", "http://127.0.0.1:9/")],
  };
  await using daemon = await startOperated(sections);
  await using _newer = await startOperated({
    ...sections,
    secrets: { main: SECRET.replace("M", "N") },
    retention: { events: "7d", attempts: "7d" },
  });
  await until("the newer file is in force", async () => {
    const { body } = await daemon.api("endpoints/crm");
    return body.sendable === false;
  });
  const lines = "~ crm\n    secret: changed\n~ erp\n    secret: changed\n~ retention changed\n";
  const diff = await daemon.cli(["check", "--diff"]);
  assert.ok(diff.out.endsWith(`:\n${lines}`), diff.out);
  assert.equal((await daemon.cli(["reload"])).out, lines);
  assert.equal((await daemon.cli(["reload"])).out, "Nothing changes\n");
  assert.equal((await daemon.api("endpoints/crm")).body.sendable, true);
});
