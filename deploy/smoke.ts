/**
 * Checks that a compiled executable works by itself: `deno run -A deploy/smoke.ts dist/bookme-webhooks`.
 *
 * It runs the executable in an empty directory with an empty home, an empty environment and a package
 * registry that does not answer, so that it must contain everything it needs, its migrations and the
 * embedded PostgreSQL above all. The executable must make a secret, check a configuration, serve it,
 * deliver an event byte for byte and correctly signed, show its login page, send a test alert by mail, exit
 * with 0 on SIGTERM, and do the same again on the database left behind, this time with traces, which it must
 * export then and only then. Windows cannot send SIGTERM: there the daemon is killed, and must open the database
 * that it left.
 *
 * Machines that cannot download a base runtime test an executable on the base of Deno 2.6, compiled with
 * `--no-check --preload deploy/old_deno.ts`. The preloaded file claims to be a supported Deno and fills in
 * what is missing. Such an executable proves the steps above and no more; it is never released.
 */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { resolve } from "node:path";
import { startSmtp } from "../tests/support/smtp.ts";

const PATIENCE_MS = 60_000;
// Bytes that parsing and serialising would change: spacing, number forms, escapes, a repeated key.
const PAYLOAD = '{ "event":"booking.created", "timestamp":"2025-10-31T15:30:00Z",\n' +
  '"data":{"appointment":{"id":"apt_1","price":7.50e1,"notes":"Gr\\u00fc\\u0000ße 😀","a":1,"a":2}}}';

const IS_WINDOWS = Deno.build.os === "windows";
const ENDED = IS_WINDOWS ? "killed" : "ended with 0";
// Sockets do not work there without it.
const SYSTEM = { SystemRoot: Deno.env.get("SystemRoot") ?? "C:\\Windows" };

const executable = resolve(Deno.args[0] ?? "dist/bookme-webhooks");
const work = await Deno.makeTempDir({ prefix: "bookme-smoke-" });
try {
  for (const name of ["home", "tmp", "run"]) await Deno.mkdir(`${work}/${name}`);
  await smoke();
  say("The executable works");
} finally {
  await Deno.remove(work, { recursive: true });
}

async function smoke(): Promise<void> {
  const version = JSON.parse(
    await Deno.readTextFile(new URL("../deno.json", import.meta.url)),
  ).version;
  assert.equal(await output("--version"), `bookme-webhooks ${version}\n`);
  const about = JSON.parse(await output("--version", "--json"));
  assert.equal(about.version, version);
  assert.match(about.commit ?? "0".repeat(40), /^[0-9a-f]{40}(-dirty)?$/);
  assert.match(about.runtime.deno, /^\d+\.\d+\.\d+/);
  assert.ok(about.schema >= 1);
  say(`--version prints ${version}, of ${about.commit ?? "an unknown commit"}`);

  await using receiver = startReceiver();
  await using smtp = await startSmtp({ login: { user: "ops", pass: "pass", ways: "PLAIN" } });
  await using collector = startCollector();
  const secret = (await output("secret")).trim();
  await Deno.writeTextFile(`${work}/run/receiver.secret`, secret, { mode: 0o600 });
  await Deno.writeTextFile(`${work}/run/config.yaml`, configFor(receiver.url, smtp.port));
  assert.match(await output("check"), /valid/);
  say("check accepts a configuration");

  for (
    const [round, env] of [["a new database", {}], ["the database it left", collector.env]] as const
  ) {
    const daemon = await startDaemon(env);
    assert.equal(daemon.migrated, round === "a new database", `migrated ${round}`);
    assert.equal(collector.text, "", "exported unasked");
    const id = await post(daemon.url);
    const delivery = await daemon.deliveryOf(id);
    assert.equal(delivery.status, "delivered");
    const request = receiver.requests.get(id);
    assert.equal(request?.body, PAYLOAD);
    const digest = createHmac("sha256", secret).update(PAYLOAD, "utf8").digest("hex");
    assert.equal(request?.signature, `sha256=${digest}`);
    assert.ok(await assetsOf(`${daemon.url}/dashboard/login`) >= 3);
    assert.match(await output("alerts", "--test", "--url", daemon.url), /mail .*The test arrived/);
    assert.match(smtp.mails.at(-1)?.data ?? "", /^Subject: Test alert/m);
    const code = await daemon.end();
    if (!IS_WINDOWS) assert.equal(code, 0);
    say(`On ${round}: posted, delivered, verified, shown, mailed, ${ENDED}`);
  }
  assert.equal(smtp.mails.length, 2);
  assert.match(collector.text, /"name":\s*"ingest"/);
  assert.match(collector.text, /"name":\s*"attempt"/);
  assert.doesNotMatch(collector.text, /webhooks\/bookme|apt_1|dashboard|api\/events/);
  say("Its traces came, without paths and payloads");
  for (const name of ["home", "tmp"]) {
    const left = [...Deno.readDirSync(`${work}/${name}`)].map((entry) => entry.name);
    assert.deepEqual(left, [], `left in its ${name}`);
  }
  say("Nothing was fetched or left behind");
}

