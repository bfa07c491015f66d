/**
 * Eleven incidents, each from its symptom to its cause by command line: what an operator types at night,
 * and the line that answers. docs/operations.md lists the same.
 */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { booking, endpoint, SECRET } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { type Received, type Receiver, startReceiver } from "../support/receiver.ts";
import { freePort } from "../support/postgres.ts";
import { testCertificates } from "../support/tls.ts";
import { inTemporary, runHere } from "../support/cli.ts";
import { until } from "../support/wait.ts";

const NUMBER = "BK7X9M2P";
const OTHER_SECRET = "another-secret-of-the-receiver-1";

const hmac = (body: string, secret: string) =>
  "sha256=" + createHmac("sha256", secret).update(body).digest("hex");

interface Scene {
  readonly daemon: Operated;
  readonly receiver: Receiver;
  /** Runs a command; its output must match. */
  step(
    args: readonly string[],
    says: RegExp,
    options?: Parameters<Operated["cli"]>[1],
  ): Promise<string>;
  /** The delivery of the booking, once its first attempt is recorded. */
  delivery(): Promise<string>;
}

/** A daemon with the endpoint `crm` at a receiver, and a booking that BookMe posted. */
async function scene(
  database: TestDatabase,
  answer: (request: Received) => ReturnType<Parameters<Receiver["answer"]>[0]>,
  sections: Record<string, unknown>,
  play: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using receiver = await startReceiver(answer);
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", `${receiver.url}/hooks`)],
    ...sections,
  });
  // A number that other JSON writers write in another way.
  const body = JSON.stringify(
    booking("apt_789", "bus_123", { confirmationNumber: NUMBER, price: 7.5 }),
  )
    .replace("7.5", "75.50");
  const posted = await daemon.post(body);
  await play({
    daemon,
    receiver,
    async step(args, says, options) {
      const { out, err } = await daemon.cli(args, options);
      assert.match(out + err, says, args.join(" "));
      return out;
    },
    async delivery() {
      const id = await daemon.deliveryId(posted.body.id);
      await daemon.delivery(id, ({ attempt_count }) => attempt_count > 0);
      return id;
    },
  });
}

onServer("incident: a receiver answers 500 for an hour", async (database) => {
  await scene(database, () => ({ status: 500, body: "NullPointerException" }), {}, async (on) => {
    const id = await on.delivery();
    await on.step(["endpoints"], /^crm +active +1 of 1 failed: http_5xx/m);
    await on.step(
      ["event", NUMBER],
      /crm +pending +Attempt 2 follows at .*; attempt 1 ended with http_5xx \(status 500\)/,
    );
    await on.step(
      ["delivery", id],
      /NullPointerException\n\nThe receiver failed; its log of that moment/,
    );
  });
});

