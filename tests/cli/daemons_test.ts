import assert from "node:assert/strict";
import { widthOf } from "../../lib/cli/table.ts";
import { addressOf } from "../../lib/cli/commands/daemons.ts";
import { judgeDaemons } from "../../lib/cli/doctor/daemons.ts";
import { endpoint, SECRET, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";

Deno.test("daemons and doctor show which daemons have another file, and what differs", async () => {
  await using database = await serverDatabase();
  const file = (path: string, secret: string) => ({
    database: database.section,
    secrets: { main: SECRET, second: "second-secret-of-the-tests-1" },
    endpoints: [endpoint("crm", `http://127.0.0.1:9/${path}`, { secret })],
  });
  await using daemon = await startOperated(file("old", "main"));
  const lines = async () => {
    const { out } = await daemon.cli(["doctor"]);
    return out.split("\n").filter((line) => /^. daemons: /.test(line));
  };
  assert.deepEqual(await lines(), [
    "✓ daemons: one on the database, with the configuration file in force",
  ]);
  const alone = await daemon.cli(["daemons"]);
  assert.match(
    alone.out,
    /^ID +ADDRESS +VERSION +STARTED +SEEN +FILE +IN FORCE\ndmn_\w{10} .* yes\n$/,
  );

  await using other = await startDaemon(file("new", "second"));
  const { out } = await daemon.cli(["daemons"], {
    isTerminal: true,
    columns: 60,
    env: { NO_COLOR: "1" },
  });
  assert.match(out, /IN FORCE\n(dmn_\w{10}) .* yes\n(dmn_\w{10}) .* no\n/);
  assert.match(
    out,
    /\n\n(dmn_\w{10}) has another file than the one in force:\n {2}endpoint crm differs in secret, url\n$/,
  );
  for (const line of out.split("\n")) assert.ok(widthOf(line) <= 60, line);
  const { data } = JSON.parse((await daemon.cli(["daemons", "--json"])).out);
  const [newer, older] = data;
  assert.deepEqual([newer.in_force, older.in_force], [true, false]);
  const more = await daemon.cli(["daemons", "--limit", "1"]);
  assert.ok(!more.out.includes(older.id));
  assert.match(more.err, new RegExp(`continue with --cursor ${newer.id}`));
  assert.deepEqual(await lines(), [
    `! daemons: ${older.id} (${
      older.listeners[0]
    }) has another configuration file than the one in ` +
    "force: endpoint crm differs in secret, url; give it the file of " +
    `${newer.id} (${newer.listeners[0]}) and restart it, or reload it to put its own in force`,
  ]);

  // The remedy, followed.
  await daemon.stop();
  await using again = await startOperated(file("new", "second"));
  assert.match(
    (await again.cli(["doctor"])).out,
    /\n✓ daemons: 2 on the database, all with the same configuration file\n/,
  );
  await other.stop();
});

Deno.test("judgeDaemons() warns of versions that run together, and of a file whose holder is gone", () => {
  const daemon = {
    id: "dmn_0000000001",
    version: "1.0.0",
    listeners: ["10.0.0.5:8080"],
    started_at: "2026-11-24T09:00:00.000Z",
    last_seen_at: "2026-11-24T10:00:00.000Z",
    file: "a",
    in_force: true,
    differences: [],
  };
  const other = { ...daemon, id: "dmn_0000000002", version: "1.1.0" };
  assert.deepEqual(judgeDaemons([daemon, other]), [{
    mark: "!",
    subject: "daemons",
    text: "versions 1.0.0, 1.1.0 run together",
    remedy: "upgrade the older ones",
  }]);
  const [verdict] = judgeDaemons([{
    ...daemon,
    in_force: false,
    differences: ["retention differs"],
  }]);
  assert.match(
    verdict?.text ?? "",
    /^dmn_0000000001 \(10\.0\.0\.5:8080\) has another .*: retention/,
  );
  assert.match(verdict?.remedy ?? "", /is gone; unless it comes back, another file comes in force/);
});

Deno.test("addressOf() prefers an address that others can reach", () => {
  const of = (...listeners: string[]) => addressOf({ listeners });
  assert.equal(of("127.0.0.1:8080"), "127.0.0.1:8080");
  assert.equal(of("0.0.0.0:8080", "127.0.0.1:8080", "10.0.0.5:8080"), "10.0.0.5:8080 +2");
  assert.equal(of("[::]:8080", "[::1]:8080", "[fd00::1]:8080"), "[fd00::1]:8080 +2");
  assert.equal(of(), "?");
});
