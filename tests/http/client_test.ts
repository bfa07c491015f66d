import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeHttpClient } from "../../lib/http/client.ts";
import { MAX_BODY_BYTES } from "../../lib/http/response_parser.ts";
import { sleep, until } from "../support/wait.ts";
import {
  answered,
  failed,
  HEAD,
  KEPT,
  OK,
  receiver,
  request,
  RULES,
  text,
  to,
  withClient,
  withReceiver,
} from "./peers.ts";

Deno.test("post() sends one exact request and answers what came", async () => {
  await withReceiver(
    (socket) =>
      socket.write(
        "HTTP/1.1 201 Made\r\nX-A: b\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok",
      ),
    async (server, client) => {
      const body = "\0\r\n\u00c3\u4e2d\u{1f4c5}";
      const exchange = answered(await client.post(to(server.port), request({ body })));
      assert.deepEqual(server.requests, [
        `POST /hook?a=1 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nX-Test: 1\r\n` +
        `Content-Length: 12\r\n\r\n${text(new TextEncoder().encode(body))}`,
      ]);
      const { duration_ms, phases: _, ...rest } = exchange;
      assert.deepEqual(rest, {
        answered: true,
        status: 201,
        head: "HTTP/1.1 201 Made\r\nX-A: b\r\nRetry-After: 7\r\nContent-Length: 2",
        retry_after: "7",
        body: new TextEncoder().encode("ok"),
        truncated: false,
        address: `127.0.0.1:${server.port}`,
        certificate_ends_at: null,
      });
      assert.ok(duration_ms > 0);
    },
  );
});

Deno.test("post() follows no redirect and inflates nothing", async () => {
  const packed = "\x1f\x8b\x08\x00";
  await withReceiver(
    (socket) =>
      socket.write(Buffer.from(
        `HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n${packed}`,
        "latin1",
      )),
    async (server, client) => {
      const exchange = answered(await client.post(to(server.port), request()));
      assert.equal(exchange.status, 302);
      assert.equal(text(exchange.body), packed);
      assert.equal(server.requests.length, 1);
    },
  );
});

Deno.test("post() sends each request its own body and headers on a kept connection", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    // Longer, shorter, and beyond what a connection keeps memory for.
    const bodies = ["{}", "x".repeat(5_000), "é".repeat(40_000), "[1]"];
    const target = { url: new URL(`http://127.0.0.1:${server.port}/to?a=1#no`) };
    for (const [nth, body] of bodies.entries()) {
      answered(await client.post(target, request({ body, headers: `X-Nth: ${nth}\r\n` })));
    }
    assert.equal(server.connections, 1);
    for (const [nth, body] of bodies.entries()) {
      const bytes = new TextEncoder().encode(body);
      assert.equal(
        server.requests[nth],
        `POST /to?a=1 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nX-Nth: ${nth}\r\n` +
          `Content-Length: ${bytes.length}\r\n\r\n${text(bytes)}`,
      );
    }
  });
});

Deno.test("post() never sends twice when a kept connection is closed under it", async () => {
  for (const how of ["end", "destroy", "reset"] as const) {
    await withReceiver((socket, nth) => {
      if (nth === 1) socket.write(KEPT);
      else if (how === "end") socket.end();
      else if (how === "reset") socket.resetAndDestroy?.() ?? socket.destroy();
      else socket.destroy();
    }, async (server, client) => {
      const target = to(server.port);
      answered(await client.post(target, request()));
      const exchange = await client.post(target, request());
      failed(exchange, "connection", /^closed before an answer on a reused connection/);
      await sleep(50);
      assert.equal(server.requests.length, 2);
      assert.equal(server.connections, 1);
    });
  }
});

Deno.test("post() resolves 1 s after the head, whatever the body does", async () => {
  await withReceiver(
    (socket) => socket.write(`${HEAD}Content-Length: 99\r\n\r\nslow`),
    async (server, client) => {
      const exchange = answered(await client.post(to(server.port), request()));
      assert.equal(text(exchange.body), "slow");
      assert.equal(exchange.truncated, true);
      assert.ok(exchange.duration_ms > 950, String(exchange.duration_ms));
      await until("the connection is closed", () => server.open === 0);
    },
  );
});

Deno.test("post() counts the head's time only: a body may end after the timeout", async () => {
  await withReceiver((socket) => {
    socket.write(`${HEAD}Content-Length: 4\r\n\r\n`);
    setTimeout(() => socket.write("late"), 500);
  }, async (server, client) => {
    const exchange = answered(await client.post(to(server.port), request({ timeout_ms: 300 })));
    assert.equal(text(exchange.body), "late");
    assert.equal(exchange.truncated, false);
  });
});

