import assert from "node:assert/strict";
import fc from "fast-check";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { EVENT_TYPES, makeEventTypes } from "../../lib/core/event_types.ts";
import {
  type Format,
  MAX_EVENTS,
  MAX_MISTAKES,
  type ParsedEvent,
  parseIngest,
} from "../../lib/core/payload.ts";
import { sampleOf } from "../support/samples.ts";

/** Deepest nesting of an event, by the contract. */
const MAX_DEPTH = 1000;

const TYPES = makeEventTypes([
  { name: "booking.moved", description: "" },
  {
    name: "payment.received",
    description: "",
    check: (data) =>
      Object.hasOwn(data as object, "amount")
        ? []
        : [{ pointer: "/amount", message: "Is missing" }],
  },
]);

const encode = (text: string) => new TextEncoder().encode(text);

const parse = (body: string, format: Format = "json") => parseIngest(encode(body), format, TYPES);

function single(body: string): ParsedEvent {
  const parsed = parse(body);
  assert.ok(parsed.single);
  assert.equal(parsed.events.length, 1);
  return parsed.events[0] ?? assert.fail();
}

function refusal(bytes: Uint8Array, format: Format = "json"): AppError {
  try {
    parseIngest(bytes, format, TYPES);
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error;
  }
  assert.fail("it was accepted");
}

const pointers = (error: AppError) => (error.detail.errors ?? []).map((mistake) => mistake.pointer);

const TIME = "2025-10-31T15:30:00Z";
const MINIMAL =
  `{"event":"booking.created","timestamp":"${TIME}","data":{"appointment":{"id":"a"}}}`;

/** A valid event with these members of the appointment beside its id, and of the whole event. */
const booking = (appointment: string, event = "") =>
  `{"event":"booking.created","timestamp":"${TIME}",` +
  `"data":{"appointment":{"id":"a"${appointment && `,${appointment}`}}}${event && `,${event}`}}`;
const withData = (type: string, data: string) =>
  `{"event":"${type}","timestamp":"${TIME}","data":${data}}`;
const withTime = (timestamp: string) =>
  `{"event":"booking.created","timestamp":${timestamp},"data":{"appointment":{"id":"a"}}}`;

Deno.test("parseIngest() accepts every sample of the documentation as it stands", () => {
  const expected = [
    ["bus_123", "apt_789", "BK7X9M2P"],
    [null, "apt_789", "BK7X9M2P"],
    [null, "apt_789", "BK7X9M2P"],
    [null, "apt_789", "BK7X9M2P"],
    ["bus_123", "bus_123", null],
    ["bus_123", "bus_123", null],
    ["bus_123", "svc_789", null],
    ["bus_123", "svc_789", null],
  ];
  for (const [index, type] of EVENT_TYPES.entries()) {
    const event = single(type.sample);
    assert.equal(event.payload, type.sample);
    assert.equal(event.type, type.name);
    assert.equal(event.timestamp, JSON.parse(type.sample).timestamp);
    assert.equal(event.key, null);
    assert.deepEqual([event.business, event.subject, event.confirmation], expected[index]);
  }
});

Deno.test("parseIngest() accepts all samples in one array and as lines", () => {
  const samples = EVENT_TYPES.map((type) => type.sample);
  const array = parse(`[${samples.join(" ,\n")}]`);
  assert.equal(array.single, false);
  assert.deepEqual(array.events.map((event) => event.payload), samples);
  const lines = samples.map((sample) => JSON.stringify(JSON.parse(sample)));
  assert.deepEqual(parse(lines.join("\n"), "ndjson").events.map((event) => event.payload), lines);
});

Deno.test("parseIngest() accepts the documentation's Example Test Event", () => {
  const body = `{
    "event": "booking.created",
    "timestamp": "2025-10-31T15:30:00Z",
    "data": {
      "appointment": {
        "id": "apt_test",
        "confirmationNumber": "TEST123",
        "status": "pending"
      }
    }
  }`;
  assert.deepEqual(single(body), {
    payload: body,
    type: "booking.created",
    timestamp: TIME,
    key: null,
    business: null,
    subject: "apt_test",
    subject_key: "appointment:apt_test",
    confirmation: "TEST123",
  });
});

