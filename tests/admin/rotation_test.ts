import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";
import { parse, stringify } from "yaml";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { type Received, startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** Which of the secrets made `X-BookMe-Signature`, and which of them are in `webhook-signature`. */
function signedBy(request: Received | undefined, secrets: Record<string, string>) {
  assert.ok(request);
  const names = Object.entries(secrets);
  const bookme = names.filter(([, secret]) =>
    request.headers["x-bookme-signature"] ===
      "sha256=" + createHmac("sha256", secret).update(request.body).digest("hex")
  );
  const entries = (request.headers["webhook-signature"] ?? "").split(" ");
  const prefix = `${request.headers["webhook-id"]}.${request.headers["webhook-timestamp"]}.`;
  const standard = entries.map((entry) =>
    names.find(([, secret]) =>
      entry === "v1," + createHmac("sha256", Buffer.from(secret.slice(6), "base64"))
            .update(prefix).update(request.body).digest("base64")
    )?.[0]
  );
  return { bookme: bookme.map(([name]) => name), standard };
}

onServer(
  "POST /api/endpoints/:id/rotate signs with the new secret from the moment asked for",
  async (database) => {
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
    const path = `endpoints/${made.id}`;
    let sent = 0;
    const send = async () => {
      await daemon.post(booking("apt_1"));
      return (await receiver.received(++sent)).at(-1);
    };

    // At once: the old one stays in webhook-signature.
    const { body: rotated } = await api.expect(200, "POST", `${path}/rotate`, { overlap: "1h" });
    assert.notEqual(rotated.secret, made.secret);
    const secrets = { old: made.secret, new: rotated.secret };
    const request = await send();
    assert.deepEqual(signedBy(request, secrets), { bookme: ["new"], standard: ["new", "old"] });
    for (const secret of Object.values(secrets)) {
      new Webhook(secret).verify(request?.body.toString() ?? "", { ...request?.headers });
    }
    const overlap_ms = Date.parse(rotated.rotation.overlap_ends_at) -
      Date.parse(rotated.rotation.activates_at);
    assert.equal(overlap_ms, 3_600_000);

    // Later, without an overlap: the old ones sign until then, and then the new one alone.
    const activate = new Date(Date.now() + 1_500).toISOString();
    const given = { secret: made.secret.replace(/.{8}=$/, "AAAAAAAA="), activate, overlap: "0s" };
    const { body: later } = await api.expect(200, "POST", `${path}/rotate`, given);
    assert.equal(later.secret, given.secret);
    assert.equal(later.rotation.activates_at, activate);
    const all = { ...secrets, later: given.secret };
    assert.deepEqual(signedBy(await send(), all), {
      bookme: ["new"],
      standard: ["new", "old", "later"],
    });
    await until("the moment has come", () => Date.now() > Date.parse(activate) + 50);
    assert.deepEqual(signedBy(await send(), all), { bookme: ["later"], standard: ["later"] });
    assert.equal((await api.expect(200, "GET", path)).body.rotation, null);
    const { body: audit } = await api.expect(200, "GET", `audit?object=${made.id}`);
    assert.deepEqual(
      audit.data.map((entry: { action: string }) => entry.action),
      ["endpoint.rotated", "endpoint.rotated", "endpoint.created"],
    );
    for (const secret of Object.values(all)) assert.ok(!JSON.stringify(audit).includes(secret));
  },
);

onServer("POST /api/endpoints/:id/rotate refuses contradictory values", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: "http://127.0.0.1:1/",
    events: ["*"],
  });
  const path = `endpoints/${made.id}/rotate`;
  for (
    const [pointer, body] of [
      ["/secret", { secret: "short" }],
      ["/secret", { secret: 5 }],
      ["/activate", { activate: "soon" }],
      ["/activate", { activate: "2020-01-01T00:00:00Z" }],
      ["/activate", { activate: "2090-01-01T00:00:00Z" }],
      ["/overlap", { overlap: "1 day" }],
      ["/overlap", { overlap: "31d" }],
      ["/overlap", { overlap: 5 }],
      ["/overlop", { overlop: "1d" }],
    ] as const
  ) {
    const { body: problem } = await api.expect(422, "POST", path, body);
    assert.deepEqual(problem.errors.map((error: { pointer: string }) => error.pointer), [pointer]);
  }
  await api.expect(422, "POST", path, { secret: made.secret });
  for (let i = 0; i < 4; i++) await api.expect(200, "POST", path);
  assert.match((await api.expect(409, "POST", path)).body.detail, /overlap 0s/);
  await api.expect(200, "POST", path, { overlap: "0s" });
  const answers = await Promise.all(Array.from({ length: 4 }, () => api.call("POST", path)));
  assert.ok(answers.every(({ status }) => status === 200 || status === 409));
});

