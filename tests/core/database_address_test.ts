import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type AddressResult,
  describeAddress,
  formatAddressMistake,
  mayHavePassword,
  parseDatabaseUrl,
  resolveDatabaseAddress,
} from "../../lib/core/database_address.ts";
import { invalid } from "../../lib/core/errors.ts";

const FILES: Readonly<Record<string, string>> = { "ca.pem": "CA", "c.pem": "CERT", "k.pem": "KEY" };

function sources(env: Readonly<Record<string, string>> = {}) {
  return {
    env: (name: string) => env[name],
    read(path: string) {
      const text = FILES[path];
      if (text === undefined) throw invalid("File does not exist");
      return text;
    },
    os_user: () => "daemon",
  };
}

const parse = (url: string, env?: Readonly<Record<string, string>>) =>
  parseDatabaseUrl(url, sources(env));

/** An address with its secrets in the open. */
function addressOf(result: AddressResult) {
  assert.ok("address" in result, JSON.stringify(result));
  const { password, tls, ...rest } = result.address;
  return {
    ...rest,
    ...(password === undefined ? {} : { password: password.reveal() }),
    tls: tls.key === undefined ? tls : { ...tls, key: tls.key.reveal() },
  };
}

const DEFAULT = {
  hosts: [{ host: "localhost", port: 5432 }],
  user: "daemon",
  name: "daemon",
  tls: { mode: "prefer" },
  options: {},
  keepalive: { enabled: true },
};

const read = (url: string, env?: Readonly<Record<string, string>>) => addressOf(parse(url, env));

Deno.test("parseDatabaseUrl() reads user, password, hosts and name as libpq does", () => {
  const tcp = (host: string, port = 5432) => ({ host, port });
  const socket = (path: string) => ({ socket: path });
  const cases: [url: string, expected: Partial<ReturnType<typeof read>>][] = [
    ["postgres://", {}],
    ["postgresql://h", { hosts: [tcp("h")] }],
    ["postgres:///n", { name: "n" }],
    ["postgres://u@", { user: "u", name: "u" }],
    ["postgres://u:p@h:1/n", {
      user: "u",
      password: "p",
      hosts: [tcp("h", 1)],
      name: "n",
    }],
    ["postgres://u:a:b%40%2F%3F%23%25%E2%82%AC@h/n%20m/o", {
      user: "u",
      password: "a:b@/?#%€",
      hosts: [tcp("h")],
      name: "n m/o",
    }],
    ["postgres://:p@h", { password: "p", hosts: [tcp("h")] }],
    ["postgres://[::1]/n", { hosts: [tcp("::1")], name: "n" }],
    ["postgres://[2001:db8::1]:6543", { hosts: [tcp("2001:db8::1", 6543)] }],
    ["postgres://a,b:5433,[::1]:5434/n", {
      hosts: [tcp("a"), tcp("b", 5433), tcp("::1", 5434)],
      name: "n",
    }],
    ["postgres://a,b?port=6000", { hosts: [tcp("a", 6000), tcp("b", 6000)] }],
    ["postgres:///n?host=a,b&port=1,2", { hosts: [tcp("a", 1), tcp("b", 2)], name: "n" }],
    ["postgres://ignored:7/n?host=::1", { hosts: [tcp("::1", 7)], name: "n" }],
    ["postgres:///n?host=/run/pg", { hosts: [socket("/run/pg/.s.PGSQL.5432")], name: "n" }],
    ["postgres://%2Fvar%2Frun:6432/n", { hosts: [socket("/var/run/.s.PGSQL.6432")], name: "n" }],
    ["postgres:///n?host=/run/pg/,h&port=1", {
      hosts: [socket("/run/pg/.s.PGSQL.1"), tcp("h", 1)],
      name: "n",
    }],
    ["postgres://db.example.com?hostaddr=10.0.0.9", {
      hosts: [{ host: "db.example.com", port: 5432, address: "10.0.0.9" }],
    }],
    ["postgres://h?user=u&password=p%26w&dbname=n", {
      hosts: [tcp("h")],
      user: "u",
      password: "p&w",
      name: "n",
    }],
  ];
  for (const [url, expected] of cases) {
    const name = expected.name ?? expected.user ?? "daemon";
    assert.deepEqual(read(url), { ...DEFAULT, name, ...expected }, url);
  }
});

