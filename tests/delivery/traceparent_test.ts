import assert from "node:assert/strict";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";

const CAME = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

onBoth(
  "without tracing, a post's traceparent goes to endpoints that ask for it",
  async (database) => {
    await using asks = await startReceiver(statuses(500, 200));
    await using other = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [
        endpoint("asks", `${asks.url}/in`, { traceparent: true, retry: ["0s", "0s"] }),
        endpoint("other", `${other.url}/in`),
      ],
    });
    const traced = await daemon.post(booking("apt_1"), { traceparent: CAME, tracestate: "a=b" });
    assert.equal(traced.status, 202);
    const attempts = await asks.received(2);
    assert.deepEqual(attempts.map(({ headers }) => headers["traceparent"]), [CAME, CAME]);
    assert.ok(attempts.every(({ headers }) => headers["tracestate"] === undefined));
    const [unasked] = await other.received(1);
    assert.equal(unasked?.headers["traceparent"], undefined);

    for (const headers of [{}, { traceparent: `${CAME}-more` }]) {
      assert.equal((await daemon.post(booking("apt_2"), headers)).status, 202);
    }
    const untraced = (await asks.received(4)).slice(2);
    assert.deepEqual(untraced.map(({ headers }) => headers["traceparent"]), [undefined, undefined]);
  },
);

onServer("an endpoint of the API asks for traceparent by a change", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  assert.equal(made.traceparent, false);
  const sent = async (nth: number) => {
    await daemon.post(booking("apt_1"), { traceparent: CAME });
    return (await receiver.received(nth))[nth - 1]?.headers["traceparent"];
  };
  assert.equal(await sent(1), undefined);
  const path = `endpoints/${made.id}`;
  const { body: changed } = await api.expect(200, "PATCH", path, { traceparent: true });
  assert.equal(changed.traceparent, true);
  assert.equal(await sent(2), CAME);
  const { body: renamed } = await api.expect(200, "PATCH", path, { description: "CRM" });
  assert.equal(renamed.traceparent, true);
  const own = { headers: { traceparent: CAME } };
  const { body: refused } = await api.expect(422, "PATCH", path, own);
  assert.deepEqual(refused.errors, [{
    pointer: "/headers/traceparent",
    message: "Reserved for the sender or the connection",
  }]);
});