Deno.test("parseIngest() keeps a single body whole, the white space around it too", () => {
  const body = `\r\n\t ${MINIMAL} \n\n`;
  assert.equal(single(body).payload, body);
});

Deno.test("parseIngest() keeps text that JSON.parse would change", () => {
  const odd = [
    '"x":1e2,"y":1E+2,"z":-0,"w":1.0',
    '"big":12345678901234567890,"small":0.1000000000000000055511151231257827',
    '"notes":"\\u0000\\ud83d\\/\\u0041","tail":"\\ude00"',
    '"x":1,"x":2,"x":3',
    '"__proto__":{"id":"b"},"constructor":null,"toString":"x"',
    '"notes":"é😀\u2028\u2029\u00a0"',
    '"a":  [ ] ,  "b" : { }',
  ];
  for (const members of odd) {
    const body = booking(members);
    assert.equal(single(body).payload, body);
    assert.equal(parse(`[${body}]`).events[0]?.payload, body);
    assert.equal(parse(body, "ndjson").events[0]?.payload, body);
  }
});

Deno.test("parseIngest() cuts an array's elements out, without the white space around them", () => {
  const tricky = booking('"notes":"a \\"quoted\\" ], [ }{ \\\\","list":[[1,2],{"a":[","]}]');
  const body = ` [\n  ${MINIMAL} ,\t${tricky}\r\n,${MINIMAL}\n ] `;
  const parsed = parse(body);
  assert.equal(parsed.single, false);
  assert.deepEqual(parsed.events.map((event) => event.payload), [MINIMAL, tricky, MINIMAL]);
});

Deno.test("parseIngest() treats an array of one as an array, and one line as lines", () => {
  assert.equal(parse(`[${MINIMAL}]`).single, false);
  assert.equal(parse(MINIMAL, "ndjson").single, false);
});

Deno.test("parseIngest() skips empty lines and takes any line ending", () => {
  for (const body of [`\n\r\n${MINIMAL}\r\n \t\n ${MINIMAL}`, `${MINIMAL}\n${MINIMAL}\n`]) {
    assert.deepEqual(parse(body, "ndjson").events.map((event) => event.payload), [
      MINIMAL,
      MINIMAL,
    ]);
  }
});

Deno.test("parseIngest() takes up to a thousand events", () => {
  const many = Array(MAX_EVENTS).fill(MINIMAL);
  assert.equal(parse(`[${many.join(",")}]`).events.length, 1000);
  assert.equal(parse(many.join("\n"), "ndjson").events.length, 1000);
});

Deno.test("parseIngest() reads the event's own identity", () => {
  assert.equal(single(booking("", '"id":"k1"')).key, "k1");
  assert.equal(single(booking("", `"id":"${"😀".repeat(255)}"`)).key, "😀".repeat(255));
  assert.equal(single(booking("", '"id":null')).key, null);
  assert.equal(single(booking("", '"id":"a","id":"b"')).key, "b");
  assert.equal(single(booking("", '"__proto__":{"id":"k1"}')).key, null);
});

Deno.test("parseIngest() takes the business from the payload, else from the business member", () => {
  const table: [string, string | null][] = [
    [booking('"business":{"id":"inner"}'), "inner"],
    [booking('"business":{"id":"inner"}', '"business":"inner"'), "inner"],
    [booking('"business":{"id":null}', '"business":"outer"'), "outer"],
    [booking('"business":null', '"business":"outer"'), "outer"],
    [booking("", '"business":"outer"'), "outer"],
    [booking("", '"business":null'), null],
    [booking(""), null],
    [booking('"business":{"__proto__":{"id":"x"}}'), null],
    [withData("business.updated", '{"business":{"id":"b1"}}'), "b1"],
    [withData("service.updated", '{"service":{"id":"s1","businessId":"b2"}}'), "b2"],
    [withData("service.updated", '{"service":{"id":"s1"}}'), null],
    [withData("booking.moved", '{"appointment":{"business":{"id":"b3"}}}'), "b3"],
    [withData("booking.moved", "{}"), null],
    [withData("payment.received", '{"amount":1,"business":{"id":"b4"}}'), null],
    [withData("payment.received", '{"amount":1}').replace(/}$/, ',"business":"b5"}'), "b5"],
  ];
  for (const [body, business] of table) assert.equal(single(body).business, business, body);
});