Deno.test("parseDatabaseUrl() reads every sslmode, and node's ssl", () => {
  const cases: [query: string, expected: ReturnType<typeof read>["tls"]][] = [
    ...(["disable", "allow", "prefer", "require", "verify-full"] as const)
      .map((mode) => [`sslmode=${mode}`, { mode }] as [string, { mode: typeof mode }]),
    ["sslmode=verify-ca&sslrootcert=ca.pem", { mode: "verify-ca", ca: "CA" }],
    ["sslmode=verify-full&sslrootcert=ca.pem", { mode: "verify-full", ca: "CA" }],
    ["sslmode=require&sslrootcert=ca.pem", { mode: "verify-ca", ca: "CA" }],
    ["sslrootcert=system", { mode: "verify-full" }],
    ["sslmode=require&sslcert=c.pem&sslkey=k.pem", { mode: "require", cert: "CERT", key: "KEY" }],
    ["ssl=true", { mode: "require" }],
    ["ssl=false", { mode: "disable" }],
    ["sslmode=verify-full&ssl=true", { mode: "verify-full" }],
    ["sslmode=", { mode: "prefer" }],
  ];
  for (const [query, tls] of cases) {
    assert.deepEqual(read(`postgres://h?${query}`).tls, tls, query);
  }
  assert.equal(read("postgres://h?ssl=true", { PGSSLMODE: "disable" }).tls.mode, "require");
});

Deno.test("parseDatabaseUrl() reads what is left of libpq's parameters", () => {
  const url = "postgres://h?connect_timeout=7&application_name=a%20b&keepalives=1" +
    "&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=1000" +
    "&target_session_attrs=read-write&channel_binding=prefer&gssencmode=disable" +
    "&pgbouncer=true&client_encoding=UTF8&load_balance_hosts=random" +
    "&options=-c%20search_path%3Da%5C%20b%20-cwork_mem%3D1MB%20--Random-Page-Cost%3D2";
  assert.deepEqual(read(url), {
    ...DEFAULT,
    hosts: [{ host: "h", port: 5432 }],
    connect_timeout_ms: 7000,
    application_name: "a b",
    keepalive: { enabled: true, idle_ms: 30_000 },
    options: { search_path: "a b", work_mem: "1MB", random_page_cost: "2" },
  });
  assert.deepEqual(read("postgres://?keepalives=0&connect_timeout=0"), {
    ...DEFAULT,
    keepalive: { enabled: false },
  });
  assert.equal(read("postgres://?fallback_application_name=f").application_name, "f");
  for (const wanted of ["any", "read-write", "primary"]) {
    read(`postgres://a,b/n?target_session_attrs=${wanted}`);
  }
});

Deno.test("parseDatabaseUrl() takes libpq's variables where the URL is silent, and no other", () => {
  const env = {
    PGHOST: "e1,e2",
    PGPORT: "1,2",
    PGUSER: "eu",
    PGPASSWORD: "ep",
    PGDATABASE: "en",
    PGSSLMODE: "require",
    PGSSLROOTCERT: "ca.pem",
    PGSSLCERT: "c.pem",
    PGSSLKEY: "k.pem",
    PGCONNECT_TIMEOUT: "3",
    PGAPPNAME: "ea",
    PGOPTIONS: "-c work_mem=2MB",
    PGTARGETSESSIONATTRS: "primary",
    PGCHANNELBINDING: "disable",
  };
  const all = {
    hosts: [{ host: "e1", port: 1 }, { host: "e2", port: 2 }],
    user: "eu",
    password: "ep",
    name: "en",
    tls: { mode: "verify-ca", ca: "CA", cert: "CERT", key: "KEY" },
    options: { work_mem: "2MB" },
    keepalive: { enabled: true },
    connect_timeout_ms: 3000,
    application_name: "ea",
  };
  const asked: string[] = [];
  const watched = {
    ...sources(env),
    env: (name: string) => (asked.push(name), env[name as "PGHOST"]),
  };
  assert.deepEqual(addressOf(parseDatabaseUrl("postgres://", watched)), all);
  assert.deepEqual([...new Set(asked)].sort(), Object.keys(env).sort());
  assert.deepEqual(read("postgres://u:p@h:9/n?sslmode=disable&application_name=x", env), {
    ...all,
    hosts: [{ host: "h", port: 9 }],
    user: "u",
    password: "p",
    name: "n",
    tls: { ...all.tls, mode: "disable" },
    application_name: "x",
  });
  assert.deepEqual(read("postgres://", { PGHOST: "", PGUSERNAME: "x", PGMAX: "1" }), DEFAULT);
});

/** A part of a password: no message may have it. */
const PART = "hunter2";

