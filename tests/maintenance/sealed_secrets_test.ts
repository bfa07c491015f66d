import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { NONCE_BYTES, parseSealKey, seal, unseal } from "../../lib/core/seal.ts";
import { dropExpiredSecrets, rekey } from "../../lib/maintenance/sealed_secrets.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const KEY_TEXT = randomBytes(32).toString("base64");
const KEY = parseSealKey(KEY_TEXT);
const OTHER_TEXT = randomBytes(32).toString("hex");
const OTHER = parseSealKey(OTHER_TEXT);

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

onServer("the sweep forgets a secret whose overlap has ended", async (database) => {
  const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
  let length = 0;
  const lengths = async () => {
    const db = await database.open();
    const rows = await db.admin`
      select length(sealed) as length, secret_expires_at as at from endpoints`.finally(db.close);
    return { length: Number(rows[0]?.length), at: rows[0]?.at };
  };
  {
    await using daemon = await startDaemon(sections);
    const api = await checkedApi(daemon);
    const input = { url: "http://127.0.0.1:1/", events: ["*"] };
    const { body: made } = await api.expect(201, "POST", "endpoints", input);
    await daemon.stop();
    length = (await lengths()).length;
    await using again = await startDaemon(sections);
    await (await checkedApi(again)).expect(200, "POST", `endpoints/${made.id}/rotate`, {
      overlap: "1s",
    });
  }
  const rotated = await lengths();
  assert.ok(rotated.length > length + 40, "both are kept");
  assert.ok(rotated.at instanceof Date);
  const keys = [parseSealKey(Deno.env.get("TEST_ENCRYPTION_KEY") ?? "")];
  const db = await database.open();
  try {
    await until("the overlap has ended", () => Date.now() > Number(rotated.at) + 50);
    assert.equal(await dropExpiredSecrets(db, keys, Date.now(), 100), 1);
    assert.equal(await dropExpiredSecrets(db, keys, Date.now(), 100), 0);
    const [entry] = await db.admin`select actor, action from audit order by id desc limit 1`;
    assert.deepEqual({ ...entry }, { actor: "the sweep", action: "endpoints.secrets_expired" });
  } finally {
    await db.close();
  }
  const swept = await lengths();
  assert.ok(swept.length < rotated.length - 40, "the old one is gone");
  assert.equal(swept.at, null);
});
