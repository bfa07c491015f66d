import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAccess } from "../../lib/config/access.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { ConfigError, formatMistake } from "../../lib/config/error.ts";
import { type Case, expectMistakes, inDirectory, load, pem } from "../support/config.ts";

const FILES = {
  "ca.pem": pem("CERTIFICATE"),
  "c.pem": pem("CERTIFICATE"),
  "k.pem": pem("PRIVATE KEY"),
  "password": "hunter2-hunter2\n",
};

function serverOf(database: string) {
  const config = load(`database: ${database}\n`, FILES);
  assert.ok(config.database.kind === "server");
  const { address, connect_timeout_ms } = config.database;
  const { password, tls, ...rest } = address;
  return {
    ...rest,
    connect_timeout_ms,
    password: password?.reveal(),
    tls: { ...tls, ...(tls.key === undefined ? {} : { key: tls.key.reveal() }) },
  };
}

Deno.test("database reads a server's keys as its URL", () => {
  const keys = serverOf(
    "{ host: [a, '::1', /run/pg], port: 5433, name: n, user: u, password: file:password, " +
      "tls: { mode: verify-ca, ca: file:ca.pem, cert: file:c.pem, key: file:k.pem } }",
  );
  const url = "postgres://u:hunter2-hunter2@a,[::1],%2Frun%2Fpg/n?port=5433&sslmode=verify-ca" +
    "&sslrootcert=ca.pem&sslcert=./c.pem&sslkey=file:k.pem";
  assert.deepEqual(keys, serverOf(JSON.stringify({ url })));
  assert.deepEqual(keys.tls, {
    mode: "verify-ca",
    ca: FILES["ca.pem"].trim(),
    cert: FILES["c.pem"].trim(),
    key: FILES["k.pem"].trim(),
  });
  assert.equal(keys.connect_timeout_ms, 60_000);
  const more = serverOf("{ host: h, port: [6432], user: u, tls: {}, connect_timeout: 5m }");
  assert.deepEqual(more.hosts, [{ host: "h", port: 6432 }]);
  assert.deepEqual(more.tls, { mode: "verify-full" });
  assert.equal(more.connect_timeout_ms, 300_000);
  assert.equal(more.name, "u");
  assert.deepEqual(serverOf("{ host: h, user: u }").tls, { mode: "prefer" });
});

const both = "Must have either directory";
const MISTAKES: readonly Case[] = [
  ...[
    "{ directory: x, url: env:DATABASE_URL }",
    "{ directory: x, host: h }",
    "{ url: 'postgres://u@h', name: n }",
  ]
    .map((database): Case => ({
      yaml: `database: ${database}\n`,
      at: "1:11",
      path: "database",
      says: new RegExp(both),
    })),
  { yaml: "database: { url: mysql://x }\n", at: "1:18", path: "database.url", says: /postgres:/ },
  {
    yaml: "database: { url: 'postgres://u:hunter2%@h' }\n",
    at: "1:18",
    path: "database.url",
    says: /raw %; percent-encode it: %25 \(at character 21\)$/,
  },
  {
    yaml: "database:\n  url: postgres://u@h/n?sslrootcert=nowhere.pem&sslmode=verify-full\n",
    at: "2:8",
    path: "database.url",
    says: /^Parameter sslrootcert: File ".*nowhere.pem" does not exist$/,
  },
  {
    yaml: "database:\n  url: postgres://u@h/n?sslrootcert=password\n",
    at: "2:8",
    path: "database.url",
    says: /^Parameter sslrootcert: Must name a PEM file with a certificate$/,
  },
  {
    yaml: "database: { host: 'a b', user: u }\n",
    at: "1:19",
    path: "database.host",
    says: /a name/,
  },
  {
    yaml: "database: { host: 'a:1', user: u }\n",
    at: "1:19",
    path: "database.host",
    says: /a name/,
  },
  {
    yaml: "database: { host: [], user: u }\n",
    at: "1:19",
    path: "database.host",
    says: /an entry/,
  },
  {
    yaml: "database: { host: h, user: u, port: 0 }\n",
    at: "1:37",
    path: "database.port",
    says: /1 to 65535/,
  },
  {
    yaml: "database: { host: [a, b], user: u, port: [1, 2, 3] }\n",
    at: "1:42",
    path: "database.port",
    says: /as many ports as hosts: 2, not 3/,
  },
  {
    yaml: "database: { host: h, user: u, tls: { mode: on } }\n",
    at: "1:44",
    path: "database.tls.mode",
    says: /verify-full/,
  },
  {
    yaml: "database: { host: h, user: u, tls: { ca: ca.pem } }\n",
    at: "1:42",
    path: "database.tls.ca",
    says: /file:PATH or env:NAME/,
  },
  {
    yaml: "database: { host: h, user: u, tls: { key: file:k.pem } }\n",
    at: "1:43",
    path: "database.tls.key",
    says: /together/,
  },
  {
    yaml: "database: { host: h, user: u, pasword: x }\n",
    at: "1:31",
    path: "database.pasword",
    says: /did you mean password/,
  },
  {
    yaml: "database: { connect_timeout: 5s }\n",
    at: "1:30",
    path: "database.connect_timeout",
    says: /embedded/,
  },
  {
    yaml: "environment: production\ndatabase: { url: 'postgres://u:hunter2@h' }\n",
    at: "2:18",
    path: "database.url",
    says: /use env:NAME or file:PATH/,
  },
];

