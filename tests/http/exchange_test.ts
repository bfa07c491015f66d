import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { makeConnector } from "../../lib/http/connect.ts";
import { makeExchanges } from "../../lib/http/exchange.ts";
import {
  type Exchange,
  type Flight,
  makeRoute,
  newFlight,
  type Route,
} from "../../lib/http/flight.ts";
import { type Connection, makePool } from "../../lib/http/pool.ts";
import type { WireEvents } from "../../lib/http/wire.ts";
import { HEAD, KEPT, RULES } from "./peers.ts";

/** A wire without a socket: the test plays its events. */
interface FakeWire {
  readonly events: WireEvents;
  messages: number;
  written: number;
  destroyed: boolean;
  closed: boolean;
}

interface FakeFlight extends Flight {
  readonly stop: AbortController;
  readonly results: Exchange[];
}

/** The parts of a client, over wires without sockets. */
function makeParts() {
  const wires: FakeWire[] = [];
  const flights: FakeFlight[] = [];
  const seen = new Set<Connection>();
  const options = {
    rules: () => RULES,
    max_idle: 3,
    max_idle_per_route: 2,
    lookup: () => Promise.resolve(["127.0.0.1", "127.0.0.2"]),
    open_wire: (_: Route, _ip: string, _from: string | undefined, events: WireEvents) => {
      const wire: FakeWire = { events, messages: 0, written: 0, destroyed: false, closed: false };
      wires.push(wire);
      return {
        send: () => void wire.messages++,
        destroy: () => void (wire.destroyed = true),
      };
    },
  };
  const pool = makePool(options);
  const exchanges = makeExchanges(pool);
  const connector = makeConnector(options, pool, exchanges);
  const routes = ["http://127.0.0.1:1/", "http://two.test:1/", "https://two.test:1/"]
    .map((url) => makeRoute({ url: new URL(url) }));

  function post(nth: number): void {
    const now_ms = performance.now();
    const stop = new AbortController();
    const results: Exchange[] = [];
    const request = { headers: "", body: "", timeout_ms: 10_000, signal: stop.signal };
    const resolve = (exchange: Exchange) => void results.push(exchange);
    const route = routes[nth % routes.length]!;
    const flight = { ...newFlight(route, request, resolve, now_ms), stop, results };
    flights.push(flight);
    const connection = pool.findIdle(flight.route, now_ms);
    if (connection === undefined) connector.open(flight);
    else exchanges.send(connection, flight, now_ms);
  }

  /** Holds after every event. */
  function check(): void {
    for (const connection of pool.connections) seen.add(connection);
    const open = [...seen].filter(({ state }) => state !== "closed");
    assert.deepEqual(new Set(pool.connections), new Set(open));
    for (const { state, flight } of seen) {
      assert.equal(flight !== undefined, state === "sending" || state === "waiting");
    }
    const busy = pool.count("sending") + pool.count("waiting");
    const unresolved = flights.filter(({ results }) => results.length === 0).length;
    assert.equal(unresolved, busy + connector.size);
    assert.ok(pool.count("opening") <= connector.size);
    for (const { results } of flights) assert.ok(results.length <= 1);
    assert.ok(pool.count("idle") <= 3);
  }

  return { wires, flights, pool, exchanges, connector, post, check };
}

type Parts = ReturnType<typeof makeParts>;

function reset(): Error {
  return Object.assign(new Error("reset"), { code: "ECONNRESET" });
}

/** Lets promises go on: those of DNS are already resolved. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await undefined;
}

/** Parts with one flight, whose request is being written. */
async function sending() {
  const parts = makeParts();
  parts.post(0);
  await settled();
  const [flight] = parts.flights;
  const [wire] = parts.wires;
  wire!.events.connected("127.0.0.1");
  const [connection] = parts.pool.connections;
  return { ...parts, flight: flight!, wire: wire!, connection: connection! };
}