Deno.test("parseIngest() refuses two businesses for one event, and takes one named twice", () => {
  const inner = booking('"business":{"id":"bus_1"}');
  const both = (member: string) => inner.replace(/}$/, `,"business":"${member}"}`);
  const pointersOf = (body: string, header: string | null) => {
    try {
      return parseIngest(encode(body), "json", TYPES, header).events.map(({ business }) =>
        business
      );
    } catch (error) {
      return pointers(error as AppError);
    }
  };
  const table: [string, string | null, ...(string | null)[]][] = [
    [both("bus_2"), null, "/business"],
    [both("bus_2"), "bus_1", "/business"],
    [both("bus_2"), "bus_2", "/business", "/data/appointment/business/id"],
    [both("bus_1"), "bus_2", "/data/appointment/business/id"],
    [inner, "bus_2", "/data/appointment/business/id"],
    [inner, "BUS_1", "/data/appointment/business/id"],
    [booking("", '"business":"bus_1"'), "bus_2", "/business"],
    [withData("business.updated", '{"business":{"id":"bus_1"}}'), "bus_2", "/data/business/id"],
    [
      withData("service.updated", '{"service":{"id":"s","businessId":"bus_1"}}'),
      "bus_2",
      "/data/service/businessId",
    ],
    [
      withData("payment.received", '{"amount":1}').replace(/}$/, ',"business":"bus_1"}'),
      "bus_2",
      "/business",
    ],
    [both("bus_1"), "bus_1", "bus_1"],
    [booking(""), "bus_2", "bus_2"],
    [booking("", '"business":null'), "bus_2", "bus_2"],
    [withData("payment.received", '{"amount":1}'), "bus_2", "bus_2"],
    [booking(""), null, null],
  ];
  for (const [body, header, ...expected] of table) {
    assert.deepEqual(pointersOf(body, header), expected, `${header} ${body}`);
  }
});

Deno.test("parseIngest() names the appointment or service that gives or inherits a business", () => {
  const table: [string, string | null][] = [
    [booking(""), "appointment:a"],
    [withData("booking.moved", '{"appointment":{"id":"b"}}'), "appointment:b"],
    [withData("booking.moved", "{}"), null],
    [withData("service.updated", '{"service":{"id":"a"}}'), "service:a"],
    [withData("business.updated", '{"business":{"id":"a"}}'), null],
    [withData("payment.received", '{"amount":1,"appointment":{"id":"a"}}'), null],
  ];
  for (const [body, subject] of table) assert.equal(single(body).subject_key, subject, body);
});

Deno.test("parseIngest() drops a confirmation number that no search can ask for", () => {
  const table: [string, string | null][] = [
    ['"BK7X9M2P"', "BK7X9M2P"],
    ['"a\\u0000b"', null],
    ['"\\ud83d"', null],
    ['""', null],
    [`"${"x".repeat(256)}"`, null],
    ["null", null],
  ];
  for (const [text, expected] of table) {
    assert.equal(single(booking(`"confirmationNumber":${text}`)).confirmation, expected, text);
  }
});

Deno.test("parseIngest() accepts the date-times of RFC 3339", () => {
  for (
    const timestamp of [
      "2025-10-31T15:30:00Z",
      "2025-10-31t15:30:00z",
      "2025-10-31T15:30:00.123456789+05:30",
      "2025-10-31T23:59:60-00:00",
      "2024-02-29T00:00:00Z",
      "2000-02-29T00:00:00Z",
      "0001-01-01T00:00:00+14:00",
      "9999-12-31T23:59:59.9Z",
    ]
  ) assert.equal(single(withTime(`"${timestamp}"`)).timestamp, timestamp);
});

Deno.test("parseIngest() accepts unknown fields and nesting up to the limit", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  // Three objects are around it: the event, its data and the appointment.
  const body = booking(`"unknown":${nested(MAX_DEPTH - 3)}`);
  assert.equal(single(body).payload, body);
  assert.equal(parse(`[${body}]`).events.length, 1);
  assert.deepEqual(pointers(refusal(encode(booking(`"unknown":${nested(MAX_DEPTH - 2)}`)))), [""]);
  // Brackets in strings and side by side are not deep.
  single(booking(`"notes":"${"[{".repeat(5000)}\\"","list":[${"[],".repeat(5000)}{}]`));
});

