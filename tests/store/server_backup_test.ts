/** The way to back up and restore a server in docs/operations.md, with its own commands and settings. */

import assert from "node:assert/strict";
import { ADMIN, booking, endpoint, type Front, startDaemon } from "../support/daemon.ts";
import { blocksOf, commandsOf } from "../docs/shell.ts";
import {
  connectTo,
  freshDatabase,
  machineBin,
  serverUser,
  startPostgres,
} from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { exists } from "../support/programs.ts";
import { until } from "../support/wait.ts";

const bin = programs();

/** The machine's programs, of which the package for tests has no pg_basebackup; undefined without them. */
function programs(): string | undefined {
  try {
    const found = machineBin();
    return exists(`${found}/pg_basebackup`) ? found : undefined;
  } catch {
    return undefined;
  }
}

const blocks = blocksOf("docs/operations.md").filter(({ heading }) => heading === "A server");

/** The settings of an `ini` block, with this test's directory for backups. */
function settingsOf(nth: number, backups: string): Record<string, string> {
  const text = blocks.filter(({ language }) => language === "ini")[nth]?.text ?? "";
  const settings = [...text.replaceAll("/var/backups", backups).matchAll(/^(\w+) = '?(.*?)'?$/gm)]
    .map(([, name = "", value = ""]) => [name, value]);
  assert.ok(settings.length >= 3);
  return Object.fromEntries(settings);
}

Deno.test({
  name: "a server is restored to a moment by docs/operations.md" +
    (bin === undefined ? " (skipped: no pg_basebackup here)" : ""),
  ignore: bin === undefined,
  async fn() {
    const backups = Deno.makeTempDirSync({ prefix: "bookme-backups-" });
    const user = serverUser();
    Deno.mkdirSync(`${backups}/wal`);
    for (const path of [backups, `${backups}/wal`]) {
      if (user !== undefined) Deno.chownSync(path, user.uid, user.gid);
    }
    try {
      await backUpAndRestore(backups, bin ?? "");
    } finally {
      Deno.removeSync(backups, { recursive: true });
    }
  },
});

async function backUpAndRestore(backups: string, bin: string): Promise<void> {
  await using good = await startReceiver();
  await using late = await startReceiver(statuses(500));
  const sections = (url: string) => ({
    database: { url },
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("good", good.url), endpoint("late", late.url)],
  });
  let url: string;
  let target_time: string;
  const ids: string[] = [];
  {
    await using server = await startPostgres(settingsOf(0, backups), { bin });
    ({ url } = await freshDatabase(server));
    await using sql = connectTo(url);
    await using daemon = await startDaemon(sections(url));
    const deliver = async (id: string) => {
      const { body } = await daemon.post(booking(id));
      ids.push(body.id);
      await daemon.delivery(await daemon.deliveryId(body.id, "good"));
      await daemon.delivery(
        await daemon.deliveryId(body.id, "late"),
        ({ attempts }) => attempts.length > 0,
      );
    };
    await deliver("apt_in_the_base");
    await basebackup(backups, bin, server.url("postgres"));
    await deliver("apt_in_the_archive");
    const [row] = await sql<{ now: string }[]>`select clock_timestamp()::text as now`;
    target_time = row?.now ?? "";

    // After the moment that is restored: a new event, and a delivery that was pending arrives.
    await deliver("apt_too_late");
    late.answer(statuses(200));
    await sendPending(daemon);
    await until("the late ones are delivered", () => late.requests.length >= 6);
    await archived(sql);
    await daemon.stop();
    await server.kill();
  }

  const signal = `${backups}/base/recovery.signal`;
  Deno.writeTextFileSync(signal, "");
  const user = serverUser();
  if (user !== undefined) Deno.chownSync(signal, user.uid, user.gid);
  await using server = await startPostgres(
    { ...settingsOf(1, backups), recovery_target_time: target_time },
    { bin, data: `${backups}/base` },
  );
  const restored = server.url(new URL(url).pathname.slice(1));
  await until("it accepts writes", async () => {
    await using sql = connectTo(restored);
    const [row] = await sql<{ waits: boolean }[]>`select pg_is_in_recovery() as waits`;
    return row?.waits === false;
  });
  const statements = blocks.find(({ language }) => language === "sql")?.text ?? "";
  {
    await using sql = connectTo(restored);
    await sql.unsafe(statements).simple();
  }

  await using daemon = await startDaemon(sections(restored));
  const known = await Promise.all(ids.map(async (id) => (await daemon.api(`events/${id}`)).status));
  assert.deepEqual(known, [200, 200, 404], "what was there at that moment, and nothing later");
  const sent = late.requests.length;
  const { body } = await daemon.api("endpoints");
  assert.deepEqual(body.data.map(({ state }: { state: string }) => state), ["paused", "paused"]);
  await daemon.post(booking("apt_after"));
  for (const { id } of body.data) {
    const { status } = await daemon.api(`endpoints/${id}/resume`, ADMIN, "POST");
    assert.equal(status, 200);
  }
  await sendPending(daemon);
  const again = () =>
    late.requests.slice(sent).map(({ headers }) => headers["x-bookme-event-id"] ?? "");
  await until("both are sent again, and the new one", () => again().length >= 3);
  for (const id of ids.slice(0, 2)) assert.ok(again().includes(id), "with the same id");
}

/** Runs the page's pg_basebackup as the server's user. */
async function basebackup(backups: string, bin: string, url: string): Promise<void> {
  const block = blocks.find(({ language }) => language === "bash");
  const [command = ""] = commandsOf(block?.text.replaceAll("/var/backups", backups) ?? "");
  const { hostname, port } = new URL(url);
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-c", command],
    cwd: "/",
    env: {
      PATH: `${bin}:${Deno.env.get("PATH")}`,
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: "postgres",
    },
    stdin: "null",
    ...serverUser(),
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

async function sendPending({ url }: Front): Promise<void> {
  const response = await fetch(`${url}/api/replays`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ endpoint: "late", status: "pending", since: "2020-01-01T00:00:00Z" }),
  });
  assert.equal(response.status, 201, await response.text());
}

/** Waits until everything written so far is in the archive. */
async function archived(sql: ReturnType<typeof connectTo>): Promise<void> {
  const [row] = await sql<{ wal: string }[]>`select pg_walfile_name(pg_switch_wal()) as wal`;
  await until("the log is archived", async () => {
    const [found] = await sql<{ last: string }[]>`
      select last_archived_wal as last from pg_stat_archiver`;
    return (found?.last ?? "") >= (row?.wal ?? "");
  });
}
