import assert from "node:assert/strict";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer, server } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";
import { sleep, until } from "../support/wait.ts";

onServer("the sweep cancels what a retired endpoint was owed", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  const crm = endpoint("crm", `${receiver.url}/crm`);
  const erp = endpoint("erp", `${receiver.url}/erp`);
  const at = (endpoints: Record<string, unknown>[]) =>
    startDaemon({
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      endpoints,
    });
  let id: string;
  let other: string;
  let event: string;
  {
    await using daemon = await at([crm, erp]);
    event = (await daemon.post(booking("apt_1"))).body.id;
    id = await daemon.deliveryId(event, "crm");
    other = await daemon.deliveryId(event, "erp");
    await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  }
  {
    await using daemon = await at([erp]);
    const cancelled = await daemon.delivery(id);
    assert.equal(cancelled.status, "cancelled");
    assert.equal(cancelled.cancel_reason, "endpoint_retired");
    assert.equal(cancelled.reason, "http_5xx", "what its last attempt met stays");
    assert.equal(cancelled.attempts.length, 1, "its history stays");
    assert.equal((await daemon.api(`deliveries/${other}`)).body.status, "pending");
    const { body } = await daemon.post(booking("apt_2"));
    assert.equal(body.deliveries, 1, "it is owed nothing any more");
    assert.ok(daemon.log.some((l) => l.message.includes("retired") && l.endpoint === "crm"));
  }
  receiver.answer(statuses(200));
  await using daemon = await at([crm, erp]);
  const { body } = await daemon.post(booking("apt_3"));
  assert.equal(body.deliveries, 2, "it is back");
  const delivery = await daemon.delivery(await daemon.deliveryId(body.id, "crm"));
  assert.equal(delivery.status, "delivered");
  assert.equal((await daemon.api(`deliveries/${id}`)).body.status, "cancelled");
});

Deno.test("an endpoint retired while it is being sent to ends with that attempt", async () => {
  const database = await travelDatabase(server);
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  const sections = { database: { url: database.url } };
  const crm = endpoint("crm", receiver.url);
  const first = await startDaemon({ ...sections, endpoints: [crm] });
  const { body } = await first.post([booking("apt_1"), booking("apt_2")]);
  const ids = await Promise.all(
    body.map(({ id }: { id: string }) => first.deliveryId(id)),
  ) as string[];
  await receiver.received(2);
  const second = await startDaemon({ ...sections, endpoints: [] });
  await until("both are marked", async () => {
    const { marked } = await database.row(
      "select count(cancel_reason)::int as marked from pending_deliveries",
    );
    return marked === 2;
  });
  gate.resolve({ status: 500 });
  for (const id of ids) {
    const delivery = await second.delivery(id);
    assert.equal(delivery.status, "cancelled");
    assert.deepEqual(delivery.attempts.map((a: { status: number }) => a.status), [500]);
  }
  await sleep(100);
  assert.equal(receiver.requests.length, 2);
  await first.stop();
  await second.stop();
  await database.drop();
});
