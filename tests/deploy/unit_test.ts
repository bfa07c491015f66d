/** The systemd unit: what systemd says of it, and what its commands do. */

import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { startCli } from "../support/cli.ts";
import { endpoint, writeConfig } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { listenAsManager } from "../support/service_manager.ts";
import { until } from "../support/wait.ts";

const NAME = "bookme-webhooks.service";
const UNIT = await Deno.readTextFile(new URL(`../../deploy/${NAME}`, import.meta.url));
const PROGRAM = "/usr/local/bin/bookme-webhooks";
const CONFIG = "/etc/bookme-webhooks/config.yaml";
/** The least confined that it may be, of 10. */
const MAX_EXPOSURE = 1.5;

/** The value of a setting that the unit has once. */
function setting(name: string): string {
  const [value, ...more] = [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map((match) =>
    match[1] ?? ""
  );
  assert.ok(value !== undefined && more.length === 0, name);
  return value;
}

/** Arguments of a command of the unit, with another configuration. */
function commandOf(name: string, prefix: string, config: string): string[] {
  const [program, ...args] = setting(name).split(" ");
  assert.equal(program, prefix + PROGRAM);
  assert.ok(args.includes(CONFIG));
  return args.map((arg) => arg === CONFIG ? config : arg);
}

async function analyze(args: readonly string[]) {
  const { success, stdout, stderr } = await new Deno.Command("systemd-analyze", {
    args: [...args],
    stdin: "null",
    env: { SYSTEMD_COLORS: "0", SYSTEMD_PAGER: "" },
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { success, out: out ?? "", err: err ?? "" };
}

const is_there = await analyze(["--version"]).then(() => true, () => false);

/** Declares a test that runs systemd-analyze; ignored without it (Debian's package systemd has it). */
function analyzeTest(name: string, test: () => Promise<void>): void {
  Deno.test({
    name: is_there ? name : `${name} (ignored: NO systemd-analyze, THE UNIT IS NOT TESTED)`,
    ignore: !is_there,
    fn: test,
  });
}

/** Runs with the path of a unit of that text, whose program exists. */
async function withUnit<T>(text: string, work: (path: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-unit-" });
  try {
    await Deno.writeTextFile(`${directory}/${NAME}`, text.replaceAll(PROGRAM, Deno.execPath()));
    return await work(`${directory}/${NAME}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

analyzeTest("systemd understands each line of the unit", async () => {
  const verify = (path: string) => analyze(["verify", "--man=no", path]);
  assert.deepEqual(await withUnit(UNIT, verify), { success: true, out: "", err: "" });
  // It succeeds with warnings, too.
  const wrong = await withUnit(UNIT.replace("WatchdogSec", "WatchDogSec"), verify);
  assert.match(wrong.err, /Unknown key.* 'WatchDogSec'/);
});

analyzeTest(`the unit's exposure is ${MAX_EXPOSURE} at most`, async () => {
  const exposure = async (path: string) => {
    const { out, err } = await analyze(["security", "--offline=true", path]);
    const found = /Overall exposure level for \S+: (\d+\.\d)/.exec(out)?.[1];
    assert.ok(found !== undefined, out + err);
    return Number(found);
  };
  assert.ok(await withUnit(UNIT, exposure) <= MAX_EXPOSURE);
  const bare = UNIT.replace(/^SystemCallFilter=.*$/gm, "");
  assert.ok(await withUnit(bare, exposure) > MAX_EXPOSURE, "the filter counts");
});

Deno.test("the unit lets the daemon read this machine's addresses", () => {
  // By netlink. The start fails without, which only a real systemd shows: `deno task package-test`.
  assert.ok(setting("RestrictAddressFamilies").split(" ").includes("AF_NETLINK"));
});

Deno.test("the unit's commands check, serve and reload; a reload of a bad file fails", async () => {
  await using database = await serverDatabase();
  await using socket = await listenAsManager("file");
  const port = await freePort();
  const { path, remove } = writeConfig({
    server: { listen: `127.0.0.1:${port}` },
    database: database.section,
  });
  const good = await Deno.readTextFile(path);
  const ended = (name: string, prefix: string) => startCli(commandOf(name, prefix, path)).ended;
  assert.equal(setting("Type"), "notify");
  assert.equal((await ended("ExecStartPre", "-")).code, 0);
  const daemon = startCli(commandOf("ExecStart", "", path), {
    env: { NOTIFY_SOCKET: socket.name },
  });
  try {
    await until(
      "it is ready",
      () => socket.messages.some((message) => message.includes("READY=1")),
    );
    const file = parse(good);
    const more = stringify({ ...file, endpoints: [endpoint("crm", "http://127.0.0.1:9/")] });
    await Deno.writeTextFile(path, more);
    assert.equal((await ended("ExecReload", "+")).code, 0);

    await Deno.writeTextFile(path, good + "unknown: 1\n");
    const refused = await ended("ExecReload", "+");
    assert.equal(refused.code, 2);
    assert.match(refused.err, /config\.yaml:\d+:1: unknown: /);
    const checked = await ended("ExecStartPre", "-");
    assert.deepEqual([checked.code, checked.err], [2, refused.err]);
    // A start ends with the code after which systemd does not try again.
    const start = await ended("ExecStart", "");
    assert.equal(String(start.code), setting("RestartPreventExitStatus"));

    daemon.kill("SIGTERM");
    assert.equal((await daemon.ended).code, 0);
  } finally {
    try {
      daemon.kill("SIGKILL");
    } catch {
      // It has already ended.
    }
    await daemon.ended;
    remove();
  }
});
