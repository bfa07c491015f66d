import assert from "node:assert/strict";
import {
  makeStreams,
  MAX_UNSENT_BYTES,
  type Opening,
  type StreamPace,
  type Streams,
} from "../../lib/admin/stream.ts";
import { AppError } from "../../lib/core/errors.ts";
import { deliveryUuid, NO_UUID } from "../../lib/core/ids.ts";
import type { Database } from "../../lib/store/database.ts";
import { asker } from "../support/admin.ts";
import { onServer } from "../support/databases.ts";
import { until } from "../support/wait.ts";

const QUICK: StreamPace = { poll_ms: 5, ping_ms: 60_000, keep_ms: 60_000 };

/** Opens a stream, and keeps what is written to it. */
function open(
  streams: Streams,
  { name = "ops", weight = 0, ...opening }: Partial<Opening> & { name?: string; weight?: number } =
    {},
) {
  const got = { text: "", ended: false, unsent: 0 };
  const by = asker(name, "everything");
  const good = { by, last_id: undefined, isGood: () => Promise.resolve(true), ...opening };
  streams.open(good, undefined, {
    get unsent() {
      return got.unsent;
    },
    write(text) {
      got.text += text;
      got.unsent += weight;
    },
    end: () => void (got.ended = true),
    onLeft: () => {},
  });
  return got;
}

/** Runs streams on a database, and stops them. */
async function withStreams(
  db: Database,
  pace: Partial<StreamPace>,
  work: (streams: Streams) => Promise<void>,
): Promise<void> {
  const streams = makeStreams(db, (cause) => assert.fail(cause), { ...QUICK, ...pace });
  try {
    await work(streams);
  } finally {
    await streams.stop();
  }
}

onServer("streams are pinged with where to resume, and end with their token", async (database) => {
  await using db = await database.open();
  await withStreams(db, { ping_ms: 5 }, async (streams) => {
    let is_good = true;
    const one = open(streams, { isGood: () => Promise.resolve(is_good) });
    const other = open(streams);
    await until(
      "both are pinged",
      () => [one, other].every(({ text }) => /: ping\nid: 1\n\n/.test(text)),
    );
    await db.admin`insert into changes (endpoints) values ('{}')`;
    await until(
      "the id moves, although there is nothing to show",
      () => other.text.endsWith("id: 2\n\n"),
    );
    is_good = false;
    await until("the one has ended", () => one.ended);
    assert.equal(streams.count, 1);
    assert.ok(!other.ended);
  });
});

onServer("a stream stays open while nobody can say whether its token is good", async (database) => {
  await using db = await database.open();
  await withStreams(db, { ping_ms: 5 }, async (streams) => {
    const one = open(streams, { isGood: () => Promise.reject(new Error("The database is away")) });
    await until("it is pinged", () => one.text.split(": ping").length > 3);
    assert.ok(!one.ended);
  });
});

onServer("streams start again if their changes were not written for a while", async (database) => {
  await using db = await database.open();
  await withStreams(db, { keep_ms: 5 }, async (streams) => {
    const one = open(streams);
    await until("it is ready", () => one.text.includes("id: 1"));
    await db.admin`update fleet set streamed_until = now() - interval '1 s'`;
    await until("it starts again", () => /event: reset[^]*event: ready[^]*id: 2\n/.test(one.text));
  });
});

onServer("a client that takes nothing is cut off", async (database) => {
  await using db = await database.open();
  await withStreams(db, {}, async (streams) => {
    const slow = open(streams, { weight: MAX_UNSENT_BYTES });
    const dead = open(streams, { weight: MAX_UNSENT_BYTES + 1 });
    await until("it is cut off", () => dead.ended);
    assert.equal(dead.text, ":\n\n");
    await until("another, too, at its second message", () => slow.ended);
    assert.equal(streams.count, 0);
  });
});

onServer("a daemon has 200 streams at most, ten of each token", async (database) => {
  await using db = await database.open();
  await withStreams(db, {}, async (streams) => {
    const refused = (name: string, message: RegExp) =>
      assert.throws(() => open(streams, { by: asker(name, "everything") }), (error) => {
        assert.ok(error instanceof AppError);
        assert.equal(error.code, "too_many_requests");
        assert.match(error.message, message);
        return true;
      });
    for (let n = 0; n < 200; n++) open(streams, { name: `token ${n % 20}` });
    refused("token 7", /^The token token 7 has 10 streams open/);
    refused("token 20", /^This daemon has 200 streams open/);
    assert.equal(streams.count, 200);
    await streams.stop();
    assert.equal(streams.count, 0);
    assert.throws(() => open(streams), /The daemon is stopping/);
  });
});

onServer("a stream that is too far behind starts again, after what it got", async (database) => {
  await using db = await database.open();
  await withStreams(db, { ping_ms: 5 }, async (streams) => {
    const first = open(streams);
    await until("it is ready", () => first.text.includes("id: 1"));
    const uuid = deliveryUuid(NO_UUID, 1);
    const write = (rows: number) =>
      db.admin`insert into changes (deliveries)
        select array[${uuid}::uuid] from generate_series(1, ${rows}::int)`;
    await write(9_000);
    const near = open(streams, { last_id: "1" });
    await until("it is ready", () => /ready[^]*id: 9001\n/.test(near.text));
    assert.ok(!near.text.includes("reset"));
    await write(1_001);
    const far = open(streams, { last_id: "1" });
    await until("it starts again", () => /ready[^]*reset[^]*id: 10002\n/.test(far.text));
  });
});