onServer(
  "secret: [new, old] in the file rotates without a delivery that its receiver refuses",
  async (database) => {
    const a = `whsec_${Buffer.alloc(32, "a").toString("base64")}`;
    const b = `whsec_${Buffer.alloc(32, "b").toString("base64")}`;
    // Two receivers in one: by the documentation's header with any secret that it knows, and by the
    // libraries with the only one that they know.
    let known = [a];
    let current = a;
    const refused: string[] = [];
    await using receiver = await startReceiver((request) => {
      const body = request.body.toString();
      const { bookme } = signedBy(request, Object.fromEntries(known.map((one) => [one, one])));
      if (bookme.length !== 1) refused.push("x-bookme-signature");
      for (const Library of [Webhook, SvixWebhook]) {
        try {
          new Library(current).verify(body, { ...request.headers });
        } catch {
          refused.push("webhook-signature");
        }
      }
      return { status: 200 };
    });
    await using daemon = await startOperated({
      database: database.section,
      secrets: { a, b },
      endpoints: [endpoint("crm", receiver.url, { secret: "a" })],
    });
    const api = await checkedApi(daemon);
    let accepted = 0;
    // Posts while the file is reloaded, and until everything has arrived.
    const reload = async (secret: unknown) => {
      const file = parse(Deno.readTextFileSync(daemon.path));
      file.endpoints[0].secret = secret;
      Deno.writeTextFileSync(daemon.path, stringify(file));
      let reloading = true;
      const posting = (async () => {
        do {
          await daemon.post(Array.from({ length: 20 }, () => booking("apt_1")));
          accepted += 20;
        } while (reloading);
      })();
      const { body } = await api.expect(200, "POST", "reload");
      assert.deepEqual(body.changed, ["endpoints.crm.secret changed"]);
      reloading = false;
      await posting;
      await daemon.post(booking("apt_1"));
      const last = (await receiver.received(++accepted)).at(-1);
      assert.deepEqual(refused, []);
      return signedBy(last, { a, b });
    };

    known = [a, b];
    assert.deepEqual(await reload(["b", "a"]), { bookme: ["b"], standard: ["b", "a"] });
    const { body: shown } = await api.expect(200, "GET", "endpoints/crm");
    assert.deepEqual(shown.rotation, { activates_at: null, overlap_ends_at: null });
    const cli = await daemon.cli(["endpoints", "crm"]);
    assert.match(cli.out, /rotation +the new secret signs, and the old one until it is removed/);
    const { body: problem } = await api.expect(409, "POST", "endpoints/crm/rotate");
    assert.match(problem.detail, /belongs to the configuration file; write secret: \[new, old\]/);
    const { body: config } = await api.expect(200, "GET", "config");
    assert.deepEqual(config.endpoints[0].secret, ["[redacted]", "[redacted]"]);
    for (const secret of [a, b]) {
      assert.ok(!JSON.stringify([shown, problem, config, cli]).includes(secret));
    }

    current = b;
    assert.deepEqual(await reload("b"), { bookme: ["b"], standard: ["b"] });
    known = [b];
    assert.deepEqual(await reload(["b", "a"]), { bookme: ["b"], standard: ["b", "a"] });
    assert.deepEqual(await reload(["b"]), { bookme: ["b"], standard: ["b"] });
    assert.equal((await api.expect(200, "GET", "endpoints/crm")).body.rotation, null);
  },
);

onServer("POST /api/endpoints/:id/overlap moves the end of a rotation", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url, { events: ["service.*"] })],
  });
  const api = await checkedApi(daemon);
  const given = { url: receiver.url, events: ["booking.*"] };
  const { body: made } = await api.expect(201, "POST", "endpoints", given);
  const path = `endpoints/${made.id}`;
  const inTime = (ms: number) => new Date(Date.now() + ms).toISOString();
  const day_ms = 86_400_000;
  const move = (status: number, ends_at: unknown) =>
    api.expect(status, "POST", `${path}/overlap`, { ends_at });
  let sent = 0;
  const signers = async (secrets: Record<string, string>) => {
    await daemon.post(booking("apt_1"));
    return signedBy((await receiver.received(++sent)).at(-1), secrets);
  };
  assert.match((await move(409, "now")).body.detail, /No rotation is under way/);

  // Paused or not, a rotation is a rotation.
  await api.expect(200, "POST", `${path}/pause`);
  const { body: rotated } = await api.expect(200, "POST", `${path}/rotate`);
  const secrets = { old: made.secret, new: rotated.secret };
  const later = inTime(20 * day_ms);
  assert.equal((await move(200, later)).body.rotation.overlap_ends_at, later);
  const sooner = inTime(3_600_000);
  assert.equal((await move(200, sooner)).body.rotation.overlap_ends_at, sooner);
  await api.expect(200, "POST", `${path}/resume`);
  assert.deepEqual(await signers(secrets), { bookme: ["new"], standard: ["new", "old"] });
  for (const wrong of [inTime(-day_ms), inTime(31 * day_ms), "soon", null, 5, "1h"]) {
    const { body: problem } = await move(422, wrong);
    assert.deepEqual(problem.errors.map((one: { pointer: string }) => one.pointer), ["/ends_at"]);
  }
  await api.expect(422, "POST", `${path}/overlap`, {});
  assert.equal((await move(200, "now")).body.rotation, null);
  assert.deepEqual(await signers(secrets), { bookme: ["new"], standard: ["new"] });
  assert.match((await move(409, later)).body.detail, /No rotation is under way/);

  // Planned: the old one signs until the new one does.
  const activate = inTime(day_ms);
  await api.expect(200, "POST", `${path}/rotate`, { activate });
  assert.match((await move(409, "now")).body.detail, /signs from \S+Z on, and the old one must/);
  assert.equal((await move(200, activate)).body.rotation.overlap_ends_at, activate);
  await move(200, inTime(30 * day_ms));
  const log = await api.expect(200, "GET", `audit?object=${made.id}&action=endpoint.overlap_moved`);
  assert.equal(log.body.data.length, 5);
  assert.deepEqual(log.body.data.at(-1).after, { ends_at: later });

  const { body: refused } = await api.expect(409, "POST", "endpoints/crm/overlap", {
    ends_at: "now",
  });
  assert.match(refused.detail, /write the new secret alone there, and reload/);
  const { body: file } = await api.expect(409, "POST", "endpoints/crm/rotate");
  assert.match(file.detail, /write secret: \[new, old\] there/);
  await api.expect(404, "POST", "endpoints/crn/overlap", { ends_at: "now" });
});
