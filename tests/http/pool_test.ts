import assert from "node:assert/strict";
import type { Socket } from "node:net";
import fc from "fast-check";
import { makeRoute, type Route } from "../../lib/http/flight.ts";
import {
  type Connection,
  makePool,
  newConnection,
  type Pool,
  type PoolOptions,
  type State,
} from "../../lib/http/pool.ts";
import { newResponse } from "../../lib/http/response_parser.ts";
import { sleep, until } from "../support/wait.ts";
import {
  answered,
  failed,
  KEPT,
  OK,
  request,
  RULES,
  to,
  withClient,
  withReceiver,
} from "./peers.ts";

const STATES: readonly State[] = [
  "closed",
  "opening",
  "sending",
  "waiting",
  "draining",
  "idle",
  "closing",
];

/** Each state, and those that may follow it. */
const LEGAL: Readonly<Record<State, string>> = {
  closed: "opening",
  opening: "sending closing",
  sending: "waiting draining closing",
  waiting: "idle closing",
  draining: "idle closing",
  idle: "sending closing",
  closing: "closed",
};

function newPool(options: Partial<PoolOptions> = {}): Pool {
  return makePool({ rules: () => RULES, ...options });
}

function routeTo(host: string): Route {
  return makeRoute({ url: new URL(`http://${host}/`) });
}

/** A connection without a socket that has its answer, for the pool to keep or close. */
function answeredConnection(pool: Pool, route: Route): Connection {
  const connection = newConnection(route, "127.0.0.1", RULES);
  for (const state of ["opening", "sending", "waiting"] as const) pool.move(connection, state);
  return connection;
}

/** The states of the sets that a connection is in. */
function setsWith(pool: Pool, connection: Connection): string[] {
  return Object.entries(pool.in)
    .flatMap(([state, set]) => [...set].filter((each) => each === connection).map(() => state));
}

Deno.test("move() keeps a connection in the one set of its state, and refuses illegal moves", () => {
  const move = fc.tuple(fc.nat(5), fc.constantFrom(...STATES));
  fc.assert(
    fc.property(fc.array(move, { maxLength: 100 }), (moves) => {
      const pool = newPool();
      const routes = [routeTo("127.0.0.1:1"), routeTo("127.0.0.1:2")];
      const connections = Array.from(
        { length: 6 },
        (_, nth) => newConnection(routes[nth % 2]!, "127.0.0.1", RULES),
      );
      for (const [nth, to] of moves) {
        const connection = connections[nth]!;
        const from = connection.state;
        const legal = LEGAL[from].split(" ").includes(to);
        if (legal) pool.move(connection, to);
        else assert.throws(() => pool.move(connection, to), new RegExp(`from ${from} to ${to}`));
        assert.equal(connection.state, legal ? to : from);
        for (const each of connections) {
          assert.deepEqual(setsWith(pool, each), each.state === "closed" ? [] : [each.state]);
        }
        assert.equal(pool.size, connections.filter(({ state }) => state !== "closed").length);
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("findIdle() returns the youngest connection of the route, and closes unfit ones", () => {
  let rules = RULES;
  const pool = newPool({ rules: () => rules });
  const route = routeTo("127.0.0.1:1");
  const keep = (now_ms: number) => {
    const connection = answeredConnection(pool, route);
    pool.release(connection, now_ms);
    return connection;
  };
  const [first, second, third] = [keep(1), keep(2), keep(3)];
  assert.equal(pool.findIdle(routeTo("127.0.0.1:2"), 3), undefined);
  assert.equal(pool.findIdle(routeTo("127.0.0.1:1"), 3), third);
  pool.close(third);
  pool.close(third); // is closed already
  assert.equal(pool.findIdle(route, 3), second);
  rules = { ...RULES };
  assert.equal(pool.findIdle(route, 3), second);
  assert.equal(pool.findIdle(route, second.until_ms), undefined);
  const states = [first, second, third].map(({ state }) => state);
  assert.deepEqual(states, ["closing", "closing", "closing"]);
  keep(4);
  rules = { ...RULES, allow_loopback: false };
  assert.equal(pool.findIdle(route, 4), undefined);
});

Deno.test("release() keeps connections within the limits, for a time", () => {
  const pool = newPool({ max_idle_per_origin: 2, max_idle: 3 });
  const release = (port: number, now_ms = 0, change: Partial<Connection> = {}) => {
    const connection = answeredConnection(pool, routeTo(`127.0.0.1:${port}`));
    pool.release(Object.assign(connection, change), now_ms);
    return connection.state;
  };
  assert.deepEqual([release(1), release(1), release(1)], ["idle", "idle", "closing"]);
  assert.deepEqual([release(2), release(2)], ["idle", "closing"]);
  pool.sweep(1_499);
  assert.equal([...pool.in.idle].length, 3);
  pool.sweep(1_500);
  assert.equal([...pool.in.idle].length, 0);
  assert.equal(release(1), "idle");
  const say = (keep_alive_s: number) => ({ response: { ...newResponse(), keep_alive_s } });
  assert.equal(release(2, 0, say(1)), "closing");
  assert.equal(release(2, 0, say(2)), "idle");
  assert.equal(release(3, 60_000, { opened_ms: 0 }), "closing");
});

Deno.test("lose() remembers a receiver that closes connections unannounced", () => {
  const pool = newPool();
  // Idle since the future, so that no pause of the process makes it long.
  for (const [idle_for_ms, then] of [[5_000, "idle"], [-5_000, "closing"]] as const) {
    const route = routeTo("127.0.0.1:1");
    const connection = answeredConnection(pool, route);
    pool.release(connection, performance.now() - idle_for_ms);
    pool.lose(connection);
    assert.equal(connection.state, "closing");
    const next = answeredConnection(pool, route);
    pool.release(next, performance.now());
    assert.equal(next.state, then);
  }
});

Deno.test("closeAll() closes the connections in every state", () => {
  const pool = newPool();
  const paths: readonly (readonly State[])[] = [
    ["opening"],
    ["opening", "sending"],
    ["opening", "sending", "waiting"],
    ["opening", "sending", "draining"],
    ["opening", "sending", "waiting", "idle"],
    ["opening", "closing"],
  ];
  for (const path of paths) {
    const connection = newConnection(routeTo("127.0.0.1:1"), "127.0.0.1", RULES);
    for (const state of path) pool.move(connection, state);
  }
  assert.deepEqual([pool.size, pool.timed], [6, 4]);
  pool.closeAll();
  assert.deepEqual([pool.size, pool.timed, [...pool.in.closing].length], [6, 0, 6]);
});

Deno.test("post() keeps one connection for requests in a row", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    for (let nth = 0; nth < 20; nth++) {
      // A new target each time: connections belong to the origin.
      answered(await client.post(to(server.port), request()));
    }
    assert.equal(server.connections, 1);
    assert.equal(client.open_connections, 1);
    await Promise.all([1, 2, 3, 4].map(() => client.post(to(server.port), request())));
    assert.ok(server.connections <= 4);
    assert.equal(server.requests.length, 24);
  });
});

Deno.test("post() shares no connection between pool keys and TLS identities", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    const target = to(server.port);
    answered(await client.post(target, request()));
    answered(await client.post({ ...target, pool_key: "a" }, request()));
    answered(await client.post({ ...target, tls: { ca: "x" } }, request()));
    assert.equal(server.connections, 3);
    answered(await client.post({ ...target, pool_key: "a" }, request()));
    assert.equal(server.connections, 3);
  });
});