Deno.test("parseIngest() hands the payload's text over so that it encodes to the very bytes", () => {
  const space = fc.string({ unit: fc.constantFrom(" ", "\t", "\r", "\n"), maxLength: 3 });
  // Well-formed JSON text of any value, in more than one spelling.
  const json = fc.tuple(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom(0, 1, "\t", " \n"))
    .map(([value, indent]) => JSON.stringify(value, null, indent));
  const event = fc.tuple(json, space, space).map(([text, a, b]) => ({
    text: booking(`${a}"unknown"${b}:${a}${text}${b}`),
    around: [a, b] as const,
  }));
  fc.assert(fc.property(fc.array(event, { minLength: 1, maxLength: 6 }), (events) => {
    const body = `[${events.map(({ text, around: [a, b] }) => a + text + b).join(",")}]`;
    assert.deepEqual(
      parse(body).events.map((found) => encode(found.payload)),
      events.map(({ text }) => encode(text)),
    );
    for (const { text, around: [a, b] } of events) {
      assert.deepEqual(encode(single(a + text + b).payload), encode(a + text + b));
    }
  }));
});

Deno.test("parseIngest() refuses invalid UTF-8 and names the byte", () => {
  const table: [number[], number][] = [
    [[0xff], 0],
    [[0xff, 0xfe, 0x7b, 0], 0],
    [[0x7b, 0x22, 0x80], 2],
    [[0x7b, 0xc0, 0x80], 1],
    [[0x7b, 0xe2, 0x82, 0x22], 3],
    [[0x7b, 0xed, 0xa0, 0x80], 2],
    [[0x7b, 0xf5, 0x80, 0x80, 0x80], 1],
    [[0x7b, 0xe2, 0x82], 3],
    [[...encode("é😀"), 0xfe], 6],
  ];
  for (const [bytes, at] of table) {
    const error = refusal(new Uint8Array(bytes));
    assert.equal(error.code, "malformed");
    assert.equal(error.message, `Invalid UTF-8 at byte ${at}`, bytes.join());
  }
  // The decoder is none the worse for it.
  single(MINIMAL);
});

Deno.test("parseIngest() refuses a byte order mark and says so", () => {
  for (const format of ["json", "ndjson"] as const) {
    const error = refusal(encode(`\ufeff${MINIMAL}`), format);
    assert.equal(error.code, "malformed");
    assert.match(error.message, /byte order mark/);
  }
});

Deno.test("parseIngest() refuses malformed JSON with line and column", () => {
  const error = refusal(encode('{\n  "a": 1\n  "b": 2\n}'));
  assert.equal(error.code, "malformed");
  assert.equal(
    error.message,
    "Malformed JSON at line 3, column 3: expected a comma or the closing bracket",
  );
});

Deno.test("parseIngest() counts lines of NDJSON from the top, the empty ones too", () => {
  const error = refusal(encode(`${MINIMAL}\n\n\r\n  {"a" 1}\n`), "ndjson");
  assert.equal(error.code, "malformed");
  assert.equal(error.message, "Malformed JSON at line 4, column 8: expected a colon");
  const pretty = refusal(encode('{\n  "event": "booking.created"\n}'), "ndjson");
  assert.match(pretty.message, /^Malformed JSON at line 1, column 2: the text ends/);
  // Only JSON's own white space makes a line empty.
  assert.equal(refusal(encode(`${MINIMAL}\n\u00a0\n`), "ndjson").code, "malformed");
});

