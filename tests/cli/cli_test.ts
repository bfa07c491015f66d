import assert from "node:assert/strict";
import { stringify } from "yaml";
import { loadCommands } from "../../lib/cli/cli.ts";
import { printable } from "../../lib/cli/terminal.ts";
import { OPERATIONAL_TYPES } from "../../lib/core/alerting/event.ts";
import { EVENT_TYPES } from "../../lib/core/event_types.ts";
import { decodeWhsec } from "../../lib/core/secret.ts";
import { VERSION } from "../../lib/core/version.ts";
import { inTemporary, runCli, runHere, startCli } from "../support/cli.ts";
import { embeddedDatabase, emptyDatabase } from "../support/databases.ts";
import { testCertificates } from "../support/tls.ts";

const COMMANDS = await loadCommands();

const EXAMPLE = new URL("../../config.example.yaml", import.meta.url).pathname;

/** Runs with a directory that has a `config.yaml`. */
function withConfig<T>(yaml: string, work: (path: string, directory: string) => Promise<T>) {
  return inTemporary(async (directory) => {
    const path = `${directory}/config.yaml`;
    await Deno.writeTextFile(path, yaml);
    return await work(path, directory);
  });
}

Deno.test("run() prints the version and lists every command", async () => {
  assert.deepEqual(await runHere(["--version"]), {
    code: 0,
    out: `bookme-webhooks ${VERSION}\n`,
    err: "",
  });
  for (const args of [["--help"], ["-h"], ["help"]]) {
    const { code, out, err } = await runHere(args);
    assert.deepEqual([code, err], [0, ""]);
    for (const { name, summary } of COMMANDS) assert.ok(out.includes(`${name} `), summary);
  }
});

