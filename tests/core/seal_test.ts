import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createDecipheriv, randomBytes } from "node:crypto";
import {
  isSealedUnder,
  NONCE_BYTES,
  parseSealKey,
  seal,
  type SealedContent,
  unseal,
} from "../../lib/core/seal.ts";
import { firstExpiry, rotate, signingAt } from "../../lib/core/rotation.ts";
import { rekey } from "../../lib/maintenance/sealed_secrets.ts";
import { checkedApi } from "../support/checked.ts";
import { booking, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const KEY_TEXT = randomBytes(32).toString("base64");
const KEY = parseSealKey(KEY_TEXT);
const OTHER_TEXT = randomBytes(32).toString("hex");
const OTHER = parseSealKey(OTHER_TEXT);
const CONTENT: SealedContent = {
  secrets: [{ secret: "a-secret-of-at-least-24-ü", activates_at: 0, expires_at: null }],
  headers: { "X-Key": "value" },
};
const sealed = () => seal(CONTENT, "ep_1", KEY, randomBytes(NONCE_BYTES));

Deno.test("unseal() opens what seal() made, under whichever key it was", () => {
  assert.deepEqual(unseal(sealed(), "ep_1", [KEY]), CONTENT);
  assert.deepEqual(unseal(sealed(), "ep_1", [OTHER, KEY]), CONTENT);
  assert.ok(isSealedUnder(sealed(), KEY) && !isSealedUnder(sealed(), OTHER));
});

Deno.test("seal() is AES-256-GCM with the endpoint's id as associated data", () => {
  const bytes = Buffer.from(sealed());
  assert.equal(bytes[0], 1);
  assert.equal(bytes.subarray(1, 5).toString("hex"), KEY.id);
  const decipher = createDecipheriv("aes-256-gcm", KEY.bytes, bytes.subarray(5, 17));
  decipher.setAAD(Buffer.from("ep_1"));
  decipher.setAuthTag(bytes.subarray(-16));
  const text = decipher.update(bytes.subarray(17, -16), undefined, "utf8") + decipher.final("utf8");
  assert.deepEqual(JSON.parse(text), CONTENT);
  assert.notDeepEqual(sealed(), sealed(), "a nonce of its own each time");
});

Deno.test("unseal() refuses another endpoint, another key and every changed bit", () => {
  const refused = (bytes: Uint8Array, id: string, keys = [KEY]) =>
    assert.throws(() => unseal(bytes, id, keys), { code: "conflict" });
  refused(sealed(), "ep_2");
  refused(sealed(), "ep_1", []);
  refused(sealed(), "ep_1", [OTHER]);
  const bytes = sealed();
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    refused(damaged, "ep_1");
  }
  for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length), "ep_1");
  // Known to the key by its id, but made under another.
  refused(sealed(), "ep_1", [{ ...OTHER, id: KEY.id }]);
});

Deno.test("parseSealKey() takes 32 bytes in base64 or hexadecimal digits, and shows none", () => {
  const bytes = randomBytes(32);
  for (const encoding of ["hex", "base64", "base64url"] as const) {
    assert.deepEqual(Buffer.from(parseSealKey(bytes.toString(encoding)).bytes), bytes);
  }
  for (
    const text of [
      "",
      "short",
      randomBytes(31).toString("hex"),
      randomBytes(33).toString("base64"),
      `${KEY_TEXT}x`,
      "!".repeat(44),
    ]
  ) {
    assert.throws(
      () => parseSealKey(text),
      (error: Error) => text === "" || !error.message.includes(text),
    );
  }
});

const HOUR = 3_600_000;
const one = (secret: string, activates_at: number, expires_at: number | null = null) => ({
  secret,
  activates_at,
  expires_at,
});
const names = (secrets: readonly { secret: string }[]) => secrets.map(({ secret }) => secret);

Deno.test("rotate() and signingAt() hand over from one secret to the next", () => {
  const now = 1_000 * HOUR;
  const rotated = rotate([one("old", 0)], "new", now + HOUR, 24 * HOUR, now);
  const at = (time: number) => names(signingAt(rotated, time));
  assert.deepEqual(at(now), ["old", "new"]);
  assert.deepEqual(at(now + HOUR - 1), ["old", "new"]);
  assert.deepEqual(at(now + HOUR), ["new", "old"]);
  assert.deepEqual(at(now + 25 * HOUR - 1), ["new", "old"]);
  assert.deepEqual(at(now + 25 * HOUR), ["new"]);
  assert.equal(firstExpiry(rotated), now + 25 * HOUR);
  assert.equal(firstExpiry([one("only", 0)]), null);
});

Deno.test("rotate() without an overlap hands over at once", () => {
  const rotated = rotate([one("old", 0)], "new", 10, 0, 10);
  assert.deepEqual(names(rotated), ["new"]);
});

