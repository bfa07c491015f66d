import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { endpoint, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";

/** An event with that JSON text as `data.extra`. */
function extra(json: string): string {
  return `{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z",` +
    `"data":{"appointment":{"id":"apt_1"},"extra":${json}}}`;
}

/** JSON that parsing and serialising would change, or fail on. */
const EXACT: Readonly<Record<string, string | Uint8Array>> = {
  "an escaped NUL": extra('"a\\u0000b"'),
  "an escaped NUL in a name": extra('{"a\\u0000":1}'),
  "a lone high surrogate": extra('"\\ud800"'),
  "a lone low surrogate": extra('"\\udfff\\ud800"'),
  "a pair, escaped": extra('"\\ud83d\\ude00"'),
  "a pair, raw": extra('"😀"'),
  "DEL and C1 controls": extra('"\x7f\x80\x9f"'),
  "line separators": extra('"\u2028\u2029"'),
  "directions": extra('"\u202e\u2066"'),
  "not normalised": extra('"e\u0301\u00e9\u212b"'),
  "a non-character": extra('"\ufffe\uffff"'),
  "a BOM within": extra('"\ufeff"'),
  "1e2": extra("1e2"),
  "1E400": extra("[1E400,-1e400,1e-400]"),
  "20 digits": extra("12345678901234567890"),
  "a thousand digits": extra("9".repeat(1000)),
  "decimals": extra("[0.10,1.0,-0,-0.0,0.1e+1,1.0000000000000000000000001]"),
  "duplicate keys": extra('{"a":1,"a":2,"a":1}'),
  "__proto__": extra('{"__proto__":{"admin":true},"constructor":{"prototype":{"x":1}}}'),
  "__proto__ at the top": extra('1,"__proto__":{"polluted":true}'),
  "key order": extra('{"b":1,"a":2,"1":3,"0":4}'),
  "an empty key": extra('{"":{"":[]}}'),
  "escaped slashes": extra('"\\/\\u002f/"'),
  "white space": ` \r\n\t${extra("[ 1 ,\t2\r\n]")}\n \n`,
  "markup": extra(`"<script>alert(1)</script>'\\"&amp;"`),
  "SQL": extra(`"'); drop table events; --"`),
  "a terminal's escapes": extra('"\\u001b]0;owned\\u0007\\u001b[31m"'),
  "header injection": extra('"a\\r\\nX-Evil: 1"'),
  "templates": extra('"${7*7} {{7*7}} %s %n ${jndi:ldap://x}"'),
  "PostgreSQL's escapes": extra('"\\\\000 \\\\x00 \\\\"'),
  "many small things": extra(`[${"{},".repeat(100_000)}0]`),
  "a long string": extra(`"${"x".repeat(900_000)}"`),
  "a thousand levels less three": extra("[".repeat(998) + "]".repeat(998)),
};

onBoth("payload.exact: any JSON is delivered byte for byte", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
  });
  for (const [nth, [name, payload]] of Object.entries(EXACT).entries()) {
    const bytes = Buffer.from(payload);
    const { status, body } = await daemon.post(bytes);
    assert.equal(status, 202, `${name}: ${JSON.stringify(body)}`);
    const request = (await receiver.received(nth + 1))[nth];
    assert.equal(Buffer.compare(request?.body ?? Buffer.of(), bytes), 0, name);
    assert.equal((await daemon.api(`events/${body.id}`)).body.payload, bytes.toString(), name);
  }
  assert.equal(({} as { polluted?: boolean }).polluted, undefined);
  assert.deepEqual(daemon.log.filter(({ level }) => level === "error"), []);
});

const DEEP = 100_000;

