import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { facts, table, widthOf, wrap } from "../../lib/cli/table.ts";
import { type Io, paletteOf } from "../../lib/cli/terminal.ts";

/** A terminal of that width, or a file without one. */
function output(columns?: number): Io {
  return {
    out: () => {},
    err: () => {},
    isTerminal: columns !== undefined,
    columns,
    env: () => undefined,
    stdin: () => Promise.resolve(new Uint8Array()),
    ask: () => null,
  };
}

const plain = (lines: readonly string[]) => lines.map(stripVTControlCharacters);

const HEAD = ["ID", "CREATED", "EVENT", "ENDPOINT", "STATUS", "ATTEMPTS", "WHY"];
const ID = "dlv_06yn3v1m8r5k0000b2c4000003";
const ROW = [ID, "5 min ago", "booking.created", "crm", "failed", "7", "http_5xx 500, and no more"];

Deno.test("table() shows everything where there is room, and in a file", () => {
  const whole = [
    "ID                              CREATED    EVENT            ENDPOINT  STATUS  ATTEMPTS  WHY",
    `${ID}  5 min ago  booking.created  crm       failed  7         http_5xx 500, and no more`,
  ];
  const spare = ["ATTEMPTS", "CREATED"];
  assert.deepEqual(plain(table(output(), HEAD, [ROW], spare)), whole);
  assert.deepEqual(plain(table(output(200), HEAD, [ROW], spare)), whole);
  assert.deepEqual(plain(table({ ...output(1), isTerminal: false }, HEAD, [ROW], spare)), whole);
});

Deno.test("table() leaves spare columns out, then wraps the last, then goes on in a second line", () => {
  const spare = ["ATTEMPTS", "CREATED"];
  assert.deepEqual(plain(table(output(104), HEAD, [ROW], spare)), [
    "ID                              CREATED    EVENT            ENDPOINT  STATUS  WHY",
    `${ID}  5 min ago  booking.created  crm       failed  http_5xx 500, and no more`,
  ]);
  assert.deepEqual(plain(table(output(91), HEAD, [ROW], spare)), [
    "ID                              EVENT            ENDPOINT  STATUS  WHY",
    `${ID}  booking.created  crm       failed  http_5xx 500, and no`,
    " ".repeat(67) + "more",
  ]);
  assert.deepEqual(plain(table(output(60), HEAD, [ROW], spare)), [
    "ID                              EVENT            ENDPOINT",
    "  STATUS  WHY",
    `${ID}  booking.created  crm`,
    "  failed  http_5xx 500, and no more",
  ]);
  assert.deepEqual(plain(table(output(34), HEAD, [ROW], spare)), [
    "ID",
    "  EVENT            ENDPOINT",
    "  STATUS  WHY",
    ID,
    "  booking.created  crm",
    "  failed  http_5xx 500, and no",
    "          more",
  ]);
});

Deno.test("table() aligns characters that take two columns", () => {
  const lines = plain(
    table(output(), ["NAME", "STATE"], [["日本語", "ok"], ["é", "ok"], ["😀", "ok"]]),
  );
  assert.deepEqual(lines, ["NAME    STATE", "日本語  ok", "é       ok", "😀      ok"]);
});

Deno.test("widthOf() counts columns", () => {
  const widths: [string, number][] = [
    ["", 0],
    ["plain", 5],
    ["\x1b[31mred\x1b[39m", 3],
    ["日本", 4],
    ["e\u0301", 1],
    ["😀", 2],
    ["🇩🇪", 2],
    ["ﾊﾝ", 2],
    ["…", 1],
  ];
  for (const [text, width] of widths) assert.equal(widthOf(text), width, text);
});

Deno.test("table() fits every width, and cuts no word", () => {
  const word = fc.array(fc.constantFrom("a", "z_9", "日", "😀"), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join(""));
  const cell = fc.oneof(word, fc.array(word, { maxLength: 6 }).map((words) => words.join(" ")));
  const io = fc.integer({ min: 30, max: 100 }).map((columns) => output(columns));
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 7 }).chain((count) =>
      fc.array(
        fc.tuple(...Array.from({ length: count }, (_, at) => at === count - 1 ? cell : word)),
        {
          minLength: 1,
          maxLength: 4,
        },
      )
    ),
    io,
    (rows, io) => {
      const head = rows[0]?.map((_, at) => `H${at}`) ?? [];
      const lines = plain(table(io, head, rows));
      for (const line of lines) assert.ok(widthOf(line) <= (io.columns ?? 0), line);
      const words = lines.join(" ").split(/ +/);
      for (const row of rows) {
        for (const one of row.join(" ").split(/ +/).filter((one) => one !== "")) {
          assert.ok(words.includes(one), one);
        }
      }
    },
  ));
});

Deno.test("table() paints each line of a wrapped cell by itself", () => {
  const io = output(30);
  const { red } = paletteOf(io);
  const text = "connection refused by the peer at last";
  const lines = table(io, ["WHY"], [[{ text, paint: red }]]);
  assert.deepEqual(lines.slice(1), [red("connection refused by the peer"), red("at last")]);
});

Deno.test("facts() and wrap() break long texts at spaces", () => {
  assert.deepEqual(wrap("one two three", 7), ["one two", "three"]);
  assert.deepEqual(wrap("a_long_identifier", 5), ["a_long_identifier"]);
  assert.deepEqual(wrap("  kept as it is", 80), ["  kept as it is"]);
  const rows = [["why", "a reason that is too long for one line"], ["none", null]] as const;
  assert.deepEqual(plain(facts(output(32), rows)), [
    "  why   a reason that is too",
    "        long for one line",
  ]);
  assert.deepEqual(plain(facts(output(), rows)), [
    "  why   a reason that is too long for one line",
  ]);
});
