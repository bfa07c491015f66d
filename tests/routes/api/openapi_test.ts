import assert from "node:assert/strict";
import { Validator } from "@seriousme/openapi-schema-validator";
import { OPERATIONS } from "../../../routes/api/routes.ts";
import { openApiDocument } from "../../../routes/api/openapi.ts";
import { putAlert, stopJudging } from "../../support/alerts.ts";
import { checkedApi, type Document, ENCRYPTION_KEY, makeAjv } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";

interface Parameter {
  readonly name: string;
  readonly schema: { readonly default?: unknown };
}

/** Operations whose answers are no JSON, with tests of their own. */
const STREAMED = ["followChanges", "takeBackup"];

const document = openApiDocument(OPERATIONS) as unknown as Document;

Deno.test("openApiDocument() is OpenAPI 3.1 to a linter", async () => {
  const validator = new Validator();
  const result = await validator.validate(JSON.parse(JSON.stringify(document)));
  assert.deepEqual(result.errors ?? [], []);
  assert.equal(result.valid, true);
  assert.equal(validator.version, "3.1");
});

Deno.test("openApiDocument() has unique ids, tags that exist and no reference to nowhere", () => {
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
  const ids = operations.map(({ operationId }) => operationId);
  assert.equal(new Set(ids).size, ids.length);
  const text = JSON.stringify(document);
  for (const [, name = ""] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const target = name.split("/").reduce<unknown>(
      (value, key) => (value as Record<string, unknown> | undefined)?.[key],
      document,
    );
    assert.ok(target, `#/${name}`);
  }
  const ajv = makeAjv(document);
  for (const operation of operations) {
    for (const { name, schema } of (operation.parameters ?? []) as Parameter[]) {
      if (schema.default === undefined) continue;
      assert.ok(ajv.validate(schema, schema.default), `${operation.operationId}: ${name}`);
    }
  }
  assert.ok(!text.includes("$defs"), "every schema is a component or written out");
});

Deno.test("openApiDocument() has an example for every operation that fits its schemas", () => {
  const ajv = makeAjv(document);
  let examples = 0;
  const visit = (value: unknown, pointer: string): void => {
    if (typeof value !== "object" || value === null) return;
    const { schema, example, examples: named = {} } = value as {
      schema?: unknown;
      example?: unknown;
      examples?: Readonly<Record<string, { readonly value: unknown }>>;
    };
    const all = [
      ...example === undefined ? [] : [example],
      ...Object.values(named).map(({ value }) => value),
    ];
    for (const one of schema === undefined ? [] : all) {
      examples++;
      const validate = ajv.compile({ $ref: encodeURI(`document#${pointer}/schema`) });
      assert.ok(validate(one), `${pointer}: ${ajv.errorsText(validate.errors)}`);
    }
    for (const [key, inner] of Object.entries(value)) {
      if (key === "example" || key === "examples") continue;
      visit(inner, `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`);
    }
  };
  visit(document, "");
  assert.ok(examples > OPERATIONS.length);
  for (const { id, body, example, path } of OPERATIONS) {
    assert.ok(example.response !== undefined, id);
    assert.equal(example.body !== undefined, body !== undefined, id);
    assert.equal(example.id !== undefined, path.includes("{id}"), id);
  }
});

