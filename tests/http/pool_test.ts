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
  type Receiver,
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

Deno.test("move() keeps account of each connection's one state, and refuses illegal moves", () => {
  const move = fc.tuple(fc.nat(5), fc.constantFrom(...STATES));
  fc.assert(
    fc.property(fc.array(move, { maxLength: 100 }), (moves) => {
      const pool = newPool();
      const routes = [routeTo("127.0.0.1:1"), routeTo("127.0.0.1:2")];
      const connections = Array.from(
        { length: 6 },
        (_, nth) => newConnection(routes[nth % 2]!, "127.0.0.1", RULES),
      );
      const those = (...states: State[]) =>
        connections.filter(({ state }) => states.includes(state));
      for (const [nth, to] of moves) {
        const connection = connections[nth]!;
        const from = connection.state;
        const legal = LEGAL[from].split(" ").includes(to);
        if (legal) pool.move(connection, to);
        else assert.throws(() => pool.move(connection, to), new RegExp(`from ${from} to ${to}`));
        assert.equal(connection.state, legal ? to : from);
        for (const state of STATES) {
          if (state !== "closed") assert.equal(pool.count(state), those(state).length);
        }
        const open = those(...STATES.filter((state) => state !== "closed"));
        assert.deepEqual(new Set(pool.connections), new Set(open));
        assert.equal(pool.size, open.length);
      }
      // Each route offers its idle connections, each of them once, and no others.
      const idle = new Set(those("idle"));
      const offered = routes.flatMap((route) => {
        const found: Connection[] = [];
        for (let one = pool.findIdle(route, -1); one; one = pool.findIdle(route, -1)) {
          assert.equal(one.route, route);
          found.push(one);
          pool.move(one, "sending");
        }
        return found;
      });
      assert.equal(offered.length, idle.size);
      assert.deepEqual(new Set(offered), idle);
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
  // Another route to the same address has connections of its own.
  assert.equal(pool.findIdle(routeTo("127.0.0.1:1"), 3), undefined);
  assert.equal(pool.findIdle(route, 3), third);
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
  const pool = newPool({ max_idle_per_route: 2, max_idle: 3 });
  const routes = [0, 1, 2, 3].map((port) => routeTo(`127.0.0.1:${port}`));
  const release = (nth: number, now_ms = 0, change: Partial<Connection> = {}) => {
    const connection = answeredConnection(pool, routes[nth]!);
    pool.release(Object.assign(connection, change), now_ms);
    return connection.state;
  };
  assert.deepEqual([release(1), release(1), release(1)], ["idle", "idle", "closing"]);
  assert.deepEqual([release(2), release(2)], ["idle", "closing"]);
  pool.sweep(1_499);
  assert.equal(pool.count("idle"), 3);
  pool.sweep(1_500);
  assert.equal(pool.count("idle"), 0);
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

Deno.test("distrust() keeps no connection of the route, and leaves other routes alone", () => {
  const pool = newPool();
  const route = routeTo("127.0.0.1:1");
  const kept = (of: typeof route) => {
    const connection = answeredConnection(pool, of);
    pool.release(connection, performance.now());
    return connection;
  };
  const [first, second, other] = [kept(route), kept(route), kept(routeTo("127.0.0.1:1"))];
  pool.distrust(first);
  assert.deepEqual([first, second, other].map(({ state }) => state), [
    "closing",
    "closing",
    "idle",
  ]);
  assert.equal(kept(route).state, "closing");
  assert.equal(kept(other.route).state, "idle");
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
  assert.deepEqual([pool.size, pool.count("closing")], [6, 1]);
  pool.closeAll();
  assert.deepEqual([pool.size, pool.count("closing")], [6, 6]);
});

Deno.test("post() keeps one connection for requests in a row", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    const target = to(server.port);
    for (let nth = 0; nth < 20; nth++) answered(await client.post(target, request()));
    assert.equal(server.connections, 1);
    assert.equal(client.open_connections, 1);
    await Promise.all([1, 2, 3, 4].map(() => client.post(target, request())));
    assert.ok(server.connections <= 4);
    assert.equal(server.requests.length, 24);
  });
});

Deno.test("post() shares no connection between targets, even of one URL", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    const targets = [to(server.port), to(server.port), { ...to(server.port), tls: { ca: "x" } }];
    for (const target of [...targets, ...targets]) answered(await client.post(target, request()));
    assert.equal(server.connections, 3);
  });
});

Deno.test("an answer to no request is never the outcome of another target's request", async () => {
  const refusal = "HTTP/1.1 500 No\r\nKeep-Alive: timeout=60\r\nContent-Length: 0\r\n\r\n";
  let server: Receiver;
  await withReceiver((socket, nth) => {
    socket.write(refusal);
    // The connection is idle when these bytes come, or carries the next request already.
    if (server.requests[nth - 1]!.startsWith("POST /odd")) setTimeout(() => socket.write(KEPT), 0);
  }, async (receiver, client) => {
    server = receiver;
    const [odd, even] = ["odd", "even"]
      .map((path) => ({ url: new URL(`http://127.0.0.1:${receiver.port}/${path}`) }));
    for (let nth = 0; nth < 100; nth++) {
      await client.post(odd!, request());
      assert.equal(answered(await client.post(even!, request())).status, 500);
    }
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
      const target = to(server.port);
      answered(await client.post(target, request()));
      if (socket_of_first !== undefined) misbehave(socket_of_first);
      await until("it is dropped", () => client.open_connections === 0);
      answered(await client.post(target, request()));
      assert.equal(server.connections, 2, name);
    });
  }
});

Deno.test("post() closes idle connections after 1.5 s, or as the receiver says", async () => {
  await withReceiver((socket, nth) =>
    socket.write(
      nth === 1 ? OK : KEPT,
    ), async (server, client) => {
    const target = to(server.port);
    answered(await client.post(target, request()));
    const started_ms = performance.now();
    await until("it is closed", () => client.open_connections === 0);
    const idle_ms = performance.now() - started_ms;
    assert.ok(idle_ms > 1400, String(idle_ms));
    answered(await client.post(target, request()));
    await sleep(1900);
    answered(await client.post(target, request()));
    assert.equal(server.connections, 2);
  });
});

Deno.test("post() keeps at most the given number of idle connections", async () => {
  await withReceiver(
    (socket) => void setTimeout(() => socket.write(KEPT), 30),
    async (server, client) => {
      const target = to(server.port);
      await Promise.all(Array.from({ length: 8 }, () => client.post(target, request())));
      await until("three are left", () => client.open_connections === 3);
    },
    { max_idle_per_route: 3 },
  );
});

Deno.test("post() checks an idle connection's address again when the rules change", async () => {
  let rules = RULES;
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    const target = to(server.port);
    answered(await client.post(target, request()));
    rules = { ...RULES };
    answered(await client.post(target, request()));
    assert.equal(server.connections, 1);
    rules = { ...RULES, allow_loopback: false };
    failed(await client.post(target, request()), "blocked", /loopback/);
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
