import assert from "node:assert/strict";
import { booking, endpoint, startDaemon, type TestDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { buildHouse, neverWas } from "../../support/house.ts";
import { connectTo } from "../../support/postgres.ts";
import { type Receiver, startReceiver, statuses } from "../../support/receiver.ts";
import { openLink, signIn } from "../../support/visitor.ts";
import { headline, textOf } from "./page_text.ts";

interface Two {
  readonly daemon: TestDaemon;
  /** Of crm, which answers 401 and then waits for an hour. */
  readonly crm: Receiver;
}

async function withTwo(database: TestDatabase, test: (two: Two) => Promise<void>): Promise<void> {
  await using crm = await startReceiver(() => ({
    status: 401,
    body: '{"error":"invalid signature"}',
  }));
  await using ledger = await startReceiver(statuses(422));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [
      endpoint("crm", crm.url, { events: ["booking.*"], retry: ["0s", "1h", "6h"] }),
      endpoint("ledger", ledger.url, {
        events: ["booking.*"],
        retry: ["0s"],
        description: "Main <b>ledger</b>",
      }),
    ],
  });
  await test({ daemon, crm });
}

/** Posts that many bookings, BK0 and on, and waits until each was tried at both endpoints. */
async function post(daemon: TestDaemon, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n++) {
    const { body } = await daemon.post(
      booking(`apt_${n}`, "bus_1", { confirmationNumber: `BK${n}` }),
    );
    ids.push(body.id);
  }
  for (const id of ids) {
    await daemon.delivery(
      await daemon.deliveryId(id, "crm"),
      ({ attempt_count }) => attempt_count === 1,
    );
    await daemon.delivery(await daemon.deliveryId(id, "ledger"));
  }
  return ids;
}

onServer(
  "deliveries: what needs attention comes first, with counts, causes and a replay",
  async (database) => {
    await withTwo(database, async ({ daemon }) => {
      await post(daemon, 3);
      const ops = await signIn(daemon.url);
      const { status, text } = await ops.get("/dashboard/deliveries");
      assert.equal(status, 200, text);
      assert.equal(
        headline(text),
        "3 deliveries are waiting to retry, and 3 failed in the last 3 days",
      );
      const words = textOf(text);
      assert.match(
        words,
        /All 3 are for crm \(401\) and will arrive on their own once crm accepts them\./,
      );
      assert.match(words, /Needs attention 6 Failed 3 Waiting 3 Overdue 0 Delivered Tests All/);
      assert.match(
        text,
        /href="\/dashboard\/replays\?status=failed&amp;since=[^"]+"[^>]*>Replay the 3 that failed…</,
      );
      assert.match(words, /Failed BK2 booking\. created Main <b>ledger<\/b> 422 1/);
      assert.match(words, /Waiting BK2 booking\. created crm 401; next .* 1 of 3/);
      assert.equal(text.match(/<tr id="row-dlv_/g)?.length, 6);
      assert.doesNotMatch(text, /<b>ledger/, "a description is text");
    });
  },
);

onServer("deliveries: filters narrow in the address, and each can be removed", async (database) => {
  await withTwo(database, async ({ daemon }) => {
    await post(daemon, 2);
    const ops = await signIn(daemon.url);
    const { text } = await ops.get("/dashboard/deliveries?status=failed&endpoint=ledger&code=422");
    assert.equal(headline(text), "2 such deliveries failed in the last 3 days");
    assert.match(
      text,
      /href="\/dashboard\/deliveries\?status=failed&amp;endpoint=ledger"[^>]*aria-label="Remove code 422"/,
    );
    assert.match(text, /href="\/dashboard\/deliveries\?status=failed&amp;code=422"/);
    const none = await ops.get("/dashboard/deliveries?status=failed&endpoint=ledger&code=404");
    assert.match(
      textOf(none.text),
      /No delivery matches these filters 2 match without code 404\. Remove code/,
    );
    const odd = await ops.get("/dashboard/deliveries?type=booking.craeted");
    assert.match(
      textOf(odd.text),
      /No event type is called booking\.craeted\. Did you mean booking\.created \?/,
    );
    for (
      const [query, message] of [
        ["endpoint=legder", /There is no endpoint "legder"; did you mean ledger\?/],
        ["code=4", /Must be a status such as 401, or 4xx/],
        ["since=soon", /Must be a time ago such as 2h/],
        ["status=odd", /No status is called odd/],
        ["cursor=x", /Must be the next_cursor/],
      ] as const
    ) {
      const wrong = await ops.get(`/dashboard/deliveries?${query}`);
      assert.equal(wrong.status, 422, query);
      assert.match(textOf(wrong.text), message);
      assert.equal(headline(wrong.text), "One filter cannot be used");
    }
    const kept = await ops.get("/dashboard/deliveries?status=failed&code=4");
    assert.match(
      kept.text,
      /name="code"[^>]*value="4"|value="4"[^>]*name="code"/,
      "what was typed is kept",
    );
  });
});

onServer("deliveries: older ones follow page by page, each once", async (database) => {
  await withTwo(database, async ({ daemon }) => {
    const ids = await post(daemon, 26);
    const ops = await signIn(daemon.url);
    const seen: string[] = [];
    let path: string | undefined = "/dashboard/deliveries?status=all";
    let pages = 0;
    while (path !== undefined) {
      const { text } = await ops.get(path);
      seen.push(...[...text.matchAll(/id="row-(dlv_\w+)"/g)].map(([, id = ""]) => id));
      path = /<a class="button plain" href="([^"]+)">Older</.exec(text)?.[1]?.replaceAll(
        "&amp;",
        "&",
      );
      pages++;
    }
    assert.equal(pages, 2);
    assert.equal(new Set(seen).size, 52);
    assert.equal(seen.length, 2 * ids.length);
  });
});

