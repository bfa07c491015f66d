import assert from "node:assert/strict";
import { makeClaimer } from "../../lib/delivery/claimer.ts";
import { makeLanes } from "../../lib/delivery/lanes.ts";
import type { Sender } from "../../lib/delivery/sender.ts";
import { makeSlots } from "../../lib/delivery/slots.ts";
import { RATE_HORIZON_MS } from "../../lib/store/claims.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { until } from "../support/wait.ts";

/** A claimer whose timers run when the test says so, and whose attempts end at once. */
function startClaimer({ ctx, dispatcher: { fleet } }: Engine) {
  const lanes = makeLanes(ctx.clock.now);
  lanes.use(fleet);
  const slots = makeSlots();
  const timers: { wait_ms: number; run: () => void }[] = [];
  let sent = 0;
  const sender = {
    waiting: 0,
    in_flight: 0,
    fill() {},
    add(leased: readonly { claimed: { endpoint_no: number } }[]) {
      for (const { claimed } of leased) slots.end(lanes.get(claimed.endpoint_no)!, false, true);
      sent += leased.length;
    },
  } as unknown as Sender;
  const claimer = makeClaimer(ctx, {
    lanes,
    slots,
    sender,
    timers: { later: (wait_ms, run) => timers.push({ wait_ms, run }), clear() {} },
    max_timeout_ms: () => fleet.max_timeout_ms,
    blocked: () => false,
    answered() {},
    failed: (_what, error) => assert.fail(String(error)),
    returns: { giveBack() {}, doubt() {}, search: () => Promise.resolve() },
    go_on() {},
  });
  return {
    lanes,
    timers,
    sent: () => sent,
    wake() {
      lanes.wake("all");
      claimer.pump();
    },
    probe: () => claimer.probe(),
    settle: () => claimer.settle(),
  };
}

onServer(
  "Claimer looks again for a rate limit once, however many claims found something",
  async (database) => {
    await using db = await database.open();
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", "http://127.0.0.1:9", { rate_limit: "1000/s" })],
    });
    await engine.dispatcher.stop(0); // what is stored from now on is for the claimer under test
    const { timers, sent, wake, settle } = startClaimer(engine);
    const looks = () => timers.filter(({ wait_ms }) => wait_ms === RATE_HORIZON_MS / 2);
    for (let nth = 1; nth <= 10; nth++) {
      await engine.intake.accept([offer()]);
      await until("it is claimed", async () => {
        wake();
        await settle();
        // Whose turn comes later goes now.
        for (const timer of timers) {
          if (timer.wait_ms !== RATE_HORIZON_MS / 2) timer.run();
        }
        timers.splice(0, timers.length, ...looks());
        return sent() === nth;
      });
    }
    assert.equal(looks().length, 1);
    const [look] = timers.splice(0);
    look!.run();
    await settle();
    assert.deepEqual(timers, [], "it found nothing, so the poll is soon enough");
  },
);

onServer("Claimer looks for what is due before a probe as well", async (database) => {
  await using db = await database.open();
  await using engine = await startEngine(db, {
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9")],
  });
  await engine.dispatcher.stop(0); // what is stored from now on is for the claimer under test
  for (let nth = 1; nth <= 2; nth++) await engine.intake.accept([offer()]);
  await db.admin`
    update endpoints set paused_at = now(), pause_reason = 'Failures', paused_by = 'automatic',
      probe_at = now()`;
  await db.admin`
    update pending_deliveries set due_at = now() - interval '1 hour', last_outcome = 'http_4xx',
      last_attempt_at = now()
    where id = (select min(id::text)::uuid from pending_deliveries)`;
  await engine.reload();
  const { lanes, sent, probe, settle } = startClaimer(engine);
  probe();
  await settle();
  assert.equal(sent(), 1);
  const [probed] = await db.admin`
    select due_at > now() - interval '30 min' as is_second from pending_deliveries where leased_until is not null`;
  assert.equal(probed?.is_second, true);
  const [no = 0] = engine.dispatcher.fleet.endpoints.keys();
  assert.equal(lanes.get(no)?.floor_us, 0);
});