function configFor(url: string, smtp_port: number): string {
  return `server: { listen: "127.0.0.1:0" }
database: { directory: ./data }
secrets: { receiver: "file:./receiver.secret" }
alerts:
  mail: { smtp: "smtp://ops:pass@127.0.0.1:${smtp_port}", from: a@example.com, to: [b@example.com] }
endpoints:
  - { id: receiver, url: "${url}", secret: receiver, events: ["booking.*"] }
`;
}

type Environment = Readonly<Record<string, string>>;

function command(args: readonly string[], env: Environment = {}): Deno.Command {
  return new Deno.Command(executable, {
    args: [...args],
    cwd: `${work}/run`,
    clearEnv: true,
    env: {
      ...(IS_WINDOWS
        ? { USERPROFILE: `${work}/home`, TEMP: `${work}/tmp`, TMP: `${work}/tmp`, ...SYSTEM }
        : { HOME: `${work}/home`, TMPDIR: `${work}/tmp` }),
      // Nothing listens there.
      NPM_CONFIG_REGISTRY: "http://127.0.0.1:9/",
      ...env,
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await command(args).output();
  assert.equal(code, 0, `${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

interface Received {
  readonly body: string;
  readonly signature: string | null;
}

function startReceiver() {
  const requests = new Map<string, Received>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    requests.set(request.headers.get("x-bookme-event-id") ?? "", {
      body: await request.text(),
      signature: request.headers.get("x-bookme-signature"),
    });
    return new Response();
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/webhooks/bookme`,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function startCollector() {
  let text = "";
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    text += await request.text();
    return Response.json({});
  });
  return {
    env: {
      OTEL_DENO_TRACING: "true",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    },
    get text() {
      return text;
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function startDaemon(env: Environment) {
  const child = command(["serve"], env).spawn();
  const messages = new Set<string>();
  const lines: string[] = [];
  const listening = Promise.withResolvers<string>();
  const read = (async () => {
    let rest = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      for (const line of parts.filter((part) => part.startsWith("{"))) {
        const { message, url } = JSON.parse(line);
        messages.add(message);
        if (message === "Listening") listening.resolve(url);
      }
    }
    listening.reject(new Error(`The daemon ended:\n${lines.join("\n")}${rest}`));
  })();
  const drained = child.stdout.pipeTo(new WritableStream());
  const url = await within(listening.promise, "the daemon listens", () => child.kill("SIGKILL"));
  const token = (await Deno.readTextFile(`${work}/run/data/admin.token`)).trim();
  return {
    url,
    migrated: messages.has("Database migrated"),
    async deliveryOf(event: string) {
      const end = Date.now() + PATIENCE_MS;
      while (true) {
        const { deliveries } = await get(`${url}/api/events/${event}`, token);
        assert.equal(deliveries.length, 1);
        if (deliveries[0].status !== "pending" || Date.now() > end) return deliveries[0];
        await new Promise((done) => setTimeout(done, 20));
      }
    },
    async end(): Promise<number> {
      child.kill(IS_WINDOWS ? "SIGKILL" : "SIGTERM");
      const { code } = await within(child.status, "the daemon ends", () => child.kill("SIGKILL"));
      await Promise.all([read.catch(() => {}), drained]);
      return code;
    },
  };
}

/** How many files a page loads. All of them must be there. */
async function assetsOf(page: string): Promise<number> {
  const response = await fetch(page);
  const html = await response.text();
  assert.equal(response.status, 200, html);
  const paths = [...html.matchAll(/ (?:src|href)="([^"]+\.(?:css|js))"/g)]
    .map(([, path = ""]) => path);
  for (const path of paths) {
    const file = await fetch(new URL(path, page));
    assert.equal(file.status, 200, path);
    assert.ok((await file.text()).length > 1_000, path);
  }
  return paths.length;
}

async function get(url: string, token: string) {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(response.status, 200);
  return await response.json();
}

async function post(url: string): Promise<string> {
  const response = await fetch(`${url}/ingest`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: PAYLOAD,
  });
  const answer = await response.json();
  assert.equal(response.status, 202, JSON.stringify(answer));
  assert.equal(answer.deliveries, 1);
  return answer.id;
}

async function within<T>(work: Promise<T>, what: string, give_up: () => void): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      give_up();
      reject(new Error(`Never within ${PATIENCE_MS} ms: ${what}`));
    }, PATIENCE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`smoke: ${text}\n`));
}