Deno.test("post() drops an endless body at 64 KiB", async () => {
  await withReceiver((socket) => {
    socket.write(`${HEAD}\r\n`);
    const more = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(65_536, "y")));
    };
    socket.on("drain", more);
    more();
  }, async (server, client) => {
    const exchange = answered(await client.post(to(server.port), request()));
    assert.equal(exchange.body.length, MAX_BODY_BYTES);
    assert.equal(exchange.truncated, true);
    await until("the connection is closed", () => server.open === 0);
  });
});

Deno.test("post() uses an answer that comes before the request was read", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    for await (const conn of listener) {
      await conn.read(new Uint8Array(1000));
      await conn.write(
        new TextEncoder().encode("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
      );
      conn.close(); // with unread bytes: the sender gets a reset
    }
  })();
  await withClient(async (client) => {
    for (const size of [100_000, 10_000_000]) {
      const body = "x".repeat(size);
      const exchange = await client.post(to(listener.addr.port), request({ body }));
      assert.equal(answered(exchange).status, 413);
    }
  });
  listener.close();
  await served;
});

Deno.test("post() has one deadline over silence in every phase", async () => {
  await withReceiver(() => {}, async (server, client) => {
    const exchange = await client.post(to(server.port), request({ timeout_ms: 200 }));
    const { duration_ms } = failed(exchange, "timeout", /^no response from 127.0.0.1:\d+ within/);
    assert.ok(duration_ms >= 200, String(duration_ms));
    await until("the connection is closed", () => server.open === 0);
    const tls = await client.post(
      to(server.port, "127.0.0.1", "https"),
      request({ timeout_ms: 200 }),
    );
    failed(tls, "timeout", /^no end of the TLS handshake/);
  });
  await withReceiver((socket) => socket.write("HTTP/1.1 200 OK\r\nX-"), async (server, client) => {
    failed(
      await client.post(to(server.port), request({ timeout_ms: 200 })),
      "timeout",
      /^no response/,
    );
  });
  await withClient(async (client) => {
    const exchange = await client.post(to(9, "silent.test"), request({ timeout_ms: 200 }));
    failed(exchange, "timeout", /^no answer from DNS for silent\.test within 200 ms/);
  }, { lookup: () => new Promise(() => {}) });
});

Deno.test("post() times out a head that trickles in", async () => {
  await withReceiver((socket) => {
    const drip = setInterval(() => socket.write("X"), 20);
    socket.write(`${HEAD}`);
    socket.on("close", () => clearInterval(drip));
  }, async (server, client) => {
    const exchange = await client.post(to(server.port), request({ timeout_ms: 300 }));
    failed(exchange, "timeout", /^no response/);
  });
});

Deno.test("post() uses an answer that waited while the process was held up", async () => {
  await withReceiver((socket) => {
    socket.write(OK);
    // The answer is in the socket; the deadline passes while nothing can run.
    setTimeout(() => {
      const end_ms = performance.now() + 400;
      while (performance.now() < end_ms);
    }, 0);
  }, async (server, client) => {
    answered(await client.post(to(server.port), request({ timeout_ms: 200 })));
  });
});

Deno.test("post() is interrupted by its signal, in every phase", async () => {
  await withReceiver(() => {}, async (server, client) => {
    const aborted = AbortSignal.abort();
    const at_once = await client.post(to(server.port), request({ signal: aborted }));
    failed(at_once, "interrupted", /./);
    assert.equal(server.connections, 0);
    const stop = new AbortController();
    const waiting = client.post(to(server.port), request({ signal: stop.signal }));
    await until("the request arrives", () => server.requests.length === 1);
    stop.abort();
    failed(await waiting, "interrupted", /./); // not "timeout", which would take 10 s
  });
  await withReceiver(
    (socket, nth) => socket.write(nth === 1 ? `${HEAD}Content-Length: 9\r\n\r\nsome` : OK),
    async (server, client) => {
      const stop = new AbortController();
      const waiting = client.post(to(server.port), request({ signal: stop.signal }));
      await until("the request arrives", () => server.requests.length === 1);
      answered(await client.post(to(server.port), request())); // by now the first head is read
      stop.abort();
      assert.equal(answered(await waiting).truncated, true); // the head has decided
    },
  );
});

Deno.test("close() ends requests under way and refuses new ones", async () => {
  const server = await receiver(() => {});
  const client = makeHttpClient({ rules: () => RULES });
  const waiting = client.post(to(server.port), request());
  await until("the request arrives", () => server.requests.length === 1);
  client.close();
  failed(await waiting, "interrupted", /client was closed/);
  failed(await client.post(to(server.port), request()), "interrupted", /client was closed/);
  await until("every connection is closed", () => client.open_connections === 0);
  await server.close();
});