Deno.test("parseIngest() refuses what is no event, with a pointer to every mistake", () => {
  const table: [string, ...string[]][] = [
    // The event itself.
    ["null", ""],
    ["true", ""],
    ["42", ""],
    ['"booking.created"', ""],
    ["{}", "/event", "/timestamp", "/data"],
    ['{"event":null,"timestamp":null,"data":null}', "/event", "/timestamp", "/data"],
    ['{"event":1,"timestamp":1,"data":1}', "/event", "/timestamp", "/data"],
    ['{"event":["booking.created"],"timestamp":[],"data":[]}', "/event", "/timestamp", "/data"],
    ['{"__proto__":' + MINIMAL + "}", "/event", "/timestamp", "/data"],
    [withData("", "{}"), "/event"],
    [withData("booking", "{}"), "/event"],
    [withData("booking.*", "{}"), "/event"],
    [withData("*", "{}"), "/event"],
    [withData("Booking.created", "{}"), "/event"],
    [withData("booking.created ", "{}"), "/event"],
    [withData("booking.unknown", "{}"), "/event"],
    [withData("__proto__", "{}"), "/event"],
    [withData("constructor", "{}"), "/event"],
    [withData("toString", "{}"), "/event"],
    [withData("x".repeat(10_000), "{}"), "/event"],
    // The timestamp.
    [withTime('""'), "/timestamp"],
    [withTime("1761924600"), "/timestamp"],
    [withTime("{}"), "/timestamp"],
    [withTime('"2025-10-31"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:00"'), "/timestamp"],
    [withTime('"2025-10-31 15:30:00Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:30Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:00+0100"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:00.Z"'), "/timestamp"],
    [withTime('"2025-10-31T24:00:00Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:60:00Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:61Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:00+24:00"'), "/timestamp"],
    [withTime('"2025-00-31T15:30:00Z"'), "/timestamp"],
    [withTime('"2025-13-31T15:30:00Z"'), "/timestamp"],
    [withTime('"2025-10-32T15:30:00Z"'), "/timestamp"],
    [withTime('"2025-11-31T15:30:00Z"'), "/timestamp"],
    [withTime('"2025-02-29T15:30:00Z"'), "/timestamp"],
    [withTime('"1900-02-29T15:30:00Z"'), "/timestamp"],
    [withTime('"0000-01-01T00:00:00Z"'), "/timestamp"],
    [withTime('"2025-10-31T15:30:00Z\\n"'), "/timestamp"],
    [withTime('" 2025-10-31T15:30:00Z"'), "/timestamp"],
    [withTime('"١٢٣٤-10-31T15:30:00Z"'), "/timestamp"],
    [withTime(`"2025-10-31T15:30:00.${"0".repeat(50)}Z"`), "/timestamp"],
    [withTime('"Fri, 31 Oct 2025 15:30:00 GMT"'), "/timestamp"],
    // Its own id and business.
    [booking("", '"id":""'), "/id"],
    [booking("", '"id":1'), "/id"],
    [booking("", '"id":{}'), "/id"],
    [booking("", '"id":"a\\u0000"'), "/id"],
    [booking("", '"id":"a\\n"'), "/id"],
    [booking("", '"id":"\\u007f"'), "/id"],
    [booking("", '"id":"\\ud83d"'), "/id"],
    [booking("", `"id":"${"x".repeat(256)}"`), "/id"],
    [booking("", '"business":""'), "/business"],
    [booking("", '"business":{"id":"bus_1"}'), "/business"],
    [booking("", '"business":["bus_1"]'), "/business"],
    [booking("", '"business":"\\ude00"'), "/business"],
    [booking("", '"business":true,"id":true'), "/id", "/business"],
    // The subject of a booking.
    [withData("booking.created", "{}"), "/data/appointment"],
    [withData("booking.created", '{"appointment":null}'), "/data/appointment"],
    [withData("booking.created", '{"appointment":[]}'), "/data/appointment"],
    [withData("booking.created", '{"appointment":"a"}'), "/data/appointment"],
    [withData("booking.created", '{"appointment":{}}'), "/data/appointment/id"],
    [withData("booking.created", '{"id":"a"}'), "/data/appointment"],
    [withData("booking.created", '{"__proto__":{"appointment":{"id":"a"}}}'), "/data/appointment"],
    [
      withData("booking.created", '{"appointment":{"__proto__":{"id":"a"}}}'),
      "/data/appointment/id",
    ],
    [withData("booking.confirmed", '{"appointment":{"id":null}}'), "/data/appointment/id"],
    [withData("booking.confirmed", '{"appointment":{"id":789}}'), "/data/appointment/id"],
    [withData("booking.cancelled", '{"appointment":{"id":""}}'), "/data/appointment/id"],
    [withData("booking.cancelled", '{"appointment":{"id":"a\\tb"}}'), "/data/appointment/id"],
    [withData("booking.completed", '{"appointment":{"id":"\\ud83d"}}'), "/data/appointment/id"],
    [withData("booking.completed", '{"appointment":{"id":"a","id":1}}'), "/data/appointment/id"],
    [
      withData("booking.completed", `{"appointment":{"id":"${"x".repeat(256)}"}}`),
      "/data/appointment/id",
    ],
    // Its documented fields.
    [booking('"confirmationNumber":1'), "/data/appointment/confirmationNumber"],
    [booking('"business":"bus_123"'), "/data/appointment/business"],
    [booking('"business":[]'), "/data/appointment/business"],
    [booking('"business":{"id":1}'), "/data/appointment/business/id"],
    [booking('"business":{"id":""}'), "/data/appointment/business/id"],
    [booking('"business":{"id":"a\\u0000"}'), "/data/appointment/business/id"],
    [booking('"business":{"name":{}}'), "/data/appointment/business/name"],
    [booking('"service":1'), "/data/appointment/service"],
    [booking('"service":{"duration":"60"}'), "/data/appointment/service/duration"],
    [booking('"service":{"duration":59.5}'), "/data/appointment/service/duration"],
    [booking('"service":{"price":"$75"}'), "/data/appointment/service/price"],
    [booking('"service":{"price":1e999}'), "/data/appointment/service/price"],
    [booking('"customer":[]'), "/data/appointment/customer"],
    [booking('"customer":{"email":[]}'), "/data/appointment/customer/email"],
    [booking('"customer":{"phone":15550199}'), "/data/appointment/customer/phone"],
    [booking('"appointmentDate":20251101'), "/data/appointment/appointmentDate"],
    [booking('"startTime":10'), "/data/appointment/startTime"],
    [booking('"status":false'), "/data/appointment/status"],
    [booking('"notes":["x"]'), "/data/appointment/notes"],
    [booking('"cancelledBy":{}'), "/data/appointment/cancelledBy"],
    [
      booking('"status":1,"customer":{"name":2,"email":3}', '"id":4'),
      "/id",
      "/data/appointment/customer/name",
      "/data/appointment/customer/email",
      "/data/appointment/status",
    ],
    // Businesses and services.
    [withData("business.created", '{"business":{}}'), "/data/business/id"],
    [withData("business.created", '{"business":"bus_1"}'), "/data/business"],
    [withData("business.created", '{"business":{"id":"b","owner":"o"}}'), "/data/business/owner"],
    [
      withData("business.created", '{"business":{"id":"b","owner":{"email":1}}}'),
      "/data/business/owner/email",
    ],
    [
      withData("business.updated", '{"business":{"id":"b","updatedFields":"name"}}'),
      "/data/business/updatedFields",
    ],
    [
      withData("business.updated", '{"business":{"id":"b","updatedFields":["name",1,null]}}'),
      "/data/business/updatedFields/1",
      "/data/business/updatedFields/2",
    ],
    [withData("service.created", '{"business":{"id":"b"}}'), "/data/service"],
    [withData("service.created", '{"service":{"businessId":"b"}}'), "/data/service/id"],
    [
      withData("service.created", '{"service":{"id":"s","businessId":1}}'),
      "/data/service/businessId",
    ],
    [
      withData("service.updated", '{"service":{"id":"s","updatedFields":{}}}'),
      "/data/service/updatedFields",
    ],
    // Types of the configuration.
    [withData("booking.moved", '{"appointment":{"id":1}}'), "/data/appointment/id"],
    [
      withData("booking.moved", '{"appointment":{"business":{"id":""}}}'),
      "/data/appointment/business/id",
    ],
    [withData("payment.received", "{}"), "/data/amount"],
    // Arrays.
    ["[]", ""],
    ["[ \n ]", ""],
    ["[[]]", "/0"],
    [`[[${MINIMAL}]]`, "/0"],
    ["[null]", "/0"],
    [`[${MINIMAL},5,${MINIMAL},{}]`, "/1", "/3/event", "/3/timestamp", "/3/data"],
    [`[${MINIMAL},${booking('"status":1')}]`, "/1/data/appointment/status"],
    [`[${booking("", '"id":1')},${booking("", '"id":2')}]`, "/0/id", "/1/id"],
  ];
  assert.ok(table.length > 100);
  for (const [body, ...expected] of table) {
    const error = refusal(encode(body));
    assert.equal(error.code, "invalid", body);
    assert.deepEqual(pointers(error).sort(), expected.sort(), body);
    // Every one of them is invalid among valid ones too.
    if (body.startsWith("[")) continue;
    const array = refusal(encode(`[${MINIMAL},${body}]`));
    assert.deepEqual(
      pointers(array).sort(),
      expected.map((pointer) => `/1${pointer}`).sort(),
      body,
    );
  }
});