/** The events of a wire; `closed` is its last. */
const REPORTS: Readonly<Record<string, (wire: FakeWire) => void>> = {
  connected: ({ events }) => events.connected("127.0.0.1"),
  connected_elsewhere: ({ events }) => events.connected("10.0.0.1"),
  secured: ({ events }) => events.secured(null),
  written: (wire) => {
    if (wire.written < wire.messages) wire.written++, wire.events.written();
  },
  not_written: (wire) => {
    if (wire.written < wire.messages) wire.written++, wire.events.written(reset());
  },
  // Answers, complete and not.
  ...Object.fromEntries(
    [KEPT, `${HEAD}Connection: close\r\nContent-Length: 0\r\n\r\n`, `${HEAD}X: `, "SSH-2.0-x\r\n"]
      .concat(`${HEAD}Content-Length: 9\r\n\r\ncut`, `${HEAD}\r\nuntil the end`)
      .map((bytes) => [bytes, ({ events }: FakeWire) => events.data(Buffer.from(bytes))]),
  ),
  ended: ({ events }) => events.ended(),
  lost: ({ events }) => events.lost(reset()),
  closed: (wire) => {
    wire.closed = true;
    wire.events.closed();
  },
};

/** The doings of the client and its callers. */
const ACTS: Readonly<Record<string, (parts: Parts, nth: number) => void>> = {
  post: ({ post }, nth) => post(nth),
  abort: ({ flights }, nth) => flights[nth % flights.length]?.stop.abort(),
  ...Object.fromEntries(
    [0, 6_000, Infinity].map((after_ms) => [`tick after ${after_ms} ms`, (parts: Parts) => {
      const now_ms = performance.now() + after_ms;
      parts.connector.tick(now_ms);
      parts.exchanges.tick(now_ms);
      parts.pool.sweep(now_ms);
    }]),
  ),
};

const nth = fc.nat(20);

/** Mostly reports, and often those of a request that succeeds. */
const command = fc.oneof(
  { weight: 3, arbitrary: fc.record({ act: fc.constantFrom("post"), nth }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constantFrom(...Object.keys(ACTS)), nth }) },
  { weight: 4, arbitrary: fc.record({ report: fc.constantFrom(...Object.keys(REPORTS)), nth }) },
  {
    weight: 8,
    arbitrary: fc.record({
      report: fc.constantFrom("connected", "secured", "written", KEPT),
      nth,
    }),
  },
);

Deno.test("any sequence of events keeps each flight in one place, each connection in account", async () => {
  const reached = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 60 }), async (commands) => {
      const parts = makeParts();
      const { wires, flights, pool, exchanges, connector, check } = parts;
      for (const each of commands) {
        if ("act" in each) {
          ACTS[each.act]?.(parts, each.nth);
        } else {
          const open = wires.filter(({ closed }) => !closed);
          const wire = open[open.length - 1 - each.nth % Math.max(open.length, 1)];
          if (wire !== undefined) REPORTS[each.report]?.(wire);
        }
        check();
        await settled();
        check();
        for (const { state } of pool.connections) reached.add(state);
      }
      connector.interruptAll("over");
      exchanges.interruptAll("over");
      pool.closeAll();
      check();
      assert.ok(flights.every(({ results }) => results.length === 1));
      assert.ok(wires.every(({ destroyed }) => destroyed));
      for (const wire of wires) if (!wire.closed) REPORTS.closed?.(wire);
      check();
      assert.equal(pool.size, 0);
    }),
    { numRuns: 1000 },
  );
  assert.deepEqual(
    [...reached].sort(),
    ["closing", "draining", "idle", "opening", "sending", "waiting"],
  );
});

Deno.test("written() keeps a connection that was answered early, unless writing failed", async () => {
  for (const [report, then] of [["written", "idle"], ["not_written", "closing"]] as const) {
    const { exchanges, wire, connection, flight } = await sending();
    exchanges.data(connection, Buffer.from(KEPT));
    assert.equal(connection.state, "draining");
    assert.ok(flight.results[0]?.answered);
    REPORTS[report]?.(wire);
    assert.equal(connection.state, then);
  }
});

Deno.test("data() closes a connection that speaks unasked", async () => {
  const { exchanges, wire, connection } = await sending();
  REPORTS.written?.(wire);
  exchanges.data(connection, Buffer.from(KEPT));
  assert.equal(connection.state, "idle");
  exchanges.data(connection, Buffer.from(KEPT));
  assert.equal(connection.state, "closing");
  assert.ok(connection.route.closes_until_ms > performance.now(), "the next ones are not kept");
});
