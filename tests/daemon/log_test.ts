import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { booking, endpoint, type Front, frontOf, writeConfig } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const NAMES = Array.from({ length: 100 }, (_, nth) => `${"endpoint_".repeat(6)}${nth}`);

/** A daemon whose standard error goes where the shell sends it. */
async function startTo(redirection: string, path: string, port: number) {
  const child = new Deno.Command("sh", {
    args: ["-c", `exec "$@" ${redirection}`, "sh"]
      .concat(Deno.execPath(), ["run", "-A", "--no-check", MAIN, "--config", path]),
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const front = frontOf(`http://127.0.0.1:${port}`);
  await until("the daemon listens", async () => {
    const answer = await fetch(`${front.url}/livez`);
    await answer.body?.cancel();
    return answer.ok;
  });
  return { child, front };
}

/** What a reload logs: of itself once, and of each changed endpoint that it is, in what, and stored. */
const RELOAD = /^(Configuration (reloaded|changed)|Endpoint (changed|of the file stored))$/;
const RELOAD_LINES = 1 + 3 * NAMES.length;

/** Has the daemon log `RELOAD_LINES` lines, and returns that number. */
async function changeAll(front: Front, path: string): Promise<number> {
  const file = parse(Deno.readTextFileSync(path));
  const timeout = file.endpoints[0].timeout === "7s" ? "8s" : "7s";
  for (const one of file.endpoints) one.timeout = timeout;
  Deno.writeTextFileSync(path, stringify(file));
  const { status, body } = await front.api("reload", undefined, "POST");
  assert.equal(status, 200);
  assert.equal(body.changed.length, NAMES.length);
  return RELOAD_LINES;
}

/** Has it log more than the pipe and the buffer hold, and returns how many lines that are. */
async function fill(front: Front, path: string): Promise<number> {
  let lines = 0;
  for (let units = 0; units < 1_500_000; units += RELOAD_LINES * 150) {
    lines += await changeAll(front, path);
  }
  assert.ok(lines > 5_000);
  return lines;
}

for (
  const [name, redirection] of [
    ["that nobody reads", "2>&2"],
    ["whose reader leaves", "2>&2"],
    ["on a full disk", "2>/dev/full"],
    ["that is closed", "2>&-"],
  ] as const
) {
  onServer(`a log ${name} stops neither posts, deliveries nor the end`, async (database) => {
    await using receiver = await startReceiver();
    const port = await freePort();
    const { path, remove } = writeConfig({
      server: { listen: `127.0.0.1:${port}` },
      database: database.section,
      endpoints: NAMES.map((id) => endpoint(id, receiver.url, { events: ["stock.low"] }))
        .with(0, endpoint(NAMES[0]!, receiver.url)),
      events: [{ name: "stock.low", description: "Low" }],
    });
    const { child, front } = await startTo(redirection, path, port);
    if (name === "whose reader leaves") await child.stderr.cancel();
    await fill(front, path);
    assert.equal((await front.post(booking("apt_1"))).status, 202);
    await receiver.received(1);
    child.kill("SIGTERM");
    const { code } = await child.status;
    await child.stderr.cancel();
    assert.equal(code, 0);
    remove();
  });
}

onServer("a log that is read again goes on and reports how much is missing", async (database) => {
  const port = await freePort();
  const { path, remove } = writeConfig({
    server: { listen: `127.0.0.1:${port}` },
    database: database.section,
    endpoints: NAMES.map((id) => endpoint(id, "http://127.0.0.1:1")),
  });
  const { child, front } = await startTo("2>&2", path, port);
  let lines = await fill(front, path);
  let text = "";
  const reading = child.stderr.pipeThrough(new TextDecoderStream())
    .pipeTo(new WritableStream({ write: (chunk) => void (text += chunk) }));
  await until("the lines that are missing are counted", () => /lines dropped/.test(text));
  lines += await changeAll(front, path);
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 0);
  await reading;
  const log = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  const missing = log.find(({ message }) => /^\d+ lines dropped$/.test(message));
  const started = log.findIndex(({ message }) => message === "Listening");
  const reloads = log.slice(started).filter(({ message }) => RELOAD.test(message));
  assert.equal(reloads.length + missing.dropped, lines);
  assert.equal(log.at(-1).message, "Stopped");
  remove();
});
