import assert from "node:assert/strict";
import { reachable } from "../../lib/neighbours.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

onServer(
  "endpoints at the listener of any daemon on the database are blocked",
  async (database) => {
    const sections = {
      database: database.section,
      delivery: { retry: ["0s"] },
      encryption_key: ENCRYPTION_KEY,
    };
    await using first = await startDaemon(sections);
    const api = await checkedApi(first);
    const port = await freePort();
    const hosts = ["127.0.0.1", "localhost", "[::1]", "127.0.0.2"];
    const add = (host: string) =>
      api.call("POST", "endpoints", { url: `http://${host}:${port}/ingest`, events: ["*"] });
    // Allowed as long as no daemon listens there.
    for (const host of hosts) assert.equal((await add(host)).status, 201, host);

    await using second = await startDaemon({ ...sections, server: { listen: `0.0.0.0:${port}` } });
    await until("the first refuses it", async () => {
      const { status, body } = await add("127.0.0.1");
      return status === 422 && /a daemon's own listener/.test(JSON.stringify(body));
    });
    for (const daemon of [first, second]) {
      const { body: event } = await daemon.post(booking("apt_1"));
      const { body: { deliveries } } = await daemon.api(`events/${event.id}`);
      assert.ok(deliveries.length >= hosts.length);
      for (const { id } of deliveries) {
        const { attempts: [attempt] } = await daemon.delivery(id);
        assert.equal(attempt.outcome, "blocked", attempt.cause);
        assert.match(attempt.cause, /a daemon's own listener/);
      }
    }

    await second.stop();
    await until("its address is free again", async () => (await add("127.0.0.1")).status === 201);
  },
);

Deno.test("reachable() counts loopback on this machine only, and no address that means another here", () => {
  const at = (machine: string, ...addresses: string[]) => ({
    id: machine,
    machine,
    listeners: addresses.map((address) => ({ address, port: 8080 })),
  });
  const own = at("here", "0.0.0.0", "127.0.0.1", "172.17.0.1", "10.0.0.1");
  const found = reachable(own, [
    at("here", "127.0.0.1", "::1"),
    at("there", "0.0.0.0", "127.0.0.1", "::1", "172.17.0.1", "10.0.0.2"),
  ]);
  assert.deepEqual(found.map(({ address }) => address), ["10.0.0.2", "127.0.0.1", "::1"]);
});
