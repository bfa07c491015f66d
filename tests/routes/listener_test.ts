import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { makeSignals } from "../../lib/observe/signals.ts";
import type { RouteContext } from "../../routes/context.ts";
import { makeListener } from "../../routes/listener.ts";

Deno.test("makeListener() loads the application for the first request that needs it, again after a failure", async () => {
  const logged: unknown[] = [];
  const ctx = {
    log: { error: (message: string, fields: unknown) => logged.push([message, fields]) },
    signals: makeSignals(),
    readiness: () => Promise.resolve({ ready: true, checks: {} }),
  } as unknown as RouteContext;
  let loads = 0;
  const listener = makeListener(ctx, () => {
    if (++loads === 1) return Promise.reject(new Error("The file is gone"));
    return Promise.resolve({ makeAppListener: () => (_, outgoing) => void outgoing.end("a page") });
  });
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: response.status, text: await response.text(), loads };
  };
  try {
    for (const path of ["/readyz", "/livez"]) {
      const { status, loads } = await get(path);
      assert.deepEqual([status, loads], [200, 0]);
    }
    const failed = await get("/dashboard");
    assert.equal(failed.status, 500);
    assert.match(failed.text, /Internal error; see the daemon's log/);
    assert.deepEqual(logged, [["A request failed", { cause: "The file is gone" }]]);
    for (const path of ["/dashboard", "/readyz?x"]) {
      assert.deepEqual(await get(path), { status: 200, text: "a page", loads: 2 });
    }
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