Deno.test("parseIngest() numbers the events of NDJSON, not its lines", () => {
  const error = refusal(encode(`${MINIMAL}\n\n[]\n${booking('"notes":1')}\n`), "ndjson");
  assert.equal(error.code, "invalid");
  assert.deepEqual(pointers(error), ["/1", "/2/data/appointment/notes"]);
  for (const body of ["", "\n", " \r\n\t\n"]) {
    assert.deepEqual(pointers(refusal(encode(body), "ndjson")), [""]);
  }
});

Deno.test("parseIngest() describes each mistake in words", () => {
  const table: [string, string][] = [
    ["5", "Must be an object {event, timestamp, data}, not a number"],
    ["{}", "Is missing"],
    [withTime("5"), "Must be a string, not a number"],
    [withTime('"x"'), "Must be an RFC 3339 date-time such as 2025-10-31T15:30:00Z"],
    [booking("", '"id":""'), "Must have 1 to 255 characters, none of them a control character"],
    [withData("booking.created", '{"appointment":{}}'), "Is missing"],
    [withData("booking.created", '{"appointment":[]}'), "Must be an object, not an array"],
    [booking('"status":true'), "Must be a string, not a boolean"],
    [booking('"service":{"price":"1"}'), "Must be an integer, not a string"],
    [booking('"service":{"price":1.5}'), "Must be an integer, not a fraction"],
    [
      withData("service.updated", '{"service":{"id":"s","updatedFields":1}}'),
      "Must be an array of strings, not a number",
    ],
    ["[]", "The array has no event; post at least one"],
  ];
  for (const [body, message] of table) {
    assert.equal(refusal(encode(body)).detail.errors?.[0]?.message, message, body);
  }
});

