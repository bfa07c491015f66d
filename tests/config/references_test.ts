import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../lib/config/load.ts";
import { type Case, expectMistakes, inDirectory, OTHER } from "../support/config.ts";

const SECRETS: readonly Case[] = [
  {
    yaml: "secrets:\n  a: env:NOT_THERE\n",
    at: "2:6",
    path: "secrets.a",
    says: /^Environment variable NOT_THERE is not set$/,
  },
  ...["$NOT_THERE", "'${NOT_THERE}'"].map((text): Case => ({
    yaml: `secrets: { a: ${text} }\n`,
    at: "1:15",
    path: "secrets.a",
    says: /write env: and the variable's name$/,
  })),
  { yaml: "secrets: { a: env:EMPTY }\n", at: "1:15", path: "secrets.a", says: /EMPTY is empty/ },
  { yaml: "secrets: { a: 'env:a b' }\n", at: "1:15", path: "secrets.a", says: /name of an env/ },
  {
    yaml: "secrets: { a: file:none }\n",
    at: "1:15",
    path: "secrets.a",
    says: /none" does not exist/,
  },
  { yaml: "secrets: { a: file:. }\n", at: "1:15", path: "secrets.a", says: /not a regular file/ },
  { yaml: "secrets: { a: 'file:' }\n", at: "1:15", path: "secrets.a", says: /path of a file/ },
  { yaml: "secrets: { a: file:two }\n", at: "1:15", path: "secrets.a", says: /line break/ },
  {
    yaml: "secrets: { a: short }\n",
    at: "1:15",
    path: "secrets.a",
    says: /at least 24 characters/,
  },
  { yaml: "secrets: { a: whsec_x }\n", at: "1:15", path: "secrets.a", says: /base64 of 24 to 64/ },
  { yaml: "secrets: { a: 12 }\n", at: "1:15", path: "secrets.a", says: /write it in quotes/ },
  { yaml: "secrets: { a: }\n", at: "1:12", path: "secrets.a", says: /Has no value/ },
  {
    yaml: `secrets: { "a b": "${OTHER}" }\n`,
    at: "1:19",
    path: "secrets.…",
    says: /secret's name/,
  },
  { yaml: "secrets: [a]\n", at: "1:10", path: "secrets", says: /mapping of names/ },
  {
    yaml: `secrets: { bookme: env:BOOKME_SECRET, b: env:CRM_SECRET }\ningest: { secret: c }\n`,
    at: "2:19",
    path: "ingest.secret",
    says: /^No secret of that name; secrets has bookme, b$/,
  },
  { yaml: "ingest: { secret: x }\n", at: "1:19", path: "ingest.secret", says: /add it to secrets/ },
  { yaml: "ingest: { secret: [] }\n", at: "1:19", path: "ingest.secret", says: /one or two/ },
  {
    yaml: "ingest:\n  secret: [env:BOOKME_SECRET, env:CRM_SECRET, env:BOOKME_SECRET]\n",
    at: "2:11",
    path: "ingest.secret",
    says: /one or two/,
  },
  {
    yaml: "ingest:\n  secret: [env:BOOKME_SECRET, env:NOPE]\n",
    at: "2:31",
    path: "ingest.secret[1]",
    says: /NOPE is not set/,
  },
];

Deno.test("loadConfig() names place and remedy: secrets", () => {
  expectMistakes(SECRETS, { two: `${OTHER}\n\n` });
});

Deno.test("loadConfig() refuses a secret file that is not text", () => {
  inDirectory("secrets: { a: file:bin }\n", {}, (path, directory) => {
    writeFileSync(join(directory, "bin"), new Uint8Array(40).fill(0xff));
    assert.throws(() => loadConfig(path, () => undefined), /1:15: secrets\.a: .*not UTF-8/);
  });
});

const PRODUCTION = "environment: production\n";

Deno.test("loadConfig() refuses secret files in production that others may read or change", () => {
  inDirectory(`${PRODUCTION}secrets: { a: file:a }\n`, { a: OTHER }, (path, directory) => {
    for (
      const [mode, says] of [
        [0o644, /is readable by everyone \(mode 0644\); run chmod 600/],
        [0o604, /is readable by everyone/],
        [0o660, /is writable by others \(mode 0660\)/],
        [0o602, /is writable by others/],
      ] as const
    ) {
      chmodSync(join(directory, "a"), mode);
      assert.throws(() => loadConfig(path, () => undefined), says);
      writeFileSync(path, "secrets: { a: file:a }\n");
      loadConfig(path, () => undefined);
      writeFileSync(path, `${PRODUCTION}secrets: { a: file:a }\n`);
    }
    for (const mode of [0o600, 0o400, 0o640, 0o440]) {
      chmodSync(join(directory, "a"), mode);
      loadConfig(path, () => undefined);
    }
  });
});