const MISTAKES: readonly [url: string, says: RegExp][] = [
  ["mysql://hunter2", /^Must be a URL such as postgres:\/\/user/],
  ["host=h password=hunter2", /^Must be a URL such as/],
  ['"postgres://u:hunter2@h"', /in quotes, which are part of the value/],
  ["postgres://u:hunter2@h ", /Begins or ends with white space/],
  ["postgres://u:hunter2@h\n", /line break/],
  ["postgres://u:hunter2@h\ufeff", /byte order mark/],
  ["postgres://u:100%hunter2@h/n", /raw %; percent-encode it: %25 \(at character 17\)/],
  ["postgres://u:hunter2%@h/n", /raw %; percent-encode it: %25 \(at character 21\)/],
  ["postgres://u:%ffhunter2@h", /not UTF-8; write a raw % as %25/],
  ["postgres://u:hunter2%00@h", /zero byte/],
  ["postgres://u:a#hunter2@h/n", /raw #; percent-encode .*%23 \(at character 15\)/],
  ["postgres://u:a hunter2@h/n", /raw white space; percent-encode/],
  ["postgres://u:a?hunter2@h/n", /raw \? before the @; percent-encode .*%3F/],
  ["postgres://u:a@hunter2@h/n", /more than one @; percent-encode .*%40/],
  ["postgres://u:a/hunter2@h/n", /raw \/ or @ before the host; percent-encode .*%2F/],
  ["postgres://u:1/hunter2@h/n", /raw \/ or @ before the host/],
  ["postgres://u:a@b?hunter2=1@h/n", /^Unknown parameter; remove it, or percent-encode/],
  ["postgres://u:a/s?hunter2", /parameter without a value/],
  ["postgres://u@h?password=a&hunter2=b", /^Unknown parameter/],
  ["postgres://u@h?password=hunter2==", /second = in a parameter; write it as %3D/],
  ["postgres://u:hunter2/n", /^Parameter port: Must be a number from 1 to 65535/],
  ["postgres://h?slmode=hunter2", /^Unknown parameter; did you mean sslmode\?/],
  [
    "postgres://h?sslmode=hunter2",
    /^Parameter sslmode: Must be disable, allow, .* or verify-full$/,
  ],
  ["postgres://h?sslmode=verify-ca", /needs the authority's certificate/],
  ["postgres://h?sslmode=require&sslrootcert=system", /Must be verify-full/],
  ["postgres://h?sslrootcert=hunter2", /^Parameter sslrootcert: File does not exist/],
  ["postgres://h?sslcert=c.pem", /^Parameter sslcert: .*together/],
  ["postgres://h?sslkey=k.pem", /^Parameter sslkey: .*together/],
  ["postgres://h?ssl=hunter2", /^Parameter ssl: Must be true or false/],
  ["postgres://a,b?port=1,2,3", /one port for all hosts or as many ports as hosts: 2, not 3/],
  ["postgres://a?port=1,2", /as many ports as hosts: 1, not 2/],
  ["postgres://a,b?hostaddr=::1", /as many entries as host: 2/],
  ["postgres://a?hostaddr=hunter2", /Must be an IP address/],
  ["postgres://h:0", /1 to 65535/],
  ["postgres://h:65536", /1 to 65535/],
  ["postgres://h?port=1e3", /1 to 65535/],
  ["postgres://[::1", /a \[ without its \]/],
  ["postgres://[::1]x/n", /colon and the port, or nothing, after the \]/],
  ["postgres://[hunter2:]/n", /^Parameter host: Must be a name, an IP address/],
  ["postgres://hunter2%20x/n", /^Parameter host: Must be a name/],
  ["postgres:///n?host=@hunter2", /Abstract sockets/],
  [`postgres:///n?host=/${"x".repeat(100)}`, /more than 107 bytes/],
  ...["read-only", "standby", "prefer-standby", "hunter2"].map((wanted): [string, RegExp] => [
    `postgres://h?target_session_attrs=${wanted}`,
    /^Parameter target_session_attrs: The daemon writes, so it needs a primary/,
  ]),
  ["postgres://h?channel_binding=require", /Channel binding is not supported/],
  ["postgres://h?gssencmode=require", /GSSAPI is not supported/],
  ["postgres://h?client_encoding=LATIN1", /Only UTF8/],
  ["postgres://h?pgbouncer=hunter2", /^Parameter pgbouncer: Must be true or false/],
  ["postgres://h?passfile=/hunter2", /^Parameter passfile: Password files are not read/],
  ["postgres://h?service=hunter2", /^Parameter service: Service files are not read/],
  ["postgres://h?connect_timeout=hunter2", /^Parameter connect_timeout: Must be an integer/],
  ["postgres://h?keepalives_count=1.5", /^Parameter keepalives_count: Must be an integer/],
  ["postgres://h?options=hunter2", /^Parameter options: Must be settings such as -c/],
  ["postgres://h?options=-c%20DateStyle%3DGerman", /The program sets datestyle itself/],
];

Deno.test("parseDatabaseUrl() names each mistake with its remedy, and never a value", () => {
  for (const [url, says] of MISTAKES) {
    const result = parse(url);
    assert.ok("mistakes" in result, url);
    const [only, ...more] = result.mistakes.map(formatAddressMistake);
    assert.match(only ?? "", says, url);
    assert.deepEqual(more, [], url);
    assert.ok(!only?.includes(PART), `${url}: ${only}`);
  }
});

Deno.test("parseDatabaseUrl() reports all mistakes of parameters, and the variable that has one", () => {
  const result = parse("postgres://h:0?sslmode=on&service=x&foo=1&hunter2=2", {
    PGCONNECT_TIMEOUT: "soon",
  });
  assert.ok("mistakes" in result);
  const all = result.mistakes.map(formatAddressMistake);
  assert.equal(all.length, 6, all.join("\n"));
  assert.ok(all.includes("Environment variable PGCONNECT_TIMEOUT: Must be an integer"));
  const nobody = { ...sources(), os_user: () => undefined };
  assert.deepEqual(parseDatabaseUrl("postgres://h/n", nobody), {
    mistakes: [{ parameter: "user", message: "Missing; name the user that connects" }],
  });
});

Deno.test("parseDatabaseUrl() reads any encoded password, and shows no raw one", () => {
  const characters = fc.constantFrom(..."aZ09%#@/?&=:,[]+ ~$'\"\\");
  const text = fc.string({
    unit: fc.oneof(characters, fc.string({ unit: "binary", minLength: 1, maxLength: 1 })),
    minLength: 1,
  });
  fc.assert(fc.property(text.filter((each) => !each.includes("\0")), (password) => {
    const encoded = encodeURIComponent(password);
    assert.equal(read(`postgres://u:${encoded}@h/n`).password, password);
    assert.equal(read(`postgres://u@h/n?password=${encoded}`).password, password);
  }));
  const part = "Qx7Kd92mZv";
  fc.assert(
    fc.property(fc.array(characters, { maxLength: 6 }), fc.nat(6), (raw, at) => {
      const password = raw.toSpliced(at, 0, part).join("");
      for (
        const url of [`postgres://u:${password}@h/n`, `postgres://u@h/n?password=${password}&a=1`]
      ) {
        const result = parse(url);
        const shown = "mistakes" in result
          ? result.mistakes.map(formatAddressMistake).join()
          : read(url).password === undefined
          ? describeAddress(result.address)
          : "";
        assert.ok(!shown.includes(part), `${url}: ${shown}`);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("resolveDatabaseAddress() reads parameters one by one", () => {
  const given = { host: "a,/run", port: "1", user: "u", dbname: "n", password: "p%41" };
  assert.deepEqual(addressOf(resolveDatabaseAddress(given, sources())), {
    ...DEFAULT,
    hosts: [{ host: "a", port: 1 }, { socket: "/run/.s.PGSQL.1" }],
    user: "u",
    name: "n",
    password: "p%41",
  });
});

Deno.test("resolveDatabaseAddress() reads nothing into names that every object has", () => {
  for (const name of ["constructor", "toString", "__proto__"]) {
    const pair = `${name}=1`;
    const given = Object.fromEntries([["user", "u"], ["dbname", "n"], [name, "x"]]);
    assert.deepEqual(addressOf(resolveDatabaseAddress(given, sources())), {
      ...DEFAULT,
      user: "u",
      name: "n",
    });
    const unknown = parseDatabaseUrl(`postgres://u@h/n?${pair}`, sources());
    assert.ok("mistakes" in unknown, name);
    assert.deepEqual(unknown.mistakes.map(({ at }) => at), [17]);
    const options = encodeURIComponent(`-c ${pair}`);
    const { options: settings } = addressOf(
      parseDatabaseUrl(`postgres://u@h/n?options=${options}`, sources()),
    );
    assert.deepEqual(Object.entries(settings), [[name.toLowerCase(), "1"]]);
  }
});

Deno.test("mayHavePassword() is true of every URL that may show one", () => {
  for (const url of ["postgres://u:p@h", "postgres://h?password=p", "postgres://u:%@h", "x"]) {
    assert.ok(mayHavePassword(url), url);
  }
  for (const url of ["postgres://", "postgres://u@h/n?sslmode=require"]) {
    assert.ok(!mayHavePassword(url), url);
  }
});

Deno.test("describeAddress() shows places and name only", () => {
  const result = parse("postgres://u:p@[::1]:1,b,%2Frun/n?options=-c%20work_mem%3D1");
  assert.ok("address" in result, JSON.stringify(result));
  assert.equal(describeAddress(result.address), "[::1]:1,b:5432,/run/.s.PGSQL.5432/n");
});
