import assert from "node:assert/strict";
import * as endpoints from "../../lib/admin/endpoints.ts";
import { checkSignature } from "../../lib/admin/signature.ts";
import { AppError } from "../../lib/core/errors.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { administer, asker } from "../support/admin.ts";
import { endpoint, SECRET } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";

const ops = asker("ops", "everything");
const URL = "https://example.com/hook";

onServer(
  "createEndpoint() and changeEndpoint() refuse mistakes by themselves",
  async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, { database: database.section });
    const pointers = async (asked: Promise<unknown>) => {
      const error = await asked.then(() => undefined, (error) => error);
      assert.ok(error instanceof AppError, String(error));
      return [error.code, ...(error.detail.errors ?? []).map(({ pointer }) => pointer)];
    };
    const bad = {
      url: "http://10.0.0.1/",
      events: ["booking.*", "booking.created"],
      secret: "short",
    };
    assert.deepEqual(await pointers(endpoints.createEndpoint(ctx, ops, bad)), [
      "invalid",
      "/url",
      "/events/1",
      "/secret",
    ]);
    const { id } = await endpoints.createEndpoint(ctx, ops, { url: URL, events: ["*"] });
    const patch = { headers: { host: "elsewhere" } };
    assert.deepEqual(await pointers(endpoints.changeEndpoint(ctx, ops, id, patch)), [
      "invalid",
      "/headers/host",
    ]);
    assert.equal((await endpoints.getEndpoint(ctx, ops, id)).version, 1);
  },
);

onServer("changeEndpoint() loses none of several changes at once", async (database) => {
  await using db = await database.open();
  const ctx = await administer(db, { database: database.section });
  const { id } = await endpoints.createEndpoint(ctx, ops, { url: URL, events: ["*"] });
  await Promise.all([
    endpoints.changeEndpoint(ctx, ops, id, { description: "Both" }),
    endpoints.changeEndpoint(ctx, ops, id, { timeout_ms: 5_000 }),
    endpoints.rotateSecret(ctx, ops, id, { activate: "now", overlap: 60_000 }),
  ]);
  const shown = await endpoints.getEndpoint(ctx, ops, id);
  assert.deepEqual([shown.description, shown.timeout_ms, shown.version], ["Both", 5_000, 4]);
  assert.notEqual(shown.rotation, null);
});

onServer("changeEndpoint() leaves the secret alone", async (database) => {
  await using db = await database.open();
  const ctx = await administer(db, { database: database.section });
  const input = { url: URL, events: ["*"], secret: SECRET, headers: { "X-A": "kept" } };
  const { id } = await endpoints.createEndpoint(ctx, ops, input);
  await endpoints.changeEndpoint(ctx, ops, id, { timeout_ms: 5_000 });
  const changed = await endpoints.changeEndpoint(ctx, ops, id, {
    headers: { "X-A": "[redacted]" },
  });
  assert.deepEqual(changed.headers, { "X-A": "[redacted]" });
  const headers = {
    "x-bookme-signature": makeSigner(SECRET).bookme(new TextEncoder().encode("{}")),
  };
  const asked = { endpoint: id, body: "{}", body_encoding: "utf-8", headers } as const;
  const { valid } = await checkSignature(ctx, ops, asked);
  assert.equal(valid, true);
});

onServer("checkSignature() knows the endpoint's secrets, old and new", async (database) => {
  await using db = await database.open();
  const ctx = await administer(db, {
    database: database.section,
    endpoints: [endpoint("file", URL), endpoint("plain", URL, { unsigned: true })],
  });
  const body = '{"event":"booking.created"}';
  const { id, secret: old } = await endpoints.createEndpoint(ctx, ops, { url: URL, events: ["*"] });
  const { secret } = await endpoints.rotateSecret(ctx, ops, id, {
    activate: "now",
    overlap: 60_000,
  });
  const ends: (string | null)[] = [];
  const check = async (id: string, secret: string | null) => {
    const signature = makeSigner(secret ?? "").bookme(new TextEncoder().encode(body));
    const checked = await checkSignature(ctx, ops, {
      endpoint: id,
      body,
      body_encoding: "utf-8",
      headers: { "X-BookMe-Signature": signature },
    });
    ends.push(checked.previous_ends_at);
    const [{ header, mistakes } = assert.fail("no finding")] = checked.findings;
    assert.equal(header, "X-BookMe-Signature");
    return mistakes;
  };
  assert.deepEqual(await check(id, secret), []);
  assert.deepEqual(await check(id, old), ["previous_secret"]);
  const { rotation } = await endpoints.getEndpoint(ctx, ops, id);
  assert.deepEqual(ends, [rotation?.overlap_ends_at, rotation?.overlap_ends_at]);
  assert.deepEqual(await check("file", SECRET), []);
  assert.deepEqual(await check("file", secret), ["unknown"]);
  await assert.rejects(check("plain", SECRET), { code: "conflict" });
});