Deno.test("parseIngest() lists the known types for an unknown one, and shortens that", () => {
  const error = refusal(encode(withData("booking.create", "{}")));
  const message = error.detail.errors?.[0]?.message ?? "";
  assert.match(message, /^Unknown event type "booking\.create"; known are booking\.created, /);
  for (const name of TYPES.names) assert.ok(message.includes(name), name);
  const long = refusal(encode(withData("x".repeat(10_000), "{}")));
  assert.ok((long.detail.errors?.[0]?.message.length ?? 0) < 500);
});

Deno.test("parseIngest() names the first mistake in its message and counts the rest", () => {
  assert.equal(
    refusal(encode(`[${booking('"status":1,"notes":2')}]`)).message,
    "Invalid payload at /0/data/appointment/status: Must be a string, not a number (and 1 more)",
  );
  assert.equal(
    refusal(encode("5")).message,
    "Invalid payload: Must be an object {event, timestamp, data}, not a number",
  );
});

Deno.test("parseIngest() keeps values out of its messages", () => {
  const secret = "hunter2";
  for (
    const body of [
      booking("", `"id":"${secret}\\n"`),
      booking(`"service":{"price":"${secret}"}`),
      booking(`"business":{"id":"${secret}\\n"}`),
      withTime(`"${secret}"`),
      `"${secret}"`,
      `{"${secret}`,
    ]
  ) {
    const error = refusal(encode(body));
    assert.ok(!(error.message + JSON.stringify(error.detail)).includes(secret), body);
  }
});

