import assert from "node:assert/strict";
import { failure } from "../../lib/store/connection/failure.ts";
import { isAstray, isOfConnection, isOutage, isRefusal } from "../../lib/store/errors.ts";
import { isSilence, within } from "../../lib/store/deadline.ts";
import { onServer } from "../support/databases.ts";

const withCode = (code: unknown) => Object.assign(new Error("x"), { code });

for (
  const [code, name, is_outage, is_refusal] of [
    ["08006", "connection failure", true, false],
    ["53300", "too many connections", true, false],
    ["57014", "statement timeout", true, false],
    ["57P01", "shutdown", true, false],
    ["40P01", "deadlock", true, false],
    ["25006", "read-only", true, false],
    ["55P03", "lock not available", true, false],
    ["XX000", "internal error", true, false],
    ["ECONNREFUSED", "no server", true, false],
    ["EAI_AGAIN", "no name", true, false],
    ["CONNECTION_CLOSED", "postgres.js: closed", true, false],
    ["CONNECT_TIMEOUT", "postgres.js: no answer", true, false],
    ["TIMEOUT", "within()", true, false],
    ["22021", "bytes that are no UTF-8", false, true],
    ["23505", "unique violation", false, true],
    ["54000", "program limit", false, true],
    ["42P01", "no such table", true, false],
    ["42501", "no rights", true, false],
    ["28P01", "wrong password", true, false],
    ["42601", "a mistake in a statement", false, false],
    ["EMFILE", "no file descriptors", false, false],
    [undefined, "no code", false, true],
    [5, "a code that is no text", false, true],
  ] as const
) {
  Deno.test(`isOutage() and isRefusal() of ${code} (${name})`, () => {
    const error = withCode(code);
    assert.deepEqual([isOutage(error), isRefusal(error)], [is_outage, is_refusal]);
  });
}

Deno.test("a connection that could not be opened is an outage, whatever its code", () => {
  for (const code of ["55000", "22023", "23505", "0A000", "42704", "54000", "EMFILE", "X"]) {
    const error = failure(code, "answers FATAL: not now");
    assert.deepEqual([isOutage(error), isOfConnection(error), isRefusal(error)], [
      true,
      true,
      false,
    ]);
  }
});

Deno.test("isOutage() and isRefusal() accept anything that was thrown", () => {
  for (const thrown of [undefined, null, "text", 5, {}]) {
    assert.deepEqual([isOutage(thrown), isRefusal(thrown)], [false, true]);
  }
});

onServer("isOutage() and isRefusal() know the errors of a real server", async (database) => {
  await using db = await database.open();
  const thrown = async (query: string) => {
    const [error] = await Promise.allSettled([db.admin.unsafe(query).simple()]);
    assert.equal(error?.status, "rejected");
    return (error as PromiseRejectedResult).reason;
  };
  const refused = await thrown("insert into fleet values (true, 1)");
  assert.deepEqual([isOutage(refused), isRefusal(refused)], [false, true]);
  const killed = await thrown("select pg_terminate_backend(pg_backend_pid())");
  assert.deepEqual([isOutage(killed), isRefusal(killed)], [true, false]);
  const silent = await within(new Promise(() => {}), 1).catch((error) => error);
  assert.deepEqual([isOutage(silent), isRefusal(silent), isSilence(silent)], [true, false, true]);
});

Deno.test("isAstray() is true of silence and of a server that accepts no writes any more", async () => {
  const silence = await within(new Promise(() => {}), 1).catch((error) => error);
  assert.ok(isAstray(silence));
  assert.ok(isAstray(withCode("25006")));
  for (const code of ["57P01", "ECONNREFUSED", "40P01", undefined]) {
    assert.ok(!isAstray(withCode(code)), code);
  }
});
