import { sleep, until } from "../../support/wait.ts";
import { messageOf } from "../../../lib/core/errors.ts";
import { allReady, type Arena } from "../arena.ts";
import { clockFor, type Fault, terminateOne } from "../fault.ts";
import { rollingOut } from "../rolling.ts";
import {
  type Ground,
  makePairGround,
  makePatroniGround,
  type PairGround,
  type PatroniGround,
} from "./ground.ts";
import type { Machine } from "./network.ts";

/** How long a machine is cut off, in milliseconds. */
const CUT_MS = [5_000, 20_000] as const;
/** Deliveries that have waited longer are behind, apart from those under way. */
const BEHIND_S = 1;
/** An attempt under way is recorded by then. */
const UNDER_WAY_S = 4;

/** Faults of daemons and servers on machines of their own. */
export const MACHINES: readonly Fault[] = [
  onGround("machines-cut-off", 75, makePairGround, cutOff),
  onGround("machines-rolling-restart", 40, makePairGround, restart),
  rollingOut("machines-rolling-files", makePairGround),
  onGround("machines-failover", 60, makePairGround, failOver),
  onGround("patroni-failover", 120, () => makePatroniGround(false), failOverByItself),
  onGround("patroni-balanced", 120, () => makePatroniGround(true), failOverByItself),
];

/** A fault that knows the ground it strikes on. */
function onGround<G extends Ground>(
  name: string,
  seconds: number,
  make: () => Promise<G>,
  strike: (arena: Arena, seconds: number, ground: G) => Promise<void>,
): Fault {
  let ground: G | undefined;
  return {
    name,
    seconds,
    async setting() {
      return ground = await make();
    },
    async inject(arena, seconds) {
      if (ground === undefined) throw new Error("There are no machines");
      arena.outages = [];
      await strike(arena, seconds, ground);
    },
  };
}

/** Breaks something, and writes down how long it took until nothing was behind any more. */
async function breaking(arena: Arena, what: string, work: () => Promise<void>): Promise<void> {
  arena.strikes++;
  arena.away = true;
  const from = Date.now();
  await work();
  arena.away = false;
  await allReady(arena, what);
  await caughtUp(arena)
    .catch((error) => arena.find({ invariant: "G", text: `${messageOf(error)} (${what})` }));
  arena.outages?.push([from, Date.now()]);
}

async function caughtUp({ sql }: Arena): Promise<void> {
  await until("nothing is behind", async () => {
    const rows = await sql`
      select from pending_deliveries
      where due_at < now() - case when leased_until is null then ${BEHIND_S}::int
        else ${UNDER_WAY_S}::int end * interval '1 s' limit 1`;
    return rows.length === 0;
  });
}

async function cut(machine: Machine, wait_ms: number): Promise<void> {
  await machine.plug(false);
  await sleep(wait_ms);
  await machine.plug(true);
}

// Without its standby the primary confirms nothing.
async function cutOff(arena: Arena, seconds: number, ground: PairGround): Promise<void> {
  const { random } = arena;
  for (const goes_on = clockFor(seconds); goes_on();) {
    const name = random.chance(0.3)
      ? ground.pair.primary === 0 ? "p2" : "p1"
      : random.pick(arena.daemons).name;
    await breaking(
      arena,
      `${name} was cut off`,
      () => cut(ground.network.machine(name), random.int(...CUT_MS)),
    );
    await sleep(random.int(500, 2_000));
  }
}

// As a careful operator does it: the next one once the last is ready. Nothing may be late.
async function restart(arena: Arena, seconds: number): Promise<void> {
  for (const goes_on = clockFor(seconds); goes_on();) {
    for (const daemon of arena.daemons) {
      arena.strikes++;
      await terminateOne(arena, daemon, 1);
      await daemon.ready();
      await allReady(arena, "a restart");
      await sleep(arena.random.int(300, 1_000));
    }
  }
}

// The old primary goes on running, cut off, while the other takes its place, and is plugged in only
// after its end.
async function failOver(arena: Arena, seconds: number, ground: PairGround): Promise<void> {
  const { pair, network } = ground;
  for (const goes_on = clockFor(seconds); goes_on();) {
    const old = network.machine(pair.primary === 0 ? "p1" : "p2");
    await breaking(arena, "a failover", async () => {
      await old.plug(false);
      await sleep(arena.random.int(500, 3_000));
      await pair.failOver();
      await sleep(arena.random.int(500, 3_000));
      await pair.rebuild(() => old.plug(true));
    });
    await sleep(arena.random.int(1_000, 2_500));
  }
}

// Of each kind one, in turn. A leader that is cut off is plugged in again once the other leads: it must
// have given up by then, and comes back as the standby.
async function failOverByItself(
  arena: Arena,
  seconds: number,
  { patroni }: PatroniGround,
): Promise<void> {
  const kinds = {
    async cut() {
      const old = await patroni.leader();
      await old.plug(false);
      patroni.leave();
      await until("the other leads", async () => (await patroni.leader()).name !== old.name);
      await sleep(arena.random.int(0, 3_000));
      await old.plug(true);
    },
    async kill() {
      await patroni.killServer(await patroni.leader());
    },
    switchover: patroni.switchOver,
  };
  const goes_on = clockFor(seconds);
  for (let turn = 0; goes_on(); turn++) {
    const [name, work] = Object.entries(kinds)[turn % 3] ?? ["", kinds.cut];
    await breaking(arena, `${name} of the leader`, async () => {
      await work();
      await patroni.settled();
    });
    await sleep(arena.random.int(1_000, 2_500));
  }
}
