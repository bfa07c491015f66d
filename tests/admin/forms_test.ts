import assert from "node:assert/strict";
import type { AdminContext } from "../../lib/admin/context.ts";
import { actOnce, findNote, newOnce } from "../../lib/admin/forms.ts";
import { findSession, openSession } from "../../lib/admin/sessions.ts";
import { AppError } from "../../lib/core/errors.ts";
import { Secret } from "../../lib/core/secret.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { oldSessions } from "../../lib/maintenance/sessions.ts";
import { runJob } from "../../lib/maintenance/schedule.ts";
import { administer } from "../support/admin.ts";
import { ADMIN } from "../support/daemon.ts";
import { onBoth } from "../support/databases.ts";

const TOKEN = { name: "ops", token: new Secret(ADMIN), role: "admin", payloads: true } as const;

/** Administers with that token configured. */
async function withToken(...given: Parameters<typeof administer>): Promise<AdminContext> {
  const ctx = await administer(...given);
  const in_force = { ...ctx.in_force(), tokens: [TOKEN] };
  return { ...ctx, in_force: () => in_force };
}

onBoth("a form submitted twenty times at once is done once, and all go the same way", async (
  database,
) => {
  await using db = await database.open();
  const ctx = await withToken(db, { database: database.section });
  const cookie = await openSession(ctx, TOKEN);
  const once = newOnce();
  let done = 0;
  const act = async () => {
    const nth = ++done;
    // The others arrive meanwhile.
    await db.admin`select 1`;
    return { location: `/dashboard/replays/${nth}`, note: { text: "Started" } };
  };
  const locations = await Promise.all(
    Array.from({ length: 20 }, () => actOnce(ctx, cookie, once, act)),
  );
  assert.equal(done, 1);
  assert.deepEqual(new Set(locations), new Set([`/dashboard/replays/1?note=${once}`]));
  assert.equal(await actOnce(ctx, cookie, once, act), `/dashboard/replays/1?note=${once}`);
  assert.deepEqual(await findNote(ctx, cookie, once, "/dashboard/replays/1?a=b"), {
    text: "Started",
  });
  // Another form of the same session, and the same one of another session.
  await actOnce(ctx, cookie, newOnce(), act);
  await actOnce(ctx, await openSession(ctx, TOKEN), once, act);
  assert.equal(done, 3);
});

onBoth("a refused form can be sent again; one that broke off cannot", async (database) => {
  await using db = await database.open();
  const ctx = await withToken(db, { database: database.section });
  const cookie = await openSession(ctx, TOKEN);
  const once = newOnce();
  const refusal = new AppError("invalid", "The URL is not valid");
  await assert.rejects(actOnce(ctx, cookie, once, () => Promise.reject(refusal)), refusal);
  const at = () => Promise.resolve({ location: "/dashboard?a=1#top" });
  assert.equal(await actOnce(ctx, cookie, once, at), "/dashboard?a=1#top");
  const other = newOnce();
  const bug = new TypeError("undefined is not a function");
  await assert.rejects(actOnce(ctx, cookie, other, () => Promise.reject(bug)), bug);
  await assert.rejects(actOnce(ctx, cookie, other, at), /it may be done, or not/);
  for (const none of ["", "short", "x".repeat(65), "a".repeat(20) + "'"]) {
    await assert.rejects(actOnce(ctx, cookie, none, at), /The form is not complete/);
  }
});

onBoth("only the cookie opens a note, for two minutes, and no row has it in plain text", async (
  database,
) => {
  await using db = await database.open();
  const ctx = await withToken(db, { database: database.section });
  const cookie = await openSession(ctx, TOKEN);
  const once = newOnce();
  const note = { text: "Rotated", values: { secret: "whsec_quince" } };
  await actOnce(ctx, cookie, once, () => Promise.resolve({ location: "/dashboard", note }));
  assert.deepEqual(await findNote(ctx, cookie, once, "/dashboard"), note);
  assert.deepEqual(
    await findNote(ctx, cookie, once, "/dashboard"),
    note,
    "a reload shows it again",
  );
  assert.equal(await findNote(ctx, cookie, once, "/dashboard/endpoints/crm"), null, "elsewhere");
  assert.equal(await findNote(ctx, await openSession(ctx, TOKEN), once, "/dashboard"), null);
  const rows = await db.admin`
    select encode(note, 'escape') as note, f::text as whole from session_forms f`;
  assert.doesNotMatch(JSON.stringify(rows), /quince|Rotated/);
  const sessions = await db.admin`select s::text as whole from sessions s`;
  assert.ok(!JSON.stringify([...rows, ...sessions]).includes(cookie));
  await db.admin`update session_forms set done_at = done_at - interval '121 s'`;
  assert.equal(await findNote(ctx, cookie, once, "/dashboard"), null);
});

onBoth("sessions that are over are removed with their forms, and so are old notes", async (
  database,
) => {
  await using db = await database.open();
  const ctx = await withToken(db, { database: database.section });
  const [old, present] = [await openSession(ctx, TOKEN), await openSession(ctx, TOKEN)];
  const act = () => Promise.resolve({ location: "/dashboard", note: { text: "Paused" } });
  for (const cookie of [old, present]) await actOnce(ctx, cookie, newOnce(), act);
  await actOnce(ctx, present, newOnce(), act);
  await db.admin`
    update sessions set expires_at = now() - interval '1 s' where digest = (
      select session from session_forms order by done_at limit 1)`;
  await db.admin`
    update session_forms set done_at = now() - interval '121 s' where ctid = (
      select ctid from session_forms order by done_at desc limit 1)`;
  assert.equal(await findSession(ctx, "operator", old, null), undefined);
  const log = makeLog(() => {}, "json");
  const work = { db, log, signals: makeSignals() };
  await runJob(work as never, oldSessions, new AbortController().signal);
  const [left] = await db.admin`
    select (select count(*)::int from sessions) as sessions, (select count(*)::int from session_forms) as forms,
      (select count(*)::int from session_forms where note is not null) as notes`;
  assert.deepEqual({ ...left }, { sessions: 1, forms: 2, notes: 1 });
  assert.equal((await findSession(ctx, "operator", present, null))?.name, "ops");
});