Deno.test("loadConfig() names place and remedy: database", () => {
  expectMistakes(MISTAKES, FILES);
});

Deno.test("loadConfig() reports every mistake of a server's address at once", () => {
  const yaml =
    "database: { url: 'postgres://h:0?sslmode=x&service=y', nonsense: 1 }\nnonsense: 1\n";
  assert.throws(() => load(yaml), (error) => {
    assert.ok(error instanceof ConfigError);
    const lines = error.mistakes.map((mistake) => formatMistake("f", mistake));
    assert.equal(lines.length, 5, lines.join("\n"));
    return true;
  });
});

Deno.test("loadConfig() reads libpq's variables for a server, and none of them makes one", () => {
  inDirectory("database: { host: h }\n", {}, (path) => {
    const env = (name: string) => ({ PGUSER: "u", PGPASSWORD: "p", PGDATABASE: "n" })[name];
    const { database } = loadConfig(path, env);
    assert.ok(database.kind === "server");
    assert.deepEqual([database.address.user, database.address.name], ["u", "n"]);
    assert.equal(database.address.password?.reveal(), "p");
    assert.throws(
      () => loadConfig(path, (name) => name === "PGSSLMODE" ? "on" : env(name)),
      /:1:11: database: Environment variable PGSSLMODE: Must be disable/,
    );
    assert.throws(() => readAccess(path, env), /Has no tokens; the admin API needs one/);
  });
  inDirectory("{}\n", {}, (path) => {
    assert.equal(
      loadConfig(path, (name) => name === "PGHOST" ? "h" : "").database.kind,
      "embedded",
    );
  });
});

Deno.test("database.directory takes a path or the variable that has it", () => {
  const env = (name: string) => ({ DATA_DIR: "/srv/data", HERE: "sub/dir", FILE: "./x" })[name];
  for (
    const [written, expected] of [
      ["env:DATA_DIR", () => "/srv/data"],
      ["env:HERE", (directory: string) => join(directory, "sub/dir")],
      ["env:FILE", (directory: string) => join(directory, "x")],
      ["file:./data", (directory: string) => join(directory, "data")],
      ["file:///srv/data/", () => "/srv/data"],
      ["./~x", (directory: string) => join(directory, "~x")],
      ["a$", (directory: string) => join(directory, "a$")],
      ["100%", (directory: string) => join(directory, "100%")],
    ] as const
  ) {
    inDirectory(`database: { directory: '${written}' }\n`, {}, (path, directory) => {
      const { database } = loadConfig(path, env);
      assert.ok(database.kind === "embedded");
      assert.equal(database.directory, expected(directory));
    });
  }
  inDirectory("database: { directory: env:DATA }\n", {}, (path, directory) => {
    mkdirSync(join(directory, "there"));
    writeFileSync(join(directory, "there/admin.token"), "token\n");
    const access = readAccess(path, (name) => name === "DATA" ? "there" : undefined);
    assert.equal(access.token.reveal(), "token");
  });
});