Deno.test("rotate() again: what was not active yet is dropped, overlaps never grow, at most five sign", () => {
  const first = rotate([one("a", 0)], "b", 100, 50, 10);
  assert.deepEqual(names(rotate(first, "c", 20, 50, 20)), ["a", "c"], "b had not signed");
  const second = rotate(first, "c", 120, 1000, 110);
  assert.deepEqual(second, [one("a", 0, 150), one("b", 100, 1120), one("c", 120)]);
  let many = [one("s0", 0)] as ReturnType<typeof rotate>;
  for (let i = 1; i < 5; i++) many = rotate(many, `s${i}`, i, 1000, i);
  assert.throws(() => rotate(many, "s5", 5, 1000, 5), { code: "conflict" });
  assert.deepEqual(names(rotate(many, "s5", 5, 0, 5)), ["s5"]);
  assert.throws(() => rotate([one("a", 0)], "a", 5, 0, 5), { code: "invalid" });
});

Deno.test("signingAt() says nothing of an unsigned endpoint", () => {
  assert.deepEqual(signingAt([], 5), []);
});

onServer(
  "rekey() seals every endpoint under the first key, and again does nothing",
  async (database) => {
    await using receiver = await startReceiver();
    Deno.env.set("SEAL_TEST_KEY", KEY_TEXT);
    Deno.env.set("SEAL_TEST_OTHER", OTHER_TEXT);
    const sections = { database: database.section };
    {
      await using daemon = await startDaemon({ ...sections, encryption_key: "env:SEAL_TEST_KEY" });
      const api = await checkedApi(daemon);
      for (let i = 0; i < 3; i++) {
        await api.expect(201, "POST", "endpoints", { url: `${receiver.url}/${i}`, events: ["*"] });
      }
    }
    const db = await database.open();
    try {
      await assert.rejects(rekey(db, []), { code: "conflict" });
      const lost = await rekey(db, [OTHER]);
      assert.equal(lost.resealed, 0);
      assert.equal(lost.unreadable.length, 3);
      assert.deepEqual(await rekey(db, [OTHER, KEY]), { resealed: 3, unreadable: [] });
      assert.deepEqual(await rekey(db, [OTHER, KEY]), { resealed: 0, unreadable: [] });
      assert.deepEqual(await rekey(db, [OTHER]), { resealed: 0, unreadable: [] });
    } finally {
      await db.close();
    }
    await using daemon = await startDaemon({
      ...sections,
      encryption_key: ["env:SEAL_TEST_OTHER"],
    });
    await daemon.post(booking("apt_1"));
    await receiver.received(3);
    const { body } = await (await checkedApi(daemon)).expect(200, "GET", "audit?actor=rekey");
    assert.equal(body.data.length, 1);
  },
);

onServer("a change that read an endpoint before a rekey does not undo it", async (database) => {
  const { url } = database.section as { url: string };
  await using receiver = await startReceiver();
  Deno.env.set("SEAL_TEST_KEY", KEY_TEXT);
  Deno.env.set("SEAL_TEST_OTHER", OTHER_TEXT);
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ["env:SEAL_TEST_KEY", "env:SEAL_TEST_OTHER"],
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  // As rekey() writes it, but committed only when the change has been made of what was there before.
  await using sql = connectTo(url);
  await using watch = connectTo(url);
  const [row] = await sql`select sealed from endpoints where id = ${made.id}`;
  const content = unseal(row?.sealed, made.id, [KEY]);
  const next = seal(content, made.id, OTHER, randomBytes(NONCE_BYTES));
  await sql.unsafe("begin");
  await sql`update endpoints set sealed = ${Buffer.from(next)} where id = ${made.id}`;
  const changed = api.expect(200, "PATCH", `endpoints/${made.id}`, { description: "changed" });
  try {
    await until("the change waits for the row", async () => {
      const waiting = await watch`
        select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
      return waiting.length > 0;
    });
  } finally {
    await sql.unsafe("commit");
  }
  assert.equal((await changed).body.description, "changed");
  const [after] = await sql`select sealed from endpoints where id = ${made.id}`;
  assert.deepEqual(unseal(after?.sealed, made.id, [OTHER]), content);
});

onBoth("the embedded database makes a key once, for its owner only", async (database) => {
  if (!("directory" in database.section)) return;
  const path = `${database.section.directory}/encryption.key`;
  await using receiver = await startReceiver();
  {
    await using daemon = await startDaemon({ database: database.section });
    assert.equal((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
    const api = await checkedApi(daemon);
    await api.expect(201, "POST", "endpoints", { url: receiver.url, events: ["*"] });
  }
  const key = Deno.readTextFileSync(path);
  await using daemon = await startDaemon({ database: database.section });
  assert.equal(Deno.readTextFileSync(path), key);
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  assert.ok(!JSON.stringify(daemon.log).includes(key.trim()));
});
