import assert from "node:assert/strict";
import { makeRoom } from "../../../routes/middleware/body_budget.ts";

const LIMITS = { bytes: 100, patience_ms: 60_000, waiting: 2 };

/** What has come of a request for room by now. */
function look(entered: boolean | Promise<boolean>) {
  const state: { entered: boolean | undefined } = { entered: undefined };
  Promise.resolve(entered).then((answer) => state.entered = answer);
  return state;
}

async function turn(): Promise<void> {
  await new Promise((done) => setTimeout(done, 0));
}

Deno.test("makeRoom() lets in what fits, and the others in the order they came", async () => {
  const room = makeRoom(LIMITS);
  assert.equal(room.enter(60), true);
  const large = look(room.enter(90));
  // It would fit, but somebody was here before.
  const small = look(room.enter(30));
  await turn();
  assert.deepEqual([large.entered, small.entered], [undefined, undefined]);
  room.leave(60);
  await turn();
  assert.deepEqual([large.entered, small.entered], [true, undefined]);
  room.leave(90);
  await turn();
  assert.equal(small.entered, true);
  room.leave(30);
});

Deno.test("makeRoom() refuses to queue more than its limit", async () => {
  const room = makeRoom(LIMITS);
  room.enter(100);
  const waiting = [room.enter(1), room.enter(1)];
  assert.equal(room.enter(1), false);
  room.leave(100);
  assert.deepEqual(await Promise.all(waiting), [true, true]);
  room.leave(2);
});

Deno.test("makeRoom() bounds each wait, and goes on with the next in line", async () => {
  const room = makeRoom({ ...LIMITS, patience_ms: 20 });
  room.enter(60);
  const large = room.enter(90);
  const small = look(room.enter(30));
  assert.equal(await large, false);
  await turn();
  assert.equal(small.entered, true);
  room.leave(90);
});

Deno.test("makeRoom() has room for one of any length, whether it was announced or not", () => {
  const room = makeRoom(LIMITS);
  assert.equal(room.enter(1_000), true);
  assert.equal(room.grow(1_000, 1_001), true);
  room.leave(1_001);
  assert.equal(room.enter(0), true);
  assert.equal(room.grow(0, 1_000), true);
  assert.equal(room.grow(1_000, 2_000), true);
  assert.equal(room.grow(0, 1), false, "another's");
  room.leave(2_000);
  assert.equal(room.enter(10), true);
  assert.equal(room.enter(89), true);
  assert.equal(room.grow(10, 11), true);
  assert.equal(room.grow(11, 12), false);
  room.leave(100);
});
