import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { makeMention } from "../../lib/core/mention.ts";

const NAME = "Zoë Müller-Ångström";
const escaped = (text: string) =>
  text.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

const WRITTEN: readonly (readonly [how: string, text: string])[] = [
  ["as it is", `Dear ${NAME}!`],
  ["in capitals", NAME.toUpperCase()],
  ["in small letters", NAME.toLowerCase()],
  ["decomposed", NAME.normalize("NFD")],
  ["with JSON escapes", `{"name":"${escaped(NAME)}"}`],
  [
    "with JSON escapes in capitals",
    `{"name":"${escaped(NAME).replace(/[a-f]/g, (c) => c.toUpperCase())}"}`,
  ],
  ["with one escaped letter", "Zo\\u00eb Müller-Ångström"],
  ["with a letter of two escapes", "Zoe\\u0308 Mu\\u0308ller-A\\u030angstro\\u0308m"],
  ["as JSON in JSON", JSON.stringify(JSON.stringify({ name: escaped(NAME) }))],
  ["as JavaScript", "Zo\\xeb M\\u{fc}ller-\\xC5ngstr\\xf6m"],
  ["percent-encoded", encodeURIComponent(NAME)],
  ["percent-encoded in small letters", encodeURIComponent(NAME).toLowerCase()],
  ["percent-encoded twice", encodeURIComponent(encodeURIComponent(NAME))],
  ["percent-encoded Latin-1", "Zo%EB%20M%FCller-%C5ngstr%F6m"],
  ["as `escape` writes it", "Zo%u00EB%20M%FCller-%C5ngstr%F6m"],
  ["as a form field", `name=${new URLSearchParams({ n: NAME }).toString().slice(2)}&mail=`],
  ["with named entities", "Zo&euml; M&uuml;ller-&Aring;ngstr&ouml;m"],
  ["with numbered entities", "Zo&#235; M&#xFC;ller-&#197;ngstr&#xf6;m"],
  ["with entities of entities", "Zo&amp;euml; M&amp;uuml;ller-&amp;Aring;ngstr&amp;ouml;m"],
  ["percent-encoded in JSON", JSON.stringify({ url: `/?n=${encodeURIComponent(NAME)}` })],
  ["read as Latin-1", Buffer.from(NAME, "utf8").toString("latin1")],
];

Deno.test("a text is found however it is written", () => {
  const mention = makeMention(NAME);
  for (const [how, text] of WRITTEN) {
    assert.equal(mention.inText(text), true, how);
    assert.equal(mention.inBytes(Buffer.from(text, "utf8")), true, `${how}, as bytes`);
    assert.equal(mention.inJson(JSON.stringify({ a: [text] })), true, `${how}, in a string`);
    assert.equal(mention.inJson(JSON.stringify({ [text]: 1 })), true, `${how}, in a key`);
  }
});

Deno.test("the text itself may be composed, cased and punctuated in any way", () => {
  const cases = [
    ["zoë MÜLLER", NAME],
    [NAME.normalize("NFD"), NAME],
    ["Straße 1", "STRASSE 1"],
    ["ΟΔΟΣ ΑΒ", "οδος αβ"],
    ["+49 151 23456", "tel=%2B49+151+23456"],
    ["+49 151 23456", "tel:+49%20151%2023456"],
    ["4915123456", '{"phone":4915123456}'],
    ["a\\b\\c", '{"path":"a\\\\b\\\\c"}'],
    ['say "hi"', '{"a":"say \\"hi\\""}'],
    ["100%25", '{"a":"100%25"}'],
    ["line\nbreak", '{"a":"line\\nbreak"}'],
    ["o'neil", "O&#39;Neil"],
    ["x@example.org", "X&commat;EXAMPLE&period;ORG"],
    ["😀 Ada", '"\\ud83d\\ude00 Ada"'],
    ["😀 Ada", '"\\uD83D\\ude00\\u0020Ada"'],
    ["😀 Ada", "&#128512; Ada"],
    ["😀 Ada", "%F0%9F%98%80 Ada"],
    ["first", '{"a":"first","a":"last"}'],
  ] as const;
  for (const [sought, text] of cases) {
    assert.equal(makeMention(sought).inText(text), true, `${sought} in ${text}`);
  }
});

Deno.test("JSON is searched string by string, key by key, number by number", () => {
  const json = '{"a":"first","a":"last","phone":4915123456,"flag":true,"none":null,"n":-1.5e10}';
  const cases = [
    ["first", true], // though JSON.parse drops it
    ["last", true],
    ["phone", true],
    ["4915123456", true],
    ["1.5e10", true],
    ['first","a', false], // across two strings
    ["true", false],
    ["null", false],
    ["sky-blue", false],
  ] as const;
  for (const [sought, found] of cases) {
    assert.equal(makeMention(sought).inJson(json), found, sought);
  }
  assert.equal(makeMention("a lone \ud83d").inJson('{"a":"a lone \\ud83d"}'), true);
});

Deno.test("bytes are searched in several encodings", () => {
  const mention = makeMention(NAME);
  const utf16 = Buffer.from(`\ufeff${NAME}`, "utf16le");
  assert.equal(mention.inBytes(Buffer.from(NAME, "latin1")), true);
  assert.equal(mention.inBytes(Buffer.concat([Buffer.of(0xff, 0xc3), Buffer.from(NAME)])), true);
  assert.equal(mention.inBytes(utf16), true);
  assert.equal(mention.inBytes(Buffer.from(utf16).swap16()), true);
  assert.equal(mention.inBytes(Buffer.from("nothing\0of it")), false);
  assert.equal(mention.inBytes(new Uint8Array()), false);
});

Deno.test("of bytes that were cut, the beginning of the text is enough", () => {
  const mention = makeMention(NAME);
  const cut = Buffer.from("…and Zoë Müll", "utf8");
  assert.equal(mention.inBytes(cut, true), true);
  assert.equal(mention.inBytes(cut), false);
  // Within a character.
  assert.equal(mention.inBytes(Buffer.from("…and Zoë Mü", "utf8").subarray(0, -1), true), true);
  assert.equal(mention.inBytes(Buffer.from("…and Zoë", "utf8"), true), false, "too little of it");
});

Deno.test("what is there is found in any JSON, and nothing is found that is not", () => {
  const word = fc.stringMatching(/^[a-z]{6,10}$/);
  fc.assert(fc.property(fc.json(), word, fc.boolean(), (json, sought, escape) => {
    const mention = makeMention(sought);
    const inside = escape ? escaped(sought) : sought;
    assert.equal(mention.inJson(`{"x":${json},"y":["a ${inside} b"]}`), true);
    if (!json.toLowerCase().includes(sought)) assert.equal(mention.inJson(json), false);
  }));
});
