/** The documentation keeps its word: what can be run in it is run, what it lists is what there is. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import { randomBytes } from "node:crypto";
import project from "../../deno.json" with { type: "json" };
import { loadCommands } from "../../lib/cli/cli.ts";
import { startReceiver } from "../../lib/cli/receiver.ts";
import { parseCommand } from "../../lib/cli/usage.ts";
import { DEFAULTS } from "../../lib/config/config.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { HTTP_STATUS } from "../../lib/core/errors.ts";
import { REASONS } from "../../lib/core/outcome.ts";
import { makeSecret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { packagedConfig } from "../../deploy/deb/build.ts";
import { start } from "../../lib/daemon.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { OPERATIONS } from "../../routes/api/routes.ts";
import { initialise } from "../support/databases.ts";
import { cached } from "../support/postgres.ts";
import { until } from "../support/wait.ts";
import { pages } from "./shell.ts";

const COMMANDS = await loadCommands();
const ROOT = new URL("../..", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFileSync(join(ROOT, path));
const README = read("README.md");
const RECEIVERS = read("docs/receivers.md");
const API = read("docs/api.md");
const DELIVERY = read("docs/delivery.md");
const ARCHITECTURE = read("docs/architecture.md");

/** The fenced blocks of a language, below a heading. */
function blocks(page: string, language: string, heading: string): string[] {
  const at = page.indexOf(`\n## ${heading}\n`);
  assert.notEqual(at, -1, `There is no heading ${heading}`);
  const end = page.indexOf("\n## ", at + 1);
  const section = page.slice(at, end === -1 ? undefined : end);
  const found = [...section.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter((match) => match[1] === language).map((match) => match[2] ?? "");
  assert.notEqual(found.length, 0, `There is no ${language} below ${heading}`);
  return found;
}

/** The one fenced block of a language below a heading. */
function block(page: string, language: string, heading: string): string {
  const [only, ...more] = blocks(page, language, heading);
  assert.equal(more.length, 0, `There is more than one ${language} below ${heading}`);
  return only ?? "";
}

/** First cells of the table whose header row begins with that cell. */
function firstCells(page: string, header: string): string[] {
  const lines = page.split("\n");
  const at = lines.findIndex((line) => new RegExp(`^\\| ${header} +\\|`).test(line));
  assert.notEqual(at, -1, `There is no table ${header}`);
  const rows = lines.slice(at + 2);
  return rows.slice(0, rows.findIndex((line) => !line.startsWith("|")))
    .map((line) => line.split("|")[1]?.trim() ?? "");
}

// --- signatures in five languages ------------------------------------------------------------------

/** How a snippet becomes a program that answers 1 or 0 for each three arguments, in hexadecimal. */
interface Language {
  readonly name: string;
  readonly fence: string;
  readonly file: string;
  readonly probe: readonly string[];
  readonly run: readonly string[];
  program(snippet: string): string;
}

const LANGUAGES: readonly Language[] = [
  {
    name: "Node",
    fence: "javascript",
    file: "verify.mjs",
    probe: ["node", "--version"],
    run: ["node"],
    program: (snippet) =>
      `${snippet}
const hex = (text) => Buffer.from(text, "hex");
for (let rest = process.argv.slice(2); rest.length > 0; rest = rest.slice(3)) {
  const [body, header, secret] = rest;
  const given = header === "-" ? undefined : hex(header).toString();
  process.stdout.write(verify(hex(body), given, hex(secret).toString()) ? "1" : "0");
}`,
  },
  {
    name: "Python",
    fence: "python",
    file: "verify.py",
    probe: ["python3", "--version"],
    run: ["python3"],
    program: (snippet) =>
      `${snippet}
import sys
for i in range(1, len(sys.argv), 3):
    body, header, secret = sys.argv[i:i + 3]
    given = None if header == "-" else bytes.fromhex(header).decode()
    print(int(verify(bytes.fromhex(body), given, bytes.fromhex(secret).decode())), end="")
`,
  },
  {
    name: "PHP",
    fence: "php",
    file: "verify.php",
    probe: ["php", "--version"],
    run: ["php"],
    program: (snippet) =>
      `<?php
${snippet}
foreach (array_chunk(array_slice($argv, 1), 3) as [$body, $header, $secret]) {
  $given = $header === '-' ? null : hex2bin($header);
  echo verify(hex2bin($body), $given, hex2bin($secret)) ? 1 : 0;
}`,
  },
  {
    name: "Ruby",
    fence: "ruby",
    file: "verify.rb",
    probe: ["ruby", "--version"],
    run: ["ruby"],
    program: (snippet) =>
      `${snippet}
hex = ->(text) { [text].pack("H*").force_encoding("UTF-8") }
ARGV.each_slice(3) do |body, header, secret|
  print verify(hex[body], header == "-" ? nil : hex[header], hex[secret]) ? 1 : 0
end`,
  },
  {
    name: "Go",
    fence: "go",
    file: "verify.go",
    probe: ["go", "version"],
    run: ["go", "run"],
    program: (snippet) =>
      `package main

import (
	"fmt"
	"os"
)

${snippet}
func main() {
	decode := func(text string) []byte { bytes, _ := hex.DecodeString(text); return bytes }
	for rest := os.Args[1:]; len(rest) > 0; rest = rest[3:] {
		if verify(decode(rest[0]), string(decode(rest[1])), string(decode(rest[2]))) {
			fmt.Print(1)
		} else {
			fmt.Print(0)
		}
	}
}`,
  },
];

interface Case {
  readonly body: string;
  /** Undefined: the request has no such header. */
  readonly header: string | undefined;
  readonly secret: string;
  readonly valid: boolean;
}

function cases(): Case[] {
  const secrets = [makeSecret(randomBytes(32)), "a plain secret with ümlauts in it"];
  const bodies = [
    '{"event":"booking.created","data":{"note":"Schöne Grüße 😀 \\u0000","a":1.50,"a":2}}',
    '{\r\n  "event" : "service.updated"\n}\n',
    "",
  ];
  return secrets.flatMap((secret) =>
    bodies.flatMap((body) => {
      const header = makeSigner(secret).bookme(Buffer.from(body));
      const wrong = [
        undefined,
        "",
        "sha256=",
        header.slice("sha256=".length),
        header.slice(0, -1),
        `${header}0`,
        header.toUpperCase(),
        `sha256=${"0".repeat(64)}`,
        "sha256=ü",
      ];
      return [
        { body, header, secret, valid: true },
        { body: `${body}\n`, header, secret, valid: false },
        { body, header, secret: `${secret}x`, valid: false },
        ...wrong.map((header) => ({ body, header, secret, valid: false })),
      ];
    })
  );
}

async function works([command, ...args]: readonly string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command ?? "", { args, ...SILENT }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
const SILENT = { stdin: "null", stdout: "null", stderr: "null" } as const;

/** A directory of a test's own. */
function temporary(): { path: string; [Symbol.dispose](): void } {
  const path = Deno.makeTempDirSync({ prefix: "bookme-readme-" });
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const hasNode = await works(["node", "--version"]);
const hasCurl = await works(["curl", "--version"]);
const skipped = (has: boolean, what: string) => has ? "" : ` (skipped: there is no ${what} here)`;

for (const { name, fence, file, probe, run, program } of LANGUAGES) {
  const present = await works(probe);
  Deno.test({
    name: `docs/receivers.md verifies signatures in ${name}${skipped(present, probe[0] ?? "")}`,
    ignore: !present,
    async fn() {
      using directory = temporary();
      const path = join(directory.path, file);
      Deno.writeTextFileSync(path, program(block(RECEIVERS, fence, "Verifying a signature")));
      const all = cases();
      const hex = (text: string) => Buffer.from(text).toString("hex");
      const args = all.flatMap(({ body, header, secret }) => [
        hex(body),
        header === undefined ? "-" : hex(header),
        hex(secret),
      ]);
      const [command = "", ...first] = run;
      const { success, stdout, stderr } = await new Deno.Command(command, {
        args: [...first, path, ...args],
        // Compiling the libraries takes longer than everything else here, so it is done once.
        env: { GOCACHE: await cached("go", () => Promise.resolve()), GO111MODULE: "off" },
        stdin: "null",
      }).output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const expected = all.map(({ valid }) => valid ? "1" : "0").join("");
      assert.equal(new TextDecoder().decode(stdout), expected);
    },
  });
}

// --- receivers -------------------------------------------------------------------------------------

function requestOf(secret: string, event_id: string, body: string): RequestInit {
  return {
    method: "POST",
    headers: {
      "x-bookme-signature": makeSigner(secret).bookme(Buffer.from(body)),
      "x-bookme-event-id": event_id,
    },
    body,
  };
}

Deno.test({
  name: `docs/receivers.md has a whole receiver in Node${skipped(hasNode, "node")}`,
  ignore: !hasNode,
  async fn() {
    using directory = temporary();
    const path = join(directory.path, "receiver.mjs");
    Deno.writeTextFileSync(path, block(RECEIVERS, "javascript", "A whole receiver"));
    const secret = makeSecret(randomBytes(32));
    const port = freePort();
    const child = new Deno.Command("node", {
      args: [path],
      env: { BOOKME_SECRET: secret, PORT: String(port) },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const shown = new Response(child.stdout).text();
    try {
      const url = `http://127.0.0.1:${port}/`;
      const send = async (init: RequestInit) => {
        const response = await fetch(url, init);
        await response.body?.cancel();
        return response.status;
      };
      const request = requestOf(secret, "evt_1", '{"event":"booking.created","n":"😀"}');
      await until("the receiver answers", () => send(request).catch(() => 0));
      assert.equal(await send(request), 200, "a repetition");
      assert.equal(await send({ ...request, body: "{}" }), 401, "another body");
      assert.equal(await send({ method: "POST", body: "{}" }), 401, "no signature");
      assert.equal(await send(requestOf(secret, "evt_2", '{"event":"service.created"}')), 200);
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
    assert.equal(await shown, "booking.created evt_1\nservice.created evt_2\n");
  },
});

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("docs/receivers.md verifies with a Standard Webhooks library", async () => {
  const snippet = block(RECEIVERS, "javascript", "With a Standard Webhooks library");
  // The package of deno.json, which a module from elsewhere would not find by its name.
  const module = snippet.replace(
    '"standardwebhooks"',
    `"${import.meta.resolve("standardwebhooks")}"`,
  );
  const { receive } = await import(`data:text/javascript,${encodeURIComponent(module)}`);
  const secret = makeSecret(randomBytes(32));
  const body = '{"event":"booking.created","n":"😀"}';
  const headers = (age_s: number) => {
    const timestamp_s = Math.floor(Date.now() / 1000) - age_s;
    return {
      "webhook-id": "evt_1",
      "webhook-timestamp": String(timestamp_s),
      "webhook-signature": makeSigner(secret).standard("evt_1", timestamp_s, Buffer.from(body)),
    };
  };
  assert.deepEqual(receive(body, headers(0), secret), JSON.parse(body));
  assert.throws(() => receive(`${body} `, headers(0), secret));
  assert.throws(() => receive(body, headers(600), secret));
});

// --- configuration and first steps -----------------------------------------------------------------

Deno.test({
  name: `README.md and docs/api.md ask the API for what there is${skipped(hasCurl, "curl")}`,
  ignore: !hasCurl,
  async fn() {
    using directory = temporary();
    const secret = makeSecret(randomBytes(32));
    const receiver = await startReceiver({ keys: { secret, previous: [] }, status: 500 });
    const path = join(directory.path, "config.yaml");
    await initialise(join(directory.path, "data"));
    Deno.writeTextFileSync(
      path,
      `server: { listen: "127.0.0.1:0" }
delivery: { retry: [0s] }
secrets: { receiver: "${secret}" }
endpoints: [{ id: receiver, url: "${receiver.url}", secret: receiver, events: ["*"] }]
`,
    );
    const daemon = await start(loadConfig(path, () => undefined), makeLog(() => {}, "json"));
    try {
      const response = await fetch(`${daemon.url}/ingest`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"event":"booking.created","timestamp":"2025-10-31T16:00:00Z",' +
          '"data":{"appointment":{"id":"apt_789"}}}',
      });
      const event = await response.json();
      assert.equal(event.deliveries, 1);
      // Names of what earlier lines answered stand where the page has dlv_… and its like.
      const known = new Map<string, string>();
      const helper = block(API, "bash", "By curl").split("\n")[0] ?? "";
      const shells = [
        ...blocks(README, "bash", "At three in the morning"),
        block(API, "bash", "By curl"),
        block(API, "bash", "Portal links"),
      ].filter((shell) => shell.startsWith("api"));
      assert.equal(shells.length, 3);
      for (const shell of shells) {
        const lines = shell.trim().split("\n");
        const run = async (line: string) => {
          const known_line = line.replace(/\b(\w+)_…/g, (all, prefix) => known.get(prefix) ?? all);
          const both = `${helper}\n${known_line}`.replaceAll("http://127.0.0.1:8080", daemon.url);
          const answer = JSON.parse(await runShell(both, directory.path));
          assert.equal(answer.detail, undefined, `${line}\n${JSON.stringify(answer)}`);
          const { id } = answer.data?.[0] ?? answer;
          const [, prefix] = /^(ep|dlv|rpl|lnk)_/.exec(id ?? "") ?? [];
          if (prefix !== undefined) known.set(prefix, id);
          return answer;
        };
        await until("the delivery failed", async () => {
          const { data } = await run("api 'deliveries?status=failed&limit=1'");
          return data.length === 1 ? data : undefined;
        });
        for (const line of lines.filter((line) => line.startsWith("api "))) await run(line);
      }
      assert.deepEqual([...known.keys()].toSorted(), ["dlv", "ep", "lnk", "rpl"]);
    } finally {
      await daemon.stop();
      await receiver.stop();
    }
  },
});

async function runShell(text: string, cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", text],
    cwd,
    env: { no_proxy: "127.0.0.1", NO_PROXY: "127.0.0.1" },
    stdin: "null",
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("docs/install.md shows configurations that the packaged one accepts", () => {
  using directory = temporary();
  const path = join(directory.path, "config.yaml");
  const page = read("docs/install.md");
  Deno.writeTextFileSync(join(directory.path, "receiver.secret"), makeSecret(randomBytes(32)), {
    mode: 0o640,
  });
  const packaged = packagedConfig(read("config.example.yaml"));
  const first = packaged.replace("\nsecrets: {}\n", "\n").replace("\nendpoints: []\n", "\n") +
    block(page, "yaml", "The first event");
  Deno.writeTextFileSync(path, first);
  const config = loadConfig(path, () => undefined);
  assert.equal(config.environment, "development");
  assert.deepEqual(config.endpoints.map(({ id }) => id), ["receiver"]);
  const state = /^StateDirectory=(.+)$/m.exec(read("deploy/bookme-webhooks.service"))?.[1];
  assert.ok(config.database.kind === "embedded");
  assert.equal(config.database.directory, `/var/lib/${state}`);

  const strict = block(page, "yaml", "Before production");
  Deno.writeTextFileSync(path, packaged.replace("environment: development\n", strict));
  assert.equal(loadConfig(path, () => undefined).environment, "production");

  Deno.writeTextFileSync(path, block(page, "yaml", "Container"));
  assert.equal(loadConfig(path, () => undefined).server.listen.host, "0.0.0.0");
});

Deno.test("every unit's command line is understood", () => {
  for (const name of ["bookme-webhooks.service", "bookme-webhooks-backup.service"]) {
    const line = /^ExecStart=\/usr\/local\/bin\/bookme-webhooks (.+)$/m.exec(
      read(`deploy/${name}`),
    );
    const [command, ...rest] = line?.[1]?.split(" ") ?? [];
    const found = COMMANDS.find(({ name }) => name === command) ?? assert.fail(name);
    parseCommand(found, rest);
  }
});

// --- what is listed --------------------------------------------------------------------------------

Deno.test("docs/api.md lists every route and every code", () => {
  assert.deepEqual(
    firstCells(API, "route").toSorted(),
    OPERATIONS.map(({ method, path }) =>
      `\`${method.toUpperCase()} ${path.replace("{id}", ":id")}\``
    )
      .toSorted(),
  );
  const codes = firstCells(API, "code");
  assert.deepEqual(codes, Object.keys(HTTP_STATUS).map((code) => `\`${code}\``));
  for (const [code, status] of Object.entries(HTTP_STATUS)) {
    assert.match(API, new RegExp(`^\\| \`${code}\` +\\| ${status} `, "m"));
  }
});

Deno.test("docs/delivery.md has the default schedule", () => {
  const lines = DELIVERY.split("\n").filter((line) => /^\| \d +\|/.test(line));
  const waits = lines.map((line) => {
    const [, count, unit] = /(\d+) (minute|hour)/.exec(line) ?? ["", "0", "s"];
    return `${count}${unit?.[0]}`;
  });
  assert.deepEqual(waits, [...DEFAULTS.retry]);
});

Deno.test("docs/delivery.md lists every failure reason", () => {
  assert.deepEqual(firstCells(DELIVERY, "reason"), REASONS.map((reason) => `\`${reason}\``));
});

Deno.test("docs/architecture.md says why each dependency is there", () => {
  const named = firstCells(ARCHITECTURE, "package").map((cell) => cell.replaceAll("`", ""));
  const imported = Object.keys(project.imports).filter((name) => !name.endsWith("/"));
  assert.deepEqual(named.toSorted(), imported.toSorted());
});

Deno.test("Every page names only commands, tasks and files that exist", () => {
  for (const page of pages()) checkNames(page, read(page));
});

function checkNames(page: string, text: string): void {
  for (const [, name] of code(text).matchAll(/\bbookme-webhooks ([a-z][a-z-]*)\b/g)) {
    assert.ok(COMMANDS.some((command) => command.name === name), `${page}: no command ${name}`);
  }
  for (const [, version, name = ""] of text.matchAll(/\bdeno@([\d.]+) task ([a-z-]+)/g)) {
    assert.equal(version, "2.9.6", page);
    assert.ok(Object.hasOwn(project.tasks, name), `${page}: no task ${name}`);
  }
  for (const [, link = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^https?:/.test(link)) continue;
    const [file = "", anchor] = link.split("#");
    const target = file === "" ? page : join(dirname(page), file);
    assert.ok(exists(target), `${page}: ${link} does not exist`);
    if (anchor !== undefined) {
      assert.ok(anchors(read(target)).includes(anchor), `${page}: ${link} has no such heading`);
    }
  }
}

// What stands in code: fenced blocks and spans.
function code(text: string): string {
  return [...text.matchAll(/^```.*?^```$|`[^`\n]+`/gms)].map(([found]) => found).join("\n");
}

function exists(path: string): boolean {
  try {
    Deno.statSync(join(ROOT, path));
    return true;
  } catch {
    return false;
  }
}

function anchors(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

Deno.test("docs/architecture.md names functions and files that exist", () => {
  const rows = ARCHITECTURE.split("\n").filter((line) => /^\| `[\w.]+` *\| `.+\.ts`/.test(line));
  assert.equal(rows.length, 12);
  for (const row of rows) {
    const [, name = "", file = ""] = /^\| `([\w.]+)` *\| `(.+?)`/.exec(row) ?? [];
    const called = name.split(".").at(-1) ?? "";
    assert.match(read(file), new RegExp(`\\b${called}\\b`), row);
  }
});

Deno.test("README.md lists every page", () => {
  const linked = [...README.matchAll(/\]\(([^)#\s]+\.md)/g)].map(([, path]) => path);
  const others = pages().filter((page) =>
    page !== "README.md" && !linked.includes(page) && !page.startsWith("docs/decisions/")
  );
  assert.deepEqual(others, []);
});

Deno.test("README.md fits on a few pages", () => {
  assert.ok(README.split("\n").length < 250);
});