/** Refused bodies: 400 if not JSON or UTF-8, 422 if not an event, 413 if too large. */
const REFUSED: Readonly<Record<string, [payload: string | Uint8Array, status: 400 | 413 | 422]>> = {
  "nothing": ["", 400],
  "white space": [" \n ", 400],
  "a raw NUL": [extra('"a\0b"'), 400],
  "a NUL behind": [extra("1") + "\0", 400],
  "a raw line break in a string": [extra('"a\nb"'), 400],
  "a BOM": ["\ufeff" + extra("1"), 400],
  "UTF-16": [Buffer.from(extra("1"), "utf16le"), 400],
  "UTF-16 with BOM": [Buffer.from("\ufeff" + extra("1"), "utf16le"), 400],
  "Latin-1": [Buffer.from(extra('"é"'), "latin1"), 400],
  "an overlong slash": [Buffer.from(extra('"\xc0\xaf"'), "latin1"), 400],
  "an overlong NUL": [Buffer.from(extra('"\xc0\x80"'), "latin1"), 400],
  "a surrogate in UTF-8": [Buffer.from(extra('"\xed\xa0\x80"'), "latin1"), 400],
  "beyond Unicode": [Buffer.from(extra('"\xf4\x90\x80\x80"'), "latin1"), 400],
  "a cut character": [Buffer.from(extra('"\xe2\x82"'), "latin1"), 400],
  "a stray continuation": [Buffer.from(extra('"\x80"'), "latin1"), 400],
  "0xff": [new Uint8Array([0xff, 0xfe, 0xfd]), 400],
  "gzip": [gzipSync(extra("1")), 400],
  "NaN": [extra("NaN"), 400],
  "Infinity": [extra("-Infinity"), 400],
  "undefined": [extra("undefined"), 400],
  "a leading zero": [extra("007"), 400],
  "a plus": [extra("+1"), 400],
  "hexadecimal": [extra("0x10"), 400],
  "no digits behind the point": [extra("1."), 400],
  "no digits before the point": [extra(".5"), 400],
  "single quotes": [extra("'a'"), 400],
  "a bad escape": [extra('"\\x41"'), 400],
  "a cut escape": [extra('"\\u12"'), 400],
  "a trailing comma": [extra("[1,]"), 400],
  "a comment": [extra("/* a */ 1"), 400],
  "two values": [extra("1") + extra("1"), 400],
  "a prefix against JSONP": [")]}'\n" + extra("1"), 400],
  "XML": ["<event>booking.created</event>", 400],
  "a form": ["event=booking.created&data=1", 400],
  "cut off": [extra("1").slice(0, -1), 400],
  "brackets that never close": ["[".repeat(DEEP), 400],
  "braces that never close": ['{"a":'.repeat(DEEP), 400],
  "null": ["null", 422],
  "a number": ["1", 422],
  "a string": ['"booking.created"', 422],
  "an empty object": ["{}", 422],
  "an empty array": ["[]", 422],
  "arrays in one another": ["[[[]]]", 422],
  "an array of null": ["[null]", 422],
  "an unknown type": [extra("1").replace("booking.created", "booking.exploded"), 422],
  "a type in capitals": [extra("1").replace("booking.created", "Booking.Created"), 422],
  "a type with NUL": [extra("1").replace("booking.created", "booking.created\\u0000"), 422],
  "a type of Object.prototype": [extra("1").replace("booking.created", "constructor"), 422],
  "the type __proto__": [extra("1").replace("booking.created", "__proto__"), 422],
  "a type that is a number": [extra("1").replace('"booking.created"', "1"), 422],
  "a type that is an array": [extra("1").replace('"booking.created"', '["booking.created"]'), 422],
  "no timestamp": ['{"event":"booking.created","data":{"appointment":{"id":"a"}}}', 422],
  "a timestamp of Unix": [extra("1").replace('"2025-10-31T15:30:00Z"', "1761924600"), 422],
  "the 31st of February": [extra("1").replace("2025-10-31", "2025-02-31"), 422],
  "the year 0": [extra("1").replace("2025", "0000"), 422],
  "a local time": [extra("1").replace("00Z", "00"), 422],
  "a timestamp of a megabyte": [extra("1").replace("00Z", "00." + "0".repeat(500_000) + "Z"), 422],
  "data that is an array": [extra("1").replace('{"appointment":{"id":"apt_1"}', '[{"a":1}'), 400],
  "data null": ['{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z","data":null}', 422],
  "no appointment": [extra("1").replace("appointment", "appointmant"), 422],
  "an appointment from __proto__": [
    extra("1").replace('"appointment":{"id":"apt_1"}', '"__proto__":{"appointment":{"id":"a"}}'),
    422,
  ],
  "an id that is a number": [extra("1").replace('"apt_1"', "1"), 422],
  "an id that is null": [extra("1").replace('"apt_1"', "null"), 422],
  "an identity with a line break": [extra("1").replace("{", '{"id":"a\\nb",'), 422],
  "an identity with NUL": [extra("1").replace("{", '{"id":"a\\u0000",'), 422],
  "an identity that is a lone surrogate": [extra("1").replace("{", '{"id":"\\ud800",'), 422],
  "an identity of 256 characters": [extra("1").replace("{", `{"id":"${"x".repeat(256)}",`), 422],
  "an identity that is an object": [extra("1").replace("{", '{"id":{},'), 422],
  "a business with NUL": [extra("1").replace("{", '{"business":"a\\u0000",'), 422],
  "arrays 100,000 deep": [extra("[".repeat(DEEP) + "]".repeat(DEEP)), 422],
  "objects 100,000 deep": [extra('{"a":'.repeat(DEEP) + "1" + "}".repeat(DEEP)), 422],
  "deep at the top": ["[".repeat(DEEP) + "]".repeat(DEEP), 422],
  "1,001 events": [`[${Array(1001).fill("{}").join()}]`, 413],
  "a million empty things": [`[${"[],".repeat(340_000)}[]]`, 413],
  "over a megabyte": [extra(`"${"x".repeat(1_048_576)}"`), 413],
};

