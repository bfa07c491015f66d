import assert from "node:assert/strict";
import { createServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { judgeCheck } from "../../lib/core/examination.ts";
import { receiverChecks } from "../../lib/maintenance/checks.ts";
import { runJob } from "../../lib/maintenance/schedule.ts";
import { examineTarget } from "../../lib/http/examine.ts";
import { readChecks, storeCheck, takeChecks } from "../../lib/store/checks.ts";
import type { Database } from "../../lib/store/database.ts";
import { endpoint } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { startEngine } from "../support/engine.ts";
import { storePlainEndpoints } from "../support/file.ts";
import { testCertificates } from "../support/tls.ts";

const LOOPBACK = {
  rules: () => ({ allow_loopback: true, allow_networks: [], own_listener: [] }),
};

const make = (db: Database) => db.admin`update endpoint_checks set next_at = now()`;

onServer(
  "receiverChecks() looks at each receiver once, whatever the number of daemons",
  async (database) => {
    await using db = await database.open();
    const { soon, files } = await testCertificates();
    let looks = 0;
    const server = createServer({ cert: soon.cert, key: soon.key }, (socket) => {
      socket.on("error", () => {});
      socket.on("data", () => assert.fail("a request came"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [
        endpoint("crm", `https://127.0.0.1:${port}/`, { tls: { ca: `file:${files.ca}` } }),
        endpoint("gone", "http://127.0.0.1:1/"),
      ],
    });
    const job = receiverChecks(() => engine.fleet, (target) => {
      if (target.url.protocol === "https:") looks++;
      return examineTarget(target, LOOPBACK);
    });
    const run = () => runJob(engine.ctx, job, new AbortController().signal);
    const nos = [...engine.fleet.endpoints.keys()];
    await run();
    assert.equal(looks, 0, "new endpoints get a minute");
    await make(db);
    await Promise.all([run(), run(), run()]);
    assert.equal(looks, 1);
    const [crm, gone] = (await readChecks(db.admin, nos)).toSorted((a, b) =>
      a.endpoint_no - b.endpoint_no
    );
    assert.equal(crm?.ok, true);
    const days = ((crm?.certificate_ends_at?.getTime() ?? 0) - Date.now()) / 86_400_000;
    assert.ok(days > 8 && days < 11, `${days} days left`);
    assert.deepEqual([gone?.ok, gone?.certificate_ends_at], [false, null]);
    assert.match(gone?.findings[0]?.text ?? "", /127\.0\.0\.1:1|ECONNREFUSED|refuse/);
    await run();
    assert.equal(looks, 1, "the next one is due in an hour");
    await db.admin`update endpoints set updated_at = now() + interval '1 ms' where id = 'crm'`;
    await run();
    assert.equal(looks, 2, "a changed endpoint is looked at again");
    await new Promise((resolve) => server.close(resolve));
  },
);

onBoth("storeCheck() remembers since when checks have been failing", async (database) => {
  await using db = await database.open();
  await storePlainEndpoints(db, 1);
  const fault = judgeCheck({
    https: true,
    host: "crm.example.com",
    port: 443,
    dns: { code: "ENOTFOUND", message: "" },
    addresses: [],
    refused: [],
    lost: [],
    chain: [],
    is_for_host: false,
    client_certificate: null,
  }, Date.now());
  assert.equal(fault.ok, false);
  const [row] = await db.admin<{ no: number }[]>`select no from endpoints`;
  const no = row?.no ?? 0;
  const read = async () => (await readChecks(db.admin, [no]))[0];
  await takeChecks(db.admin, 8);
  assert.equal(await read(), undefined, "nothing is shown before the first");
  await storeCheck(db.admin, no, fault);
  const first = await read();
  assert.equal(first?.failing_since?.getTime(), first?.checked_at.getTime());
  await db.admin`update endpoint_checks set failing_since = failing_since - interval '1 hour'`;
  await storeCheck(db.admin, no, fault);
  const second = await read();
  assert.equal(
    second?.failing_since?.getTime(),
    (first?.failing_since?.getTime() ?? 0) - 3_600_000,
  );
  await storeCheck(db.admin, no, { ...fault, ok: true });
  assert.equal((await read())?.failing_since, null);
});