Deno.test("run() shows each command's examples and options", async () => {
  for (const command of COMMANDS) {
    for (const args of [[command.name, "--help"], [command.name, "-h"], ["help", command.name]]) {
      const { code, out, err } = await runHere(args);
      assert.deepEqual([code, err], [0, ""]);
      assert.match(
        out,
        new RegExp(
          `^${RegExp.escape(command.summary)}\\.\n\nUsage: bookme-webhooks ${command.name}`,
        ),
      );
      assert.match(out, /\nExamples:\n {2}# .+\n {2}.*bookme-webhooks/);
      for (const name of Object.keys(command.options)) assert.ok(out.includes(`--${name}`), name);
      for (const line of out.split("\n")) assert.ok(line.length <= 100, line);
    }
  }
});

Deno.test("run() refuses unknown arguments with the nearest name and the usage", async () => {
  const table: [string[], RegExp][] = [
    [["lisen"], /^Unknown command "lisen"; did you mean listen\?\nUsage: .* \[COMMAND\]/],
    [["help", "lisen"], /did you mean listen\?/],
    [["webhook-everything"], /^Unknown command "webhook-everything"\nUsage/],
    [[""], /^Unknown command ""\n/],
    [
      ["check", "--confg", "x"],
      /^Unknown option --confg; did you mean --config\?\nUsage: .* check/,
    ],
    [["check", "-x"], /^Unknown option -x\n/],
    [["check", "more"], /^Unexpected argument "more"\n/],
    [["check", "--config"], /^--config needs a value: FILE\n/],
    [["--config"], /^--config needs a value: FILE\nUsage: .* serve/],
    [["listen", "--port", "--json"], /^--port needs a value: PORT\n/],
    [["listen", "--json=yes"], /^--json takes no value\n/],
    [["listen", "--port", "80a"], /^--port must be a whole number from 0 to 65535\n/],
    [["listen", "--status", "99"], /^--status must be/],
    [["listen", "--delay", "5"], /^--delay: Must be a duration with its unit/],
    [["listen", "--delay", "2h"], /^--delay must be at most 1h/],
    [["listen", "--path", "no"], /^--path must begin with \//],
    [["events", "booking.creatd"], /did you mean booking\.created\?/],
    [["--nonsense"], /^Unknown option --nonsense\nUsage/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere(args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
    assert.match(err, /\nUsage: bookme-webhooks .* --help explains\)\n$/);
  }
});

Deno.test("run() refuses an option that is given twice, where the last would silently win", async () => {
  const args = ["deliveries", "--status", "failed", "--status", "pending"];
  const { code, err } = await runHere(args);
  assert.equal(code, 2);
  assert.match(err, /--status is given more than once/);
});

Deno.test("run() never takes a secret from an argument, and does not repeat it", async () => {
  const literal = "hunter2-hunter2-hunter2-hunter2";
  for (const value of [literal, `env:${literal}`, "env:", "whsec_hunter2"]) {
    for (const command of [["listen"], ["verify", "--body", "-", "--signature", "sha256=0"]]) {
      for (const option of ["--secret", "--previous-secret"]) {
        const { code, out, err } = await runHere([
          ...command,
          ...(option === "--secret" ? [] : ["--secret", "env:GOOD"]),
          option,
          value,
        ], { env: { GOOD: "x".repeat(24) } });
        assert.deepEqual([code, out], [2, ""]);
        assert.match(err, /takes env:NAME\|file:PATH\|-, never the secret itself: every user/);
        assert.ok(!err.includes("hunter2"), err);
      }
    }
  }
});

Deno.test("run() distinguishes a bug from a failure, and shows the stack only on request", async () => {
  await withConfig("database: { directory: ./file }\n", async (path, directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    const { code, err } = await runHere(["migrate", "--config", path]);
    assert.equal(code, 1);
    assert.match(
      err,
      /^The database directory \S+\/file cannot be used: .*; set database\.directory/,
    );
  });
  await withConfig("", async (path, directory) => {
    // What no check expects: a directory where the lock's file is to be.
    await Deno.mkdir(`${directory}/data/lock`, { recursive: true });
    const args = ["migrate", "--config", path];
    const plain = await runHere(args);
    assert.equal(plain.code, 1);
    assert.match(plain.err, /^.+\(this is a bug; BOOKME_DEBUG=1 shows where\)\n$/);
    const debug = await runHere(args, { env: { BOOKME_DEBUG: "1" } });
    assert.match(debug.err, /\(this is a bug\)\n(.+\n)+ +at /);
  });
});

Deno.test("check summarises a good configuration, without a secret or a token in a URL", async () => {
  assert.match(
    (await runHere(["check", "-c", EXAMPLE])).out,
    /is valid\n {2}environment +development/,
  );
  const yaml = `
database: { url: "postgres://bookme:hunter2@db.example.com/bookme" }
secrets: { crm: "hunter2-hunter2-hunter2-hunter2" }
endpoints:
  - { id: crm, url: "https://crm.example.com/hunter2?t=hunter2", secret: crm, events: ["booking.*"] }
  - { id: b, url: "https://b.example.com/", unsigned: true, events: ["*"] }
`;
  await withConfig(yaml, async (path, directory) => {
    const { code, out, err } = await runHere(["--config", path, "check"]);
    assert.deepEqual([code, err], [0, ""]);
    assert.match(out, /database +PostgreSQL server db\.example\.com:5432\/bookme\n/);
    assert.match(
      out,
      /endpoints +2\n {4}crm {2}crm\.example\.com {2}booking\.\*\n {4}b .*unsigned/,
    );
    assert.ok(!out.includes("hunter2"), out);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["config.yaml"]);
  });
});

Deno.test("check counts the days that a client certificate has left", async () => {
  const { soon, expired } = await testCertificates();
  for (
    const [{ cert, key }, expected] of [
      [soon, /crm\.example\.com .* \(client certificate expires in 10 days \(\d{4}-.*\)\)\n/],
      [expired, /crm\.example\.com .* \(client certificate expired on 2025-02-01\)\n/],
    ] as const
  ) {
    const yaml = `endpoints: [{ id: crm, url: "https://crm.example.com/", unsigned: true, ` +
      `events: ["*"], tls: { cert: file:both.pem, key: file:both.pem } }]\n`;
    await withConfig(yaml, async (path, directory) => {
      Deno.writeTextFileSync(`${directory}/both.pem`, `${cert}\n${key}`);
      const { code, out } = await runHere(["--config", path, "check"]);
      assert.equal(code, 0);
      assert.match(out, expected);
    });
  }
});

Deno.test("check prints every mistake with its place on standard error, and exits with 2", async () => {
  const wrong = Array.from({ length: 60 }, (_, index) => `wrong${index}: 1\n`).join("");
  await withConfig(wrong, async (path) => {
    const { code, out, err } = await runCli(["check", "--config", path]);
    assert.deepEqual([code, out], [2, ""]);
    const lines = err.trimEnd().split("\n");
    assert.equal(lines.length, 60);
    assert.match(lines[59] ?? "", /config\.yaml:60:1: …: Unknown key/);
  });
  const missing = await runHere(["check", "--config", "/nowhere/config.yaml"]);
  assert.equal(missing.code, 2);
  assert.match(missing.err, /cp config\.example\.yaml config\.yaml/);
});

Deno.test("migrate applies missing migrations once, and exits with 1 if the database is away", async () => {
  await using database = await emptyDatabase();
  await withConfig(stringify({ database: database.section }), async (path) => {
    assert.deepEqual(await runCli(["migrate", "--config", path]), {
      code: 0,
      out: "Applied 0001_init\n",
      err: "",
    });
    const again = await runHere(["migrate", "--config", path]);
    assert.deepEqual([again.code, again.out], [0, "Nothing to apply: the schema is up to date\n"]);
  });
  const url =
    'database: { url: "postgres://bookme:hunter2@127.0.0.1:1/bookme", connect_timeout: 1s }\n';
  await withConfig(url, async (path) => {
    const { code, out, err } = await runHere(["migrate", "--config", path]);
    assert.deepEqual([code, out], [1, ""]);
    assert.match(err, /^The database .*127\.0\.0\.1:1 refuses connections \(ECONNREFUSED\).*\n$/);
    assert.doesNotMatch(err, /hunter2|bug/);
  });
});

Deno.test("events lists the types, and prints a sample exactly as the documentation has it", async () => {
  const types = [...EVENT_TYPES, ...OPERATIONAL_TYPES];
  const list = await runHere(["events"]);
  assert.equal(list.out.trimEnd().split("\n").length, types.length);
  for (const { name, description, sample } of types) {
    assert.match(
      list.out,
      new RegExp(`^${RegExp.escape(name)} +${RegExp.escape(description)}$`, "m"),
    );
    assert.equal((await runHere(["events", name])).out, `${sample}\n`);
  }
  const { data } = JSON.parse((await runHere(["events", "--json"])).out);
  assert.deepEqual(
    data,
    types.map(({ name, description, sample }) => ({
      name,
      description,
      operational: name.startsWith("webhooks."),
      sample,
    })),
  );
});

Deno.test("events shows the types that a configuration adds", async () => {
  const yaml = "events: [{ name: booking.moved, description: Was moved. }]\n";
  await withConfig(yaml, async (path) => {
    assert.match((await runHere(["events", "-c", path])).out, /^booking\.moved +Was moved\.$/m);
    const { out } = await runHere(["events", "booking.moved", "-c", path, "--json"]);
    assert.equal(JSON.parse(JSON.parse(out).sample).event, "booking.moved");
  });
});

Deno.test("secret prints a new secret each time", async () => {
  const [one, two] = [await runHere(["secret"]), await runHere(["secret"])];
  assert.equal(decodeWhsec(one.out.trimEnd())?.length, 32);
  assert.notEqual(one.out, two.out);
});

Deno.test("serve is the default command, runs until SIGTERM, and locks its database", async () => {
  await using database = await embeddedDatabase();
  const yaml = stringify({ server: { listen: "127.0.0.1:0" }, database: database.section });
  await withConfig(yaml, async (path) => {
    const daemon = startCli(["--config", path]);
    try {
      const [, url] = await daemon.until(/"url":"(http:[^"]+)"/);
      const answer = await fetch(`${url}/readyz`);
      assert.equal(answer.status, 200);
      await answer.body?.cancel();
      const second = await runHere(["serve", "-c", path]);
      assert.deepEqual([second.code, second.out], [1, ""]);
      assert.match(second.err, /is in use by process \d+; stop that one first/);
    } finally {
      daemon.kill("SIGTERM");
    }
    const { code, out } = await daemon.ended;
    assert.deepEqual([code, out], [0, ""]);
  });
});

Deno.test("printable() leaves nothing that a terminal obeys, and keeps JSON what it was", () => {
  const all = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code)).join("");
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(printable(all), /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/);
  assert.equal(printable("\x1b[31mé😀\n"), "\\u001b[31mé😀\\u000a");
  const value = { text: "a\u009bb\u202ec\x1b\ud800" };
  assert.deepEqual(JSON.parse(printable(JSON.stringify(value))), value);
});