onServer("every operation answers as the document says", async (database) => {
  await using good = await startReceiver();
  await using bad = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("file", bad.url, { retry: ["0s"] })],
  });
  const api = await checkedApi(daemon);
  const made = await api.expect(201, "POST", "endpoints", { url: good.url, events: ["booking.*"] });
  const { id } = made.body;
  await api.expect(200, "GET", "endpoints?limit=1");
  await api.expect(200, "GET", `endpoints/${id}`);
  await api.expect(200, "PATCH", `endpoints/${id}`, { description: "Good", concurrency: 4 });
  await api.expect(200, "POST", `endpoints/${id}/rotate`);
  await api.expect(200, "POST", `endpoints/${id}/overlap`, { ends_at: "now" });
  const test = await api.expect(200, "POST", `endpoints/${id}/test`, { event: "booking.created" });
  assert.equal(test.body.attempt.outcome, "delivered");
  const { body: event } = await daemon.post(booking("apt_1", "bus_1"));
  await daemon.delivery(await daemon.deliveryId(event.id, id));
  const failed = await daemon.delivery(await daemon.deliveryId(event.id, "file"));
  await api.expect(200, "GET", "events?type=booking.created&business=bus_1");
  await api.expect(200, "GET", `events/${event.id}`);
  await api.expect(200, "GET", "deliveries?status=failed");
  await api.expect(200, "GET", `deliveries/${failed.id}`);
  await api.expect(200, "GET", `deliveries/${failed.id}/comparison?attempt=1`);
  await api.expect(200, "POST", `endpoints/file/pause`, { reason: "Mended at noon" });
  await api.expect(200, "POST", `deliveries/${failed.id}/retry`);
  await api.expect(200, "POST", `deliveries/${failed.id}/cancel`);
  const since = new Date(Date.now() - 3_600_000).toISOString();
  await api.expect(200, "POST", "replays", { since, status: ["cancelled"], dry_run: true });
  const replay = await api.expect(201, "POST", "replays", {
    since,
    status: ["delivered"],
    rate: "1/h",
  });
  await api.expect(200, "GET", "replays");
  await api.expect(200, "GET", `replays/${replay.body.id}`);
  await api.call("POST", `replays/${replay.body.id}/cancel`);
  const another = await api.expect(201, "POST", "replays", {
    since,
    status: ["cancelled", "delivered"],
    rate: "1/h",
  });
  await api.expect(200, "POST", `replays/${another.body.id}/cancel`);
  const erasure = await api.expect(201, "POST", "erasures", { subject: "apt_1", dry_run: true });
  await api.expect(200, "GET", "erasures?limit=1");
  await api.expect(200, "GET", `erasures/${erasure.body.id}`);
  await api.expect(200, "POST", `endpoints/file/resume`);
  await api.expect(200, "POST", `endpoints/file/check`);
  const headers = { "X-BookMe-Signature": "sha256=0" };
  await api.expect(200, "POST", "verify", { endpoint: "file", body: "{}", headers });
  await api.expect(200, "DELETE", `endpoints/${id}`);
  const link = await api.expect(201, "POST", "portal-links", { business: "bus_1" });
  await api.expect(200, "GET", "portal-links?business=bus_1");
  await api.expect(200, "GET", `portal-links/${link.body.id}`);
  await api.expect(200, "DELETE", `portal-links/${link.body.id}`);
  await using db = await database.open();
  await stopJudging(db.admin);
  await putAlert(db.admin, { kind: "ingest_silent", began: 0, details: { expected: 12 } });
  const alerts = await api.expect(200, "GET", "alerts?limit=1");
  const [alert] = alerts.body.data;
  await api.expect(200, "POST", `alerts/${alert.id}/snooze`, { for: "1h" });
  await api.expect(200, "POST", `alerts/${alert.id}/acknowledge`);
  await api.expect(200, "POST", "alerts/test", {});
  await api.expect(200, "GET", "event-types");
  await api.expect(200, "GET", "stats?window=1h");
  await api.expect(200, "GET", "config");
  await api.expect(200, "GET", "daemons?limit=1");
  await api.expect(200, "POST", "reload");
  await api.expect(200, "GET", "audit?limit=2");
  const missing = OPERATIONS.map((operation) => operation.id)
    .filter((operation) => !api.succeeded.has(operation) && !STREAMED.includes(operation));
  assert.deepEqual(missing, [], "operations that no test has seen succeed");
});

onServer(
  "GET /openapi.json wants a token of either role, unless it is public",
  async (database) => {
    const get = async (url: string, token?: string) => {
      const response = await fetch(`${url}/openapi.json`, {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      });
      return { status: response.status, body: await response.json() };
    };
    {
      await using daemon = await startDaemon({ database: database.section });
      assert.equal((await get(daemon.url)).status, 401);
      assert.equal((await get(daemon.url, "wrong-token-0123456789")).status, 401);
      for (const token of [ADMIN, VIEWER]) {
        const { status, body } = await get(daemon.url, token);
        assert.equal(status, 200);
        assert.deepEqual(body, JSON.parse(JSON.stringify(document)));
      }
    }
    await using daemon = await startDaemon({
      database: database.section,
      admin: { public: ["openapi"] },
    });
    assert.equal((await get(daemon.url)).status, 200);
  },
);
