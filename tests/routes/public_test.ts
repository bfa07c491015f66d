import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { EVENT_TYPES, makeEventTypes } from "../../lib/core/event_types.ts";
import { parseIngest } from "../../lib/core/payload.ts";
import { openApiDocument } from "../../routes/api/openapi.ts";
import { PUBLIC_OPERATIONS } from "../../routes/api/public.ts";
import { OPERATIONS } from "../../routes/api/routes.ts";
import { checkedApi } from "../support/checked.ts";
import { ADMIN, booking, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo, freshDatabase, startPostgres } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

const JSON_TYPE = "application/json";
const NDJSON_TYPE = "application/x-ndjson";

onBoth("every public route answers as the document says", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    ingest: { max_body: "64KiB" },
  });
  const api = await checkedApi(daemon);
  const post = async (status: number, body: BodyInit, headers: Record<string, string> = {}) => {
    const answered = await api.fetch("POST", "/ingest", {
      headers: { "content-type": JSON_TYPE, ...headers },
      body,
    });
    assert.equal(answered.status, status, JSON.stringify(answered.body));
    return answered.body;
  };
  const event = JSON.stringify(booking("apt_1", "bus_1"));
  const first = await post(202, event, { "idempotency-key": "k" });
  assert.deepEqual(await post(200, event, { "idempotency-key": "k" }), {
    ...first,
    duplicate: true,
  });
  assert.equal((await post(202, `[${event},${event}]`)).length, 2);
  assert.equal(
    (await post(202, `${event}\n${event}\n`, { "content-type": NDJSON_TYPE })).length,
    2,
  );
  const refusals = [
    await post(400, "{"),
    await post(403, event, { "x-bookme-delivery-id": "dlv_1" }),
    await post(409, `${event} `, { "idempotency-key": "k" }),
    await post(413, `[${Array(1001).fill(event).join(",")}]`.slice(0, 65_537)),
    await post(415, event, { "content-type": "text/plain" }),
    await post(422, "{}"),
    await post(422, event, { "x-bookme-business": "bus_2" }),
  ];
  assert.deepEqual(refusals.map(({ code }) => code), [
    "malformed",
    "loop",
    "conflict",
    "too_large",
    "unsupported_media_type",
    "invalid",
    "invalid",
  ]);
  for (const path of ["/livez", "/readyz", "/ip-ranges"]) {
    assert.equal((await api.fetch("GET", path)).status, 200);
  }
  const headers = { authorization: `Bearer ${ADMIN}` };
  assert.equal((await api.fetch("GET", "/metrics", { headers })).status, 200);
  assert.equal((await api.fetch("GET", "/metrics")).status, 401);
  const openapi = await api.fetch("GET", "/openapi.json", { headers });
  assert.deepEqual(openapi.body, api.document);
  assert.equal((await api.fetch("GET", "/openapi.json")).status, 401);
  const missing = PUBLIC_OPERATIONS.map(({ id }) => id).filter((id) => !api.succeeded.has(id));
  assert.deepEqual(missing, [], "operations that no test has seen succeed");
});

onServer("POST /ingest refuses by signature and address as the document says", async (database) => {
  const body = JSON.stringify(booking("apt_1", "bus_1"));
  const secret = "a-secret-of-bookme-that-is-long-enough";
  const sections = { database: database.section, secrets: { bookme: secret } };
  {
    await using daemon = await startDaemon({ ...sections, ingest: { secret: "bookme" } });
    const api = await checkedApi(daemon);
    const post = (headers: Record<string, string>) =>
      api.fetch("POST", "/ingest", { headers: { "content-type": JSON_TYPE, ...headers }, body });
    assert.equal((await post({})).status, 401);
    const { securitySchemes } = api.document["components"] as {
      securitySchemes: { signature: { name: string } };
    };
    const signature = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
    assert.equal((await post({ [securitySchemes.signature.name]: signature })).status, 202);
  }
  await using daemon = await startDaemon({
    ...sections,
    environment: "development",
    server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.0/8"] },
  });
  const api = await checkedApi(daemon);
  const { status, body: { code } } = await api.fetch("POST", "/ingest", {
    headers: { "content-type": JSON_TYPE, "x-forwarded-for": "203.0.113.9" },
    body,
  });
  assert.deepEqual([status, code], [403, "forbidden"]);
});