const PATHS: readonly (readonly [path: string, says: RegExp])[] = [
  ["~/data", /^A leading ~ is not expanded; write the path in full/],
  ["~", /^A leading ~ is not expanded/],
  ["~bookme/data", /^A leading ~ is not expanded/],
  ["file:~/data", /^A leading ~ is not expanded/],
  ["${DATA_DIR}/x", /^Variables are not expanded; .* or env:NAME/],
  ["$DATA_DIR/x", /^Variables are not expanded/],
  ["/srv/$DATA_DIR", /^Variables are not expanded/],
  ["file:${DATA_DIR}/x", /^Variables are not expanded/],
  ["%VAR%", /^Variables are not expanded/],
  ["%APPDATA%/x", /^Variables are not expanded/],
  ["$(pwd)/x", /^Variables are not expanded/],
  ["$1", /^Variables are not expanded/],
  ["`pwd`/x", /^Variables are not expanded/],
  ["file:env:X", /not one within the other/],
  ["ENV:DATA_DIR", /^Write env: or file: in lower case/],
  ["File:./x", /^Write env: or file: in lower case/],
  [" env :DATA_DIR", /^Write env: or file: in lower case/],
  ["postgres://u:hunter2@h/n", /^Must be a path, not a URL$/],
  ["file:https://h/n", /^Must be a path, not a URL$/],
  ["file://srv/data", /^Must not begin with \/\//],
  ["", /^Must be the path/],
  ["file:", /^Must be the path/],
  ["data ", /^Begins or ends with white space/],
  ['"data"', /^Is in quotes/],
  ["env:NOT_SET", /NOT_SET is not set/],
  ["env:EMPTY", /EMPTY is empty/],
  ["env:a b", /name of an environment variable/],
];

Deno.test("loadConfig() names place and remedy: paths that only a shell expands", () => {
  expectMistakes(PATHS.map(([path, says]) => ({
    yaml: `database: { directory: '${path}' }\n`,
    at: "1:24",
    path: "database.directory",
    says,
  })));
  const shells = PATHS.filter(([path]) => /^[~$%]/.test(path));
  for (const [path, says] of shells) {
    const certificate = "database: { host: h, user: u, tls: { mode: require, ca: 'file:";
    expectMistakes([
      { yaml: `secrets: { a: 'file:${path}' }\n`, at: "1:15", path: "secrets.a", says },
      { yaml: `encryption_key: 'file:${path}'\n`, at: "1:17", path: "encryption_key", says },
      {
        yaml: `events: [{ name: a.b, description: a, schema: '${path}' }]\n`,
        at: "1:47",
        path: "events[0].schema",
        says,
      },
      { yaml: `${certificate}${path}' } }\n`, at: "1:57", path: "database.tls.ca", says },
    ]);
    const url = `postgres://u@h?sslrootcert=${encodeURIComponent(path)}`;
    expectMistakes([{
      yaml: `database: { url: '${url}' }\n`,
      at: "1:18",
      path: "database.url",
      says: new RegExp(`^Parameter sslrootcert: ${says.source.slice(1)}`),
    }]);
    if (!path.includes("/") || path.includes("(") || path.includes("%")) continue;
    if (path.startsWith("~b")) continue;
    expectMistakes([{
      yaml: `secrets: { a: '${path}' }\n`,
      at: "1:15",
      path: "secrets.a",
      says: /write file: and the path in full/,
    }]);
  }
});

Deno.test("loadConfig() accepts a URL without a password in production", () => {
  inDirectory(
    "environment: production\ndatabase: { url: 'postgres://u@h/n' }\n",
    {},
    (path) =>
      assert.equal(
        loadConfig(path, (name) => name === "PGPASSWORD" ? "p" : undefined).database.kind,
        "server",
      ),
  );
});
