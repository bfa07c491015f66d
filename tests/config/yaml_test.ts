import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Parser } from "yaml";
import { ConfigError } from "../../lib/config/error.ts";
import { loadConfig } from "../../lib/config/load.ts";

const EXAMPLE = Deno.readTextFileSync(new URL("../../config.example.yaml", import.meta.url));
const SECRET = "pT7kd92mQxvR4sLw8zY3nB6cJ1";

/** Runs with a function that loads bytes as config.yaml, answering the error or undefined. */
function withLoader(run: (load: (file: string | Uint8Array) => ConfigError | undefined) => void) {
  const directory = mkdtempSync(join(tmpdir(), "config-"));
  const path = join(directory, "config.yaml");
  try {
    run((file) => {
      writeFileSync(path, file);
      try {
        loadConfig(path, () => undefined);
        return undefined;
      } catch (error) {
        // Anything else is what these tests look for: it fails them with its own trace.
        if (!(error instanceof ConfigError)) throw error;
        return error;
      }
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

interface Attack {
  readonly file: string | Uint8Array;
  readonly line: number;
  readonly column: number;
  readonly says: RegExp;
}

const DEEP = 20_000;
const bomb = "a: &a [x, x]\n" +
  Array.from({ length: 30 }, (_, n) => `b${n}: &b${n} [*a, *a]\n`).join("");

const ATTACKS: Readonly<Record<string, Attack>> = {
  "alias bomb": { file: bomb, line: 1, column: 4, says: /^Anchors \(&\) are not supported/ },
  "alias": { file: "server: *x\n", line: 1, column: 9, says: /^Aliases \(\*\)/ },
  "star without quotes": {
    file: "endpoints:\n  - events: [*]\n",
    line: 2,
    column: 14,
    says: /quote it if the \* is part of it/,
  },
  "tag": { file: "server: !!js/function x\n", line: 1, column: 9, says: /^Tags \(!\)/ },
  "binary tag": { file: "a: !!binary aGk=\n", line: 1, column: 4, says: /^Tags \(!\)/ },
  "directive": { file: "%YAML 1.1\n---\na: 1\n", line: 1, column: 1, says: /^Directives \(%\)/ },
  "deep lists": { file: `a: ${"[".repeat(DEEP)}`, line: 1, column: 42, says: /^Nested too deeply/ },
  "deep closed lists": {
    file: `a: ${"[".repeat(DEEP)}${"]".repeat(DEEP)}`,
    line: 1,
    column: 42,
    says: /^Nested too deeply/,
  },
  "deep mappings": {
    file: `a: ${"{a: ".repeat(DEEP)}`,
    line: 1,
    column: 156,
    says: /^Nested too deeply/,
  },
  "deep entries": { file: "- ".repeat(DEEP), line: 1, column: 79, says: /^Nested too deeply/ },
  "deep keys": { file: "? ".repeat(DEEP), line: 1, column: 79, says: /^Nested too deeply/ },
  "deep colons": { file: ": ".repeat(DEEP), line: 1, column: 79, says: /^Nested too deeply/ },
  "deep indentation": {
    file: Array.from({ length: 1000 }, (_, n) => `${" ".repeat(n)}a:\n`).join(""),
    line: 40,
    column: 40,
    says: /^Nested too deeply/,
  },
  "duplicate key": {
    file: "server: {}\nserver: {}\n",
    line: 2,
    column: 1,
    says: /^Duplicate key, already in line 1$/,
  },
  "prototype": { file: "__proto__: { a: 1 }\n", line: 1, column: 1, says: /^Not a valid key/ },
  "prototype inside": {
    file: "secrets:\n  __proto__: x\n",
    line: 2,
    column: 3,
    says: /^Not a valid key/,
  },
  "constructor": {
    file: "server: { constructor: 1 }\n",
    line: 1,
    column: 11,
    says: /^Not a valid key/,
  },
  "merge key": { file: "<<: { a: 1 }\n", line: 1, column: 1, says: /^Unknown key/ },
  "two documents": { file: "a: 1\n---\nb: 2\n", line: 2, column: 1, says: /^Second document/ },
  "many documents": { file: "---\n".repeat(100_000), line: 2, column: 1, says: /^Second/ },
  "list as key": { file: "? [a]\n: b\n", line: 1, column: 3, says: /^A key must be text$/ },
  "number beyond 2^53": {
    file: "delivery:\n  concurrency: 9007199254740993\n",
    line: 2,
    column: 16,
    says: /without an exact value; quote it if it is text/,
  },
  "infinity": {
    file: "alerts: { failure_rate: .inf }\n",
    line: 1,
    column: 25,
    says: /without an exact value/,
  },
  "not a number": {
    file: "alerts: { failure_rate: .nan }\n",
    line: 1,
    column: 25,
    says: /without an exact value/,
  },
  "larger than 1 MiB": {
    file: `#${"x".repeat(1024 * 1024)}`,
    line: 0,
    column: 0,
    says: /larger than 1024 KiB/,
  },
  "invalid UTF-8": {
    file: new Uint8Array([...new TextEncoder().encode("a: \u00e9\nb: "), 0xc3, 0x28]),
    line: 2,
    column: 4,
    says: /^Invalid UTF-8/,
  },
  "UTF-8 cut short": {
    file: new Uint8Array([0x61, 0x3a, 0x20, 0xe2, 0x82]),
    line: 1,
    column: 4,
    says: /^Invalid UTF-8/,
  },
  "UTF-16": {
    file: new Uint8Array([0xff, 0xfe, 0x61, 0x00]),
    line: 1,
    column: 1,
    says: /^Invalid UTF-8/,
  },
  "NUL": { file: "a: 1\nb: \0x\n", line: 2, column: 4, says: /^Control character U\+0000/ },
  "escape character": { file: "a: \x1b[2J\n", line: 1, column: 4, says: /U\+001B/ },
  "lone carriage return": { file: "a: 1\rb: 2\n", line: 1, column: 5, says: /U\+000D/ },
  "tab as indentation": { file: "server:\n\tlisten: x\n", line: 2, column: 1, says: /^Tabs/ },
  "many tags": { file: "! ".repeat(300_000), line: 1, column: 1, says: /^Tags/ },
  "unclosed list": { file: "server: [a\n", line: 2, column: 1, says: /must .* end with a \]/ },
  "bad escape": { file: 'server: "\\q"\n', line: 1, column: 10, says: /^Invalid escape/ },
};

const BULK: Readonly<Record<string, string>> = {
  "small entries": `a: [${"1,".repeat(500_000)}]`,
  "keys": Array.from({ length: 60_000 }, (_, n) => `k${n}: 1`).join("\n"),
  "keys within bounds": Array.from({ length: 13_000 }, (_, n) => `k${n}: 1`).join("\n"),
  "closing braces": "}".repeat(1_000_000),
  "empty endpoints": `endpoints: [${"{},".repeat(24_000)}]`,
  "empty lines": "\n".repeat(1_000_000),
  "comments": "#\n".repeat(500_000),
  "bad escapes": `a: "${"\\q".repeat(500_000)}"`,
  "unclosed quotes": `a: "${"'x ".repeat(300_000)}`,
  "wrong brackets": "a: [}".repeat(9_000),
  "patterns and types": "events:\n" +
    Array.from({ length: 4_000 }, (_, n) => `- name: a.b${n}\n`).join("") +
    `endpoints:\n- events: [${Array.from({ length: 10_000 }, (_, n) => `x.a${n}`).join(",")}]\n`,
};

/** Runs, and counts the tokens that the YAML parser gets: its work is in proportion to them. */
function counting<T>(run: () => T): { readonly result: T; readonly tokens: number } {
  const { next } = Parser.prototype;
  let tokens = 0;
  Parser.prototype.next = function (token) {
    tokens++;
    return next.call(this, token);
  };
  try {
    return { result: run(), tokens };
  } finally {
    Parser.prototype.next = next;
  }
}

Deno.test("loadConfig() reports each attack with its place, before it does much work", () => {
  withLoader((load) => {
    for (const [name, { file, line, column, says }] of Object.entries(ATTACKS)) {
      const { result: error, tokens } = counting(() => load(file));
      const first = error?.mistakes[0];
      assert.deepEqual([first?.line, first?.column], [line, column], `${name}: ${error}`);
      assert.match(first?.message ?? "", says, name);
      // Up to the thousandth tag; the deepest nesting is refused at 200 already.
      assert.ok(tokens <= 2_010, `${name}: ${tokens} tokens`);
    }
  });
});

Deno.test("loadConfig() meets bulk with bounded work and a bounded message", () => {
  withLoader((load) => {
    for (const [name, file] of Object.entries(BULK)) {
      const { result: error, tokens } = counting(() => load(file));
      assert.ok(error !== undefined, name);
      assert.ok(error.message.length < 100_000, name);
      // Double quotes hold one token, each escape of which can be a mistake of its own.
      if (name === "bad escapes") assert.match(error.message, /Too much for one file/);
      assert.ok(tokens <= 100_001, `${name}: ${tokens} tokens`);
      assert.ok(error.mistakes.length <= 1_001, `${name}: ${error.mistakes.length} mistakes`);
    }
  });
});

Deno.test("loadConfig() accepts a thousand endpoints", () => {
  const endpoint = (n: number) =>
    `- id: e${n}\n  url: https://e${n}.example.com/in\n  unsigned: true\n  events: ["booking.*"]\n` +
    `  headers: { X-Tenant: t${n} }\n  timeout: 10s\n`;
  withLoader((load) => {
    const endpoints = Array.from({ length: 1000 }, (_, n) => endpoint(n)).join("");
    assert.equal(load(`endpoints:\n${endpoints}`), undefined);
  });
});

Deno.test("loadConfig() never shows a secret, wherever in the file it was put", () => {
  const whsec = `whsec_${SECRET}`;
  const places = [
    (secret: string) => `secrets: { a: ${secret}, a: ${secret} }\n`,
    (secret: string) => `secrets: ${secret}\n`,
    (secret: string) => `secrets: { a: [${secret}] }\n`,
    (secret: string) => `secrets: { a: "${secret}\\q" }\n`,
    (secret: string) => `secrets: { a: '${secret}' ${secret} }\n`,
    (secret: string) => `secrets: { a: |${secret}\n }\n`,
    (secret: string) => `secrets: { a: env:${secret}- }\n`,
    (secret: string) => `secrets: { a: "x\\n${secret}" }\n`,
    (secret: string) => `secrets:\n  a: ${secret}\n b: ${secret}\n`,
    (secret: string) => `environment: production\nsecrets: { a: ${secret} }\n`,
    (secret: string) => `ingest: { secret: ${secret} }\n`,
    (secret: string) => `admin: { tokens: [{ name: a, token: ${secret.slice(0, 10)} }] }\n`,
    (secret: string) => `admin: { tokens: [{ name: a, token: "${secret} x" }] }\n`,
    (secret: string) => `database: { url: "mysql://u:${secret}@x" }\n`,
    (secret: string) =>
      `environment: production\ndatabase: { url: "postgres://u:${secret}@x/y" }\n`,
    (secret: string) => `endpoints: [{ secret: ${secret} }]\n`,
    (secret: string) => `endpoints: [{ headers: { Authorization: "${secret}\\n" } }]\n`,
    (secret: string) => `endpoints: [{ url: "https://u:${secret}@x/" }]\n`,
    (secret: string) => `endpoints: [{ tls: { key: ${secret} } }]\n`,
  ];
  const anywhere = [
    (secret: string) => `${secret}: 1\n`,
    (secret: string) => `delivery: { timeout: ${secret} }\n`,
    (secret: string) => `secrets: { ${secret} }\n`,
    (secret: string) => `environment: ${secret}\n`,
  ];
  withLoader((load) => {
    const cases = [
      ...places.map((place) => ({ place, secret: SECRET })),
      ...[...places, ...anywhere].map((place) => ({ place, secret: whsec })),
    ];
    for (const { place, secret } of cases) {
      const error = load(place(secret));
      assert.ok(error !== undefined, place("SECRET"));
      assert.ok(!error.message.includes(secret.slice(0, 10)), error.message);
      assert.ok(!JSON.stringify(error.mistakes).includes(SECRET.slice(0, 10)), error.message);
    }
  });
});

const RUNS = { numRuns: 300, interruptAfterTimeLimit: 15_000 };

Deno.test("loadConfig() throws nothing but a ConfigError, whatever the bytes", () => {
  withLoader((load) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        load(bytes);
      }),
      RUNS,
    );
    const piece = fc.constantFrom(
      ..."[ ] { } : , - ? | > & * ! % @ ` ' \" # a 1 ~ . \n \t \\".split(" "),
      " ",
      "\n  ",
      "---\n",
      "...\n",
      "<<",
      "secrets",
      "endpoints:\n  - ",
      "__proto__",
      "\u{1f600}",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 80 }), (pieces) => {
        load(pieces.join(""));
      }),
      RUNS,
    );
  });
});

Deno.test("loadConfig() throws nothing but a ConfigError for a damaged file", () => {
  // The example with what is commented out in force: the more there is, the more can break.
  const whole = EXAMPLE.replaceAll(/^( *)# ( *(?:- )?[a-z_]+:)/gm, "$1$2");
  withLoader((load) => {
    const damage = fc.record({
      text: fc.constantFrom(EXAMPLE, whole),
      at: fc.nat(whole.length),
      length: fc.nat(30),
      put: fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom("[", "{", "\n", ": ", "- ", "5")),
    });
    fc.assert(
      fc.property(damage, ({ text, at, length, put }) => {
        const error = load(text.slice(0, at) + put + text.slice(at + length));
        for (const { line, column, message } of error?.mistakes ?? []) {
          assert.ok(line >= 1 && column >= 1 && message !== "");
        }
      }),
      RUNS,
    );
  });
});