Deno.test("parseIngest() refuses more than a thousand events", () => {
  const many = Array(MAX_EVENTS + 1).fill(MINIMAL);
  for (const [body, format] of [[`[${many}]`, "json"], [many.join("\n"), "ndjson"]] as const) {
    const error = refusal(encode(body), format);
    assert.equal(error.code, "too_large");
    assert.match(error.message, /at most 1000/);
  }
});

Deno.test("parseIngest() withstands nesting of any depth", () => {
  const depth = 100_000;
  const codes: [string, ErrorCode][] = [
    ["[".repeat(depth) + "]".repeat(depth), "invalid"],
    ['{"a":'.repeat(depth) + "1" + "}".repeat(depth), "invalid"],
    ["[".repeat(depth), "malformed"],
    ['{"a":['.repeat(depth) + "}", "malformed"],
    [booking(`"x":${"[".repeat(depth)}${"]".repeat(depth)}`), "invalid"],
    [`[${booking(`"x":${"[".repeat(depth)}${"]".repeat(depth)}`)}]`, "invalid"],
    [
      withData("booking.created", '{"appointment":'.repeat(depth) + "{}" + "}".repeat(depth)),
      "invalid",
    ],
  ];
  for (const [body, code] of codes) {
    assert.equal(refusal(encode(body)).code, code, body.slice(0, 40));
    assert.equal(refusal(encode(body), "ndjson").code, code, body.slice(0, 40));
  }
});

Deno.test("parseIngest() bounds what it lists", () => {
  const fields = `[${Array(500_000).fill("1")}]`;
  const error = refusal(
    encode(withData("service.updated", `{"service":{"id":"s","updatedFields":${fields}}}`)),
  );
  assert.deepEqual(pointers(error), ["/data/service/updatedFields/0"]);
  const some = `{"service":{"id":"s","updatedFields":[${Array(2000).fill("1")}]}}`;
  const many = refusal(encode(withData("service.updated", some)));
  assert.equal(many.detail.errors?.length, MAX_MISTAKES);
  assert.match(many.message, /and 1999 more/);
  // Three mistakes each: after the 334th event there is no more to list.
  const batch = refusal(encode(`[${Array(MAX_EVENTS).fill("{}")}]`));
  assert.equal(batch.detail.errors?.length, MAX_MISTAKES);
  assert.match(batch.message, /and 1001 more/);
});

Deno.test("parseIngest() gets through a hostile body", () => {
  // A quadratic step never ends within a test run's patience; without one each takes milliseconds.
  const length = 1_000_000;
  const bodies = [
    booking(`"notes":"${"\\\\".repeat(length / 2)}"`),
    booking(`"notes":"${'\\"'.repeat(length / 2)}"`),
    `[${booking(`"notes":"${'\\"'.repeat(length / 2)}"`)}]`,
    `["${"a".repeat(length)}`,
    `["${"\\n".repeat(length / 2)}`,
    `[${"1,".repeat(length / 2)}`,
    `[${"1".repeat(length)}.`,
    "\n".repeat(length),
    " ".repeat(length),
    `${'{"":'.repeat(length / 4)}x`,
  ];
  for (const body of bodies) {
    for (const format of ["json", "ndjson"] as const) {
      try {
        parse(body, format);
      } catch (error) {
        assert.ok(error instanceof AppError, String(error));
      }
    }
  }
});

Deno.test("parseIngest() throws nothing but AppError, whatever the bytes", () => {
  const sample = encode(`[${sampleOf("booking.created")},${sampleOf("service.updated")}]`);
  const garbled = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }).map(
    (hits) => {
      const bytes = sample.slice();
      for (const [at, byte] of hits) bytes[at % bytes.length] = byte;
      return bytes;
    },
  );
  const body = fc.oneof(garbled, fc.uint8Array({ maxLength: 40 }), fc.json().map(encode));
  fc.assert(
    fc.property(body, fc.constantFrom<Format>("json", "ndjson"), (bytes, format) => {
      try {
        parseIngest(bytes, format, TYPES);
      } catch (error) {
        assert.ok(error instanceof AppError, String(error));
        assert.ok(["malformed", "invalid"].includes(error.code));
        assert.match(error.message, /^[A-Z].*[^.]$/s);
      }
    }),
    { numRuns: 1000 },
  );
});
