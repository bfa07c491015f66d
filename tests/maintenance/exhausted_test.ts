import assert from "node:assert/strict";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { server } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";

Deno.test("the sweep fails deliveries that used up a shortened policy", async () => {
  const database = await travelDatabase(server);
  await using receiver = await startReceiver(statuses(500));
  const at = (retry: string[]) =>
    startDaemon({
      database: { url: database.url },
      endpoints: [endpoint("all", receiver.url, { retry })],
    });
  let id: string;
  {
    await using daemon = await at(["0s", "1m", "5m"]);
    const { body } = await daemon.post(booking("apt_1"));
    id = await daemon.deliveryId(body.id);
    await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  }
  {
    await using daemon = await at(["0s"]);
    await database.forward(2 * 60_000);
    const delivery = await daemon.delivery(id);
    assert.equal(delivery.status, "failed");
    assert.equal(delivery.reason, "http_5xx");
    assert.equal(delivery.attempt_count, 1);
    assert.equal(receiver.requests.length, 1);
  }
  await database.drop();
});
