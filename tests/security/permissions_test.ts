import assert from "node:assert/strict";
import { booking, endpoint, frontOf, writeConfig } from "../support/daemon.ts";
import { inTemporary, runCli, TASK_PERMISSIONS } from "../support/cli.ts";
import { onBoth } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { SECRET } from "../support/daemon.ts";
import { testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The arguments of the run line in SECURITY.md, with the directories of a test. */
async function runLine(directories: { config: string; data: string }): Promise<string[]> {
  const text = await Deno.readTextFile(`${ROOT}SECURITY.md`);
  const block = /```bash\n(DENO_NO_UPDATE_CHECK=1 deno run [^`]+)```/.exec(text)?.[1];
  assert.ok(block !== undefined, "SECURITY.md has the run line");
  const info = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { npmCache } = JSON.parse(new TextDecoder().decode(info.stdout));
  return block.replaceAll("\\\n", " ").trim().split(/\s+/).slice(2).map((arg) =>
    arg.replaceAll("/etc/bookme-webhooks/config.yaml", `${directories.config}/config.yaml`)
      .replaceAll("/etc/bookme-webhooks", directories.config)
      .replaceAll("/var/lib/bookme-webhooks", directories.data)
      .replaceAll("$HOME/.cache/deno/npm", npmCache)
  );
}

onBoth(
  "privilege.least: the daemon runs with the permissions of SECURITY.md and no others",
  async (database) => {
    const certificates = await testCertificates();
    await using receiver = await startReceiver();
    await using secure = await startReceiver(() => ({ status: 200 }), certificates.good);
    const { path, remove } = writeConfig({
      database: database.section,
      server: { listen: "0.0.0.0:0" },
      secrets: { main: "env:CRM_SECRET" },
      endpoints: [
        endpoint("plain", receiver.url),
        endpoint("named", receiver.url.replace("127.0.0.1", "localhost")),
        endpoint("tls", secure.url, { tls: { ca: "file:./ca.pem" } }),
      ],
      delivery: { retry: ["0s"] },
    });
    const config = path.replace("/config.yaml", "");
    await Deno.writeTextFile(`${config}/ca.pem`, certificates.ca);
    const args = await runLine({
      config,
      data: "directory" in database.section ? database.section.directory : `${config}/none`,
    });
    const allowed = args.filter((arg) => arg.startsWith("--allow-")).map((arg) =>
      arg.split("=")[0]
    );
    assert.deepEqual(allowed.toSorted(), [
      "--allow-env",
      "--allow-net",
      "--allow-read",
      "--allow-sys",
      "--allow-write",
    ]);
    assert.ok(args.includes("--no-prompt"));
    const child = new Deno.Command(Deno.execPath(), {
      args: [...args.slice(0, 1), "--quiet", ...args.slice(1)],
      cwd: ROOT,
      env: { DENO_NO_UPDATE_CHECK: "1", CRM_SECRET: SECRET },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    let log = "";
    const reading = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) log += text;
      return "over";
    })();
    try {
      const found = await Promise.race([
        reading,
        until("it listens", () => /"Listening","url":"http:\/\/0\.0\.0\.0:(\d+)"/.exec(log)?.[1]),
      ]);
      assert.notEqual(found, "over", log);
      const daemon = frontOf(`http://127.0.0.1:${found}`);
      const { status, body: event } = await daemon.post(booking("apt_1"));
      assert.equal(status, 202);
      const outcomes = { plain: "delivered", named: "delivered", tls: "delivered" };
      for (const [id, outcome] of Object.entries(outcomes)) {
        const { attempts } = await daemon.delivery(await daemon.deliveryId(event.id, id));
        assert.equal(attempts[0].outcome, outcome, `${id}: ${attempts[0].cause}`);
      }
      child.kill("SIGHUP");
      await until("the configuration was read again", () => /[Cc]onfiguration/.test(log));
      child.kill("SIGTERM");
      assert.equal((await child.status).code, 0, log);
      assert.doesNotMatch(log, /NotCapable|Requires \w+ access/);
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has already ended.
      }
      await reading;
      await child.status;
      remove();
    }
  },
);

Deno.test("a server's user is this one by default, with the permissions of the executable", async () => {
  await inTemporary(async (directory) => {
    const path = `${directory}/config.yaml`;
    await Deno.writeTextFile(path, 'database: { url: "postgres://127.0.0.1:1/bookme" }\n');
    const { code, err } = await runCli(["check", "-c", path], { permissions: TASK_PERMISSIONS });
    assert.deepEqual([code, err], [0, ""]);
  });
});
