import assert from "node:assert/strict";
import type { Config } from "../../lib/config/config.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { diffConfig } from "../../lib/config/snapshot.ts";
import { reloadable } from "../../lib/reload.ts";
import { load } from "../support/config.ts";
import { FULL, FULL_FILES } from "../support/full_config.ts";
import { AT_START, keysOfSchemas, referenceOf, RELOADED, shownIn } from "./configuration.ts";

const ROOT = new URL("../../", import.meta.url);
const PAGE = new URL("docs/configuration.md", ROOT);
const EXAMPLE = Deno.readTextFileSync(new URL("config.example.yaml", ROOT));

const keys = keysOfSchemas();
const shown = shownIn(EXAMPLE, new Set(keys.map(({ path }) => path)));

Deno.test("config.example.yaml shows every key, and says what it is for", () => {
  assert.ok(keys.length > 80);
  const silent = keys.map(({ path }) => path).filter((path) =>
    (shown.get(path)?.about ?? "") === ""
  );
  assert.deepEqual(silent, [], "write a comment above the key, or next to it");
});

Deno.test("docs/configuration.md is made from the schemas and config.example.yaml", () => {
  const page = Deno.readTextFileSync(PAGE);
  const made = `${referenceOf(keys, shown)}\n`;
  const next = page.replace(/^## environment\n[^]*$/m, () => made);
  if (Deno.env.get("CONFIGURATION") === "write") return Deno.writeTextFileSync(PAGE, next);
  // However deno fmt breaks its lines.
  const flat = (text: string) => text.replace(/\s+/g, " ");
  assert.equal(flat(page), flat(next), "out of date: run `deno task configuration`");
});

Deno.test("the reference names what takes a restart", () => {
  const key = btoa("0123456789abcdef0123456789abcdef");
  const example = loadConfig(new URL("config.example.yaml", ROOT).pathname, () => undefined);
  const full = load(`${FULL}encryption_key: file:./key\n`, { ...FULL_FILES, key });
  const begins = AT_START.filter((start) =>
    waiting(example, full).some((name) => name.startsWith(start))
  );
  assert.deepEqual(begins, AT_START);
  const others = waiting(example, full).filter((name) =>
    // Whether it speaks TLS, which the example says in words.
    ![...AT_START, "server.tls"].some((start) => name.startsWith(start))
  );
  assert.deepEqual(others, []);

  const moved = load("database: { directory: ./other, min_free: 1GiB }");
  assert.deepEqual(waiting(example, moved), ["database.directory"]);
  assert.deepEqual(RELOADED, ["database.min_free"]);
});

/** The settings that differ, and that a reload leaves as they were. */
function waiting(before: Config, read: Config): readonly string[] {
  return diffConfig(reloadable(before, read), read).map((change) => change.split(" ")[0] ?? "");
}

Deno.test("shownIn() reads comments above, next to and after keys", () => {
  const text = `# A heading.

# The setting a.
a: 1
# Of b,
# two lines.
b:
  # Not set.
  # c: { x: 1 }
  # Entries.
  d: []
  # d:
  #   - e: 1 # an entry
  #     # What f is.
  #     f: 2
`;
  const known = new Set(["a", "b", "b.c", "b.d", "b.d[].e", "b.d[].f"]);
  assert.deepEqual(Object.fromEntries(shownIn(text, known)), {
    a: { about: "The setting a.", example: "a: 1" },
    b: { about: "Of b, two lines.", example: "b:" },
    "b.c": { about: "Not set.", example: "c: { x: 1 }" },
    "b.d": { about: "Entries.", example: "d:" },
    "b.d[].e": { about: "an entry", example: "e: 1" },
    "b.d[].f": { about: "What f is.", example: "f: 2" },
  });
});