onServer(
  "payload.refused: what is no event is refused with its code, and not stored",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("all", receiver.url)],
    });
    const codes = { 400: "malformed", 413: "too_large", 422: "invalid" };
    for (const [name, [payload, status]] of Object.entries(REFUSED)) {
      const answer = await daemon.post(payload);
      assert.equal(answer.status, status, `${name}: ${JSON.stringify(answer.body).slice(0, 500)}`);
      assert.equal(answer.body.code, codes[status], name);
      assert.ok(JSON.stringify(answer.body).length < 300_000, name);
      assert.equal("errors" in answer.body, status === 422, name);
    }
    assert.equal((await daemon.post(extra("1"))).status, 202, "it goes on");
    await daemon.stop();
    assert.equal(receiver.requests.length, 1);
    // So many refusals may open an alert, which is right.
    const complaints = daemon.log.filter(({ level, message }) =>
      level !== "info" && message !== "Alert began"
    );
    assert.deepEqual(complaints, []);
    const db = await database.open();
    const [row] = await db.admin<{ count: number }[]>`select count(*)::int from events`;
    await db.close();
    assert.equal(row?.count, 1);
  },
);

onServer("payload.lines: one bad line or element refuses all of them", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const good = extra("1");
  const lines = { "content-type": "application/x-ndjson" };
  const refused: [body: string, headers: Record<string, string>, status: number][] = [
    [`${good}\n{`, lines, 400],
    [`${good}\n${good} x`, lines, 400],
    [`${good},\n${good}`, lines, 400],
    [`[${good}]`, lines, 422],
    [`${good}\n\0\n`, lines, 400],
    [`${good}\n\u2028\n${good}`, lines, 400],
    [`${good}\x0b${good}`, lines, 400],
    ["\n\n \r\n", lines, 422],
    [`${good}\nnull`, lines, 422],
    [`[${good},{}]`, {}, 422],
    [`[${good},[${good}]]`, {}, 422],
    [`[${good}]]`, {}, 400],
    [`[${good}`, {}, 400],
  ];
  for (const [body, headers, status] of refused) {
    assert.equal((await daemon.post(body, headers)).status, status, body);
  }
  await daemon.stop();
  const db = await database.open();
  const [row] = await db.admin<{ count: number }[]>`select count(*)::int from events`;
  await db.close();
  assert.equal(row?.count, 0);
});

onBoth("payload.large: 10 MB go through byte for byte if allowed", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    ingest: { max_body: "12MiB" },
    endpoints: [endpoint("all", receiver.url)],
  });
  const unit = `{"a":"é😀\\u0000","b":[1e2,12345678901234567890]},`;
  const payload = Buffer.from(extra(`[${unit.repeat(10_000_000 / Buffer.byteLength(unit))}0]`));
  assert.ok(payload.length > 9_900_000);
  assert.equal((await daemon.post(payload)).status, 202);
  const [request] = await receiver.received(1);
  assert.equal(Buffer.compare(request?.body ?? Buffer.of(), payload), 0);
});