Deno.test("POST /ingest and GET /readyz answer an outage as the document says", async () => {
  const own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using daemon = await startDaemon({ database: { url } });
  const api = await checkedApi(daemon);
  {
    await using sql = connectTo(url);
    await sql.unsafe("alter table events rename to events_away");
  }
  await until("posts are refused", async () => {
    const { status } = await api.fetch("POST", "/ingest", {
      headers: { "content-type": JSON_TYPE },
      body: JSON.stringify(booking("apt_1", "bus_1")),
    });
    return status === 503;
  });
  await own[Symbol.asyncDispose]();
  await until("it is not ready", async () => (await api.fetch("GET", "/readyz")).status === 503);
});

/** Bodies that the document and the parser must agree on. */
const BODIES: readonly unknown[] = [
  ...EVENT_TYPES.map(({ sample }) => JSON.parse(sample)),
  ...EVENT_TYPES.map(({ name }) => ({ ...booking("apt_1"), event: name })),
  [],
  [booking("apt_1"), booking("apt_2")],
  [booking("apt_1"), {}],
  null,
  "text",
  7,
  {},
  ...["event", "timestamp", "data"].flatMap((member) => [
    { ...booking("apt_1"), [member]: undefined },
    { ...booking("apt_1"), [member]: null },
    { ...booking("apt_1"), [member]: 1 },
    { ...booking("apt_1"), [member]: "" },
    { ...booking("apt_1"), [member]: [] },
  ]),
  ...["2025-10-31", "2025-10-31T15:30:00", "2025-10-31T15:30:00+02:00", "2025-02-30T00:00:00Z"]
    .map((timestamp) => ({ ...booking("apt_1"), timestamp })),
  ...["id", "business"].flatMap((member) =>
    ["x", null, "", 1, "a\nb", "x".repeat(255), "x".repeat(256), "😀".repeat(255), "\ud800"].map((
      value,
    ) => ({ event: "custom.done", timestamp: "2025-10-31T15:30:00Z", data: {}, [member]: value }))
  ),
  ...["custom.done", "custom", "webhooks.alert.began", "Booking.created"].map((event) => ({
    event,
    timestamp: "2025-10-31T15:30:00Z",
    data: { anything: [1, { at: "all" }] },
  })),
  { ...booking("apt_1"), more: { members: "pass" } },
  ...[{ id: 1 }, { id: "" }, {}, { id: "apt_1", notes: 5 }, {
    id: "apt_1",
    service: { price: 1.5 },
  }]
    .map((appointment) => ({ ...booking("apt_1"), data: { appointment } })),
  { ...booking("apt_1"), data: { appointment: { id: "apt_1", business: null, more: 1 } } },
];

Deno.test("the document accepts the bodies of POST /ingest that the parser accepts, and no others", () => {
  const document = JSON.parse(JSON.stringify(openApiDocument(OPERATIONS)));
  const ajv = new Ajv2020({ strict: false });
  (formats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addSchema(document, "document");
  const place = "paths/~1ingest/post/requestBody/content/application~1json/schema";
  const validate = ajv.compile({ $ref: `document#/${place}` });
  const types = makeEventTypes([{ name: "custom.done", description: "" }]);
  const verdicts = { accepted: 0, refused: 0 };
  for (const body of BODIES) {
    const text = JSON.stringify(body);
    let parsed = true;
    try {
      parseIngest(new TextEncoder().encode(text), "json", types);
    } catch {
      parsed = false;
    }
    assert.equal(validate(JSON.parse(text)), parsed, text.slice(0, 200));
    verdicts[parsed ? "accepted" : "refused"]++;
  }
  assert.ok(verdicts.accepted > 15 && verdicts.refused > 30, JSON.stringify(verdicts));
});