onServer("deliveries: a list says why it is empty", async (database) => {
  await withTwo(database, async ({ daemon }) => {
    const ops = await signIn(daemon.url);
    assert.match(textOf((await ops.get("/dashboard/deliveries")).text), /Nothing was posted yet/);
    await post(daemon, 1);
    const old = await ops.get("/dashboard/deliveries?status=all&until=2020-01-01");
    assert.match(
      textOf(old.text),
      /Removed before \d{4}-\d\d-\d\d Deliveries are kept for 30 days\./,
    );
  });
});

onServer("deliveries: a viewer is offered nothing that changes anything", async (database) => {
  await withTwo(database, async ({ daemon }) => {
    await post(daemon, 1);
    const wall = await signIn(daemon.url, VIEWER);
    const { text } = await wall.get("/dashboard/deliveries");
    assert.match(headline(text), /^1 delivery is waiting/);
    assert.doesNotMatch(text, /Replay the/);
  });
});

onServer("deliveries: a business sees its own, in its words", async (database) => {
  await using sql = connectTo("url" in database.section ? database.section.url : assert.fail());
  await using house = await buildHouse(database, sql);
  const [quince, walnut] = house.businesses;
  const visitor = await openLink(house.daemon.url, quince.writer);
  const { status, text } = await visitor.get("/portal/deliveries");
  assert.equal(status, 200, text);
  assert.match(
    headline(text),
    /^\d of \d updates did not arrive in the last 24 hours, and 1 is on the way$/,
  );
  assert.match(textOf(text), /Arrived New booking/);
  for (const mark of [...walnut.marks, ...house.operator.marks]) {
    assert.ok(!text.includes(mark), mark);
  }
  const foreign = await visitor.get(`/portal/deliveries?endpoint=${walnut.endpoint}`);
  const never = neverWas(walnut).endpoint;
  const unknown = await visitor.get(`/portal/deliveries?endpoint=${never}`);
  assert.equal(foreign.status, 422);
  assert.equal(
    textOf(foreign.text).replaceAll(walnut.endpoint, "X"),
    textOf(unknown.text).replaceAll(never, "X"),
  );
});
