import assert from "node:assert/strict";
import { inTemporary, runCli } from "../support/cli.ts";
import { ADMIN, SECRET, spawnServe, startDaemon, writeConfig } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { until, within } from "../support/wait.ts";

/** The lines of a daemon's standard error: each is an error of the log. Returns their messages. */
function messagesOf(err: string): string[] {
  const lines = err.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  return lines.filter(({ level }) => level === "error").map(({ time, message }) => {
    assert.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    return message;
  });
}

/** A start that fails: its arguments, files and exit code, and the messages in its log. */
interface Failing {
  readonly args?: readonly string[];
  readonly yaml?: string;
  readonly code: number;
  readonly says: readonly RegExp[];
}

const CANARY = "hunter2-hunter2-hunter2-hunter2";

const FAILING: Readonly<Record<string, Failing>> = {
  "no file": { code: 2, says: [/^config\.yaml: File ".*" does not exist; start with `cp /] },
  "a directory": { args: ["-c", "."], code: 2, says: [/^\.: ".*" is not a regular file$/] },
  "a file of bytes": { yaml: "\xff", code: 2, says: [/^config\.yaml/] },
  "broken YAML": { yaml: "endpoints: [\n", code: 2, says: [/^config\.yaml:\d+:\d+: /] },
  "several mistakes": {
    yaml:
      `secrets: { a: ${CANARY}, b: short }\nendpoints: [{ id: crm, secret: ${CANARY} }]\nx: 1\n`,
    code: 2,
    says: [
      /^config\.yaml:1:\d+: secrets\.b: /,
      /^config\.yaml:2:\d+: endpoints\[0\]\.url: /,
      /^config\.yaml:2:\d+: endpoints\[0\]\.events: /,
      /^config\.yaml:2:\d+: endpoints\[0\]\.secret: No secret of that name/,
      /^config\.yaml:3:1: x: Unknown key/,
    ],
  },
  "a server that is away": {
    yaml: `database: { url: "postgres://app:${CANARY}@127.0.0.1:1/app", connect_timeout: 1s }\n`,
    code: 1,
    says: [/^The database does not answer within 1 s: 127\.0\.0\.1:1/],
  },
  "a database directory that is a file": {
    yaml: "database: { directory: ./config.yaml }\n",
    code: 1,
    says: [/^The database directory .* cannot be used/],
  },
};

Deno.test("serve reports every error at start as a line of its log", async () => {
  await inTemporary(async (directory) => {
    for (const [name, { args, yaml, code, says }] of Object.entries(FAILING)) {
      const at = `${directory}/${name.replaceAll(" ", "_")}`;
      Deno.mkdirSync(at);
      if (yaml !== undefined) {
        const bytes = yaml === "\xff" ? new Uint8Array([255]) : new TextEncoder().encode(yaml);
        Deno.writeFileSync(`${at}/config.yaml`, bytes, { mode: 0o600 });
      }
      const ended = await runCli(["serve", ...(args ?? [])], { cwd: at });
      assert.deepEqual([ended.code, ended.out], [code, ""], `${name}: ${ended.err}`);
      const messages = messagesOf(ended.err);
      assert.equal(messages.length, says.length, `${name}: ${ended.err}`);
      for (const [nth, pattern] of says.entries()) assert.match(messages[nth] ?? "", pattern, name);
      assert.ok(!ended.err.includes(CANARY), name);
    }
  });
});

onServer("serve reports a port in use as a line of its log", async (database) => {
  const listen = `127.0.0.1:${await freePort()}`;
  await using _first = await startDaemon({ server: { listen }, database: database.section });
  const { path, remove } = writeConfig({ server: { listen }, database: database.section });
  try {
    const { code, err } = await runCli(["--config", path]);
    assert.equal(code, 1);
    assert.match(messagesOf(err).join("\n"), new RegExp(`^Cannot listen on ${listen}: .*in use`));
  } finally {
    remove();
  }
});

onServer("serve reports an error that nothing catches as a line of its log", async (database) => {
  const { path, remove } = writeConfig({ database: database.section });
  await inTemporary(async (directory) => {
    const preload = `${directory}/preload.ts`;
    Deno.writeTextFileSync(
      preload,
      `Deno.addSignalListener("SIGUSR2", () => { throw new Error("boom ${SECRET}"); });
       Deno.addSignalListener("SIGWINCH", () => { Promise.reject(new Error("later")); });`,
    );
    for (
      const [signal, says] of [["SIGUSR2", /^boom … \(this is/], ["SIGWINCH", /^later \(/]] as const
    ) {
      const child = spawnServe(path, ["--preload", preload]);
      let err = "";
      const reading = (async () => {
        for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) err += text;
      })();
      await until("it listens", () => err.includes("Listening"));
      child.kill(signal);
      assert.equal((await within("it ends", child.status)).code, 1);
      await reading;
      assert.match(messagesOf(err).join("\n"), says);
      assert.ok(!err.includes(SECRET) && !err.includes(ADMIN));
    }
  });
  remove();
});