onServer("incident: a certificate expires", async (database) => {
  const { expired } = await testCertificates();
  await using receiver = await startReceiver(undefined, expired);
  const url = receiver.url.replace("127.0.0.1", "localhost");
  await scene(database, () => "reset", { endpoints: [endpoint("crm", url)] }, async (on) => {
    const id = await on.delivery();
    await on.step(
      ["event", NUMBER],
      /ended with tls \(certificate expired 2025-02-01T00:00:00Z\)\. The receiver's certificate has expired; renew it there\. dlv_/,
    );
    await on.step(["delivery", id], /\nThe receiver's certificate has expired; renew it there/);
    await on.step(["doctor"], /✗ endpoint crm: .*certificate expired on 2025-02-01/);
  });
});

onServer("incident: the receiver's name is gone from DNS", async (database) => {
  const endpoints = [endpoint("crm", "https://gone.invalid/hooks")];
  await scene(database, () => "reset", { endpoints }, async (on) => {
    const id = await on.delivery();
    await on.step(["event", NUMBER], /ended with dns \(E\w+ gone\.invalid\)/);
    await on.step(
      ["delivery", id],
      /\n(DNS has no address for|The resolver of this machine failed to look up) gone\.invalid/,
    );
    await on.step(["doctor"], /✗ endpoint crm: DNS has no address for gone\.invalid/);
  });
});

/** A receiver that checks the signature of what `read` makes of the body. */
const checking =
  (secret: string, read: (body: string) => string) => ({ body, headers }: Received) =>
    headers["x-bookme-signature"] === hmac(read(String(body)), secret)
      ? { status: 200 }
      : { status: 401, body: "Signature does not match" };

/** The arguments of the verify command that `delivery` prints. */
function verifyOf(out: string): string[] {
  const signature = /verify --body - --signature '(sha256=[0-9a-f]{64})'/.exec(out)?.[1] ?? "";
  return ["verify", "--body", "-", "--signature", signature, "--secret", "env:RECEIVER_SECRET"];
}

onServer(
  "incident: a receiver checks the body that it parsed and wrote again",
  async (database) => {
    const rewrite = (body: string) => JSON.stringify(JSON.parse(body));
    await scene(database, checking(SECRET, rewrite), {}, async (on) => {
      const id = await on.delivery();
      await on.step(
        ["event", NUMBER],
        /http_4xx \(status 401\); the answer mentions a signature, which `verify`/,
      );
      const args = verifyOf(
        await on.step(["delivery", id], /Either the receiver has another secret, or it/),
      );
      const sent = String((await on.receiver.received(1))[0]?.body);
      const env = { RECEIVER_SECRET: SECRET };
      assert.match((await runHere(args, { stdin: sent, env })).out, /^✓/, "the secret is right");
      const read = await runHere(args, { stdin: rewrite(sent), env });
      assert.equal(read.code, 1);
      assert.match(read.out, /number/, "what the receiver read has a rewritten number");
    });
  },
);

onServer("incident: the secret was changed on one side", async (database) => {
  await scene(database, checking(OTHER_SECRET, (body) => body), {}, async (on) => {
    const id = await on.delivery();
    const args = verifyOf(
      await on.step(["delivery", id], /Either the receiver has another secret, or it/),
    );
    const stdin = String((await on.receiver.received(1))[0]?.body);
    const { code, out } = await runHere(
      [...args, "--previous-secret", "env:OURS"],
      { stdin, env: { RECEIVER_SECRET: OTHER_SECRET, OURS: SECRET } },
    );
    assert.equal(code, 1);
    assert.match(out, /previous|earlier|another secret/i);
  });
});

onServer("incident: a receiver takes 29 of its 30 seconds", async (database) => {
  await scene(database, () => ({ status: 200 }), {}, async (on) => {
    const id = await on.delivery();
    await using db = await database.open();
    await db.admin`
      update ended_deliveries set started_at = last_attempt_at - interval '29 s'`;
    await on.step(
      ["delivery", id],
      /Slow: it took 29 s of the 30 s that it has\. Let the receiver answer first and work later/,
    );
  });
});

onServer("incident: something that is no HTTP answers", async (database) => {
  await scene(database, () => "garbage", {}, async (on) => {
    const id = await on.delivery();
    await on.step(["event", NUMBER], /ended with protocol \(.*"SSH-2\.0-OpenSSH_9\.2"\)/);
    await on.step(
      ["delivery", id],
      /It sent[^]*SSH-2\.0[^]*The port does not speak HTTP; check host and port/,
    );
  });
});

onServer("incident: posts come from an unexpected address, or unsigned", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    ingest: { secret: "main" },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const body = JSON.stringify(booking("apt_789", "bus_123", { confirmationNumber: NUMBER }));
  const { status } = await daemon.post(body);
  assert.equal(status, 401);
  const found = await daemon.cli(["event", NUMBER]);
  assert.equal(found.code, 1);
  assert.match(
    found.err,
    /refused +BookMe's posts are refused: 1 in the last 24 hours, the signature is missing/,
  );
  await daemon.post(body, { "x-bookme-signature": hmac(body, OTHER_SECRET) });
  const stats = await daemon.cli(["stats"]);
  assert.match(stats.out, /^1 +401 .* the signature is missing$/m);
  assert.match(stats.out, /^1 +401 .* the signature is wrong$/m);
  assert.match(
    (await daemon.cli(["doctor"])).out,
    /^! ingest: BookMe's posts are refused: 2 in the last hour/m,
  );
  assert.match(
    (await daemon.cli(["endpoints"])).out,
    /^BookMe's posts are refused: 2 in the last hour, .*; `bookme-webhooks stats` has the remedy$/m,
  );
  // The address is checked before the signature.
  await using other = await serverWithProxy(database, receiver.url);
  assert.equal((await other.post(body, { "x-forwarded-for": "203.0.113.5" })).status, 403);
  assert.match(
    (await other.cli(["stats"])).out,
    /^1 +403 .*203\.0\.113\.5 +the sender's address is not allowed$/m,
  );
});