Deno.test("post() learns that a receiver closes after each answer without saying so", async () => {
  await withReceiver((socket) => socket.end(OK), async (server, client) => {
    const target = to(server.port);
    let lost = 0;
    for (let nth = 0; nth < 100; nth++) {
      if (!(await client.post(target, request())).answered) lost++;
    }
    assert.ok(lost <= 1, `${lost} of 100 were lost`);
    assert.ok(server.connections >= 99);
  });
});

Deno.test("post() drops a connection that was closed, or spoke, while idle", async () => {
  for (
    const [name, misbehave] of [
      ["closed", (socket: Socket) => socket.end()],
      ["spoke", (socket: Socket) => socket.write(OK)],
    ] as const
  ) {
    let socket_of_first: Socket | undefined;
    await withReceiver((socket) => {
      socket_of_first ??= socket;
      socket.write(KEPT);
    }, async (server, client) => {
      answered(await client.post(to(server.port), request()));
      if (socket_of_first !== undefined) misbehave(socket_of_first);
      await until("it is dropped", () => client.open_connections === 0);
      answered(await client.post(to(server.port), request()));
      assert.equal(server.connections, 2, name);
    });
  }
});

Deno.test("post() closes idle connections after 1.5 s, or as the receiver says", async () => {
  await withReceiver((socket, nth) =>
    socket.write(
      nth === 1 ? OK : KEPT,
    ), async (server, client) => {
    answered(await client.post(to(server.port), request()));
    const started_ms = performance.now();
    await until("it is closed", () => client.open_connections === 0);
    const idle_ms = performance.now() - started_ms;
    assert.ok(idle_ms > 1400, String(idle_ms));
    answered(await client.post(to(server.port), request()));
    await sleep(1900);
    answered(await client.post(to(server.port), request()));
    assert.equal(server.connections, 2);
  });
});

Deno.test("post() keeps at most the given number of idle connections", async () => {
  await withReceiver(
    (socket) => void setTimeout(() => socket.write(KEPT), 30),
    async (server, client) => {
      await Promise.all(Array.from({ length: 8 }, () => client.post(to(server.port), request())));
      await until("three are left", () => client.open_connections === 3);
    },
    { max_idle_per_origin: 3 },
  );
});

Deno.test("post() checks an idle connection's address again when the rules change", async () => {
  let rules = RULES;
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    answered(await client.post(to(server.port), request()));
    rules = { ...RULES };
    answered(await client.post(to(server.port), request()));
    assert.equal(server.connections, 1);
    rules = { ...RULES, allow_loopback: false };
    failed(await client.post(to(server.port), request()), "blocked", /loopback/);
    assert.equal(server.requests.length, 2);
    await until("the connection is closed", () => server.open === 0);
  }, { rules: () => rules });
});

Deno.test("post() leaves no connection in the pool whose request was not read", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns: Deno.Conn[] = [];
  const served = (async () => {
    for await (const conn of listener) {
      conns.push(conn);
      await conn.read(new Uint8Array(1000));
      await conn.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    }
  })();
  await withClient(async (client) => {
    const body = "x".repeat(30_000_000);
    answered(await client.post(to(listener.addr.port), request({ body })));
    answered(await client.post(to(listener.addr.port), request()));
    assert.equal(conns.length, 2);
    await until("neither lingers", () => client.open_connections === 0);
  });
  for (const conn of conns) conn.close();
  listener.close();
  await served;
});