async function serverWithProxy(database: TestDatabase, url: string): Promise<Operated> {
  return await startOperated({
    database: database.section,
    server: { listen: `127.0.0.1:${await freePort()}`, trusted_proxies: ["127.0.0.1/32"] },
    endpoints: [endpoint("crm", url)],
  });
}

onServer(
  "incident: an event type is misspelt, by the receiver's entry or by BookMe",
  async (database) => {
    const at = (url: string) => ({
      endpoints: [endpoint("crm", url, { events: ["booking.confirmed"] })],
    });
    await scene(database, () => ({ status: 200 }), at("http://127.0.0.1:9/"), async (on) => {
      await on.step(
        ["event", NUMBER],
        /crm +not owed +The endpoint does not select booking\.created; it selects booking\.confirmed/,
      );
      await on.daemon.post({ ...booking("apt_1"), event: "booking.creatd" });
      await on.step(["stats"], /^1 +422 .* the payload is not valid$/m);
      await on.step(["send", "booking.creatd"], /did you mean booking\.created\?/);
    });
    await inTemporary(async (directory) => {
      const path = `${directory}/config.yaml`;
      await Deno.writeTextFile(
        path,
        'endpoints: [{ id: crm, url: "http://127.0.0.1:9/", unsigned: true, events: [booking.creatd] }]\n',
      );
      const { code, err } = await runHere(["check", "-c", path]);
      assert.equal(code, 2);
      assert.match(err, /events\[0\]: .*booking\.creatd/);
    });
  },
);

onServer("incident: an endpoint wants another business", async (database) => {
  const endpoints = [endpoint("crm", "http://127.0.0.1:9/", { businesses: ["bus_132"] })];
  await scene(database, () => ({ status: 200 }), { endpoints }, async (on) => {
    await on.step(
      ["event", NUMBER],
      /crm +not owed +The event is of the business bus_123; the endpoint wants bus_132 only/,
    );
    const stdin = JSON.stringify(booking("apt_1", "bus_123"));
    await on.step(
      ["send", "booking.created", "--data", "-"],
      /would not be owed to crm: The event is of the business bus_123/,
      { stdin },
    );
  });
});

onServer("incident: a receiver is down for two hours", async (database) => {
  await scene(database, () => "reset", { delivery: { retry: ["0s"] } }, async (on) => {
    const id = await on.delivery();
    await on.step(["endpoints"], /^crm +active +1 of 1 failed: connection/m);
    await on.step(
      ["event", NUMBER],
      /crm +failed +Failed after 1 attempt; .*; only a retry or a replay sends it again/,
    );
    on.receiver.answer(() => ({ status: 200 }));
    await on.step(["send", "booking.created"], /^✓ .*: delivered/);
    await on.step(["replay", "--endpoint", "crm", "--since", "3h", "--yes"], /./);
    await until("it is delivered", async () => {
      const { out } = await on.daemon.cli(["event", id]);
      return /crm +delivered +Delivered after 2 attempts, with status 200/.test(out);
    });
  });
});
