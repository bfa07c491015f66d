import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac, randomBytes } from "node:crypto";
import { runCli, startCli } from "../support/cli.ts";
import { endpoint, writeConfig } from "../support/daemon.ts";
import { onBoth, type TestDatabase } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { until } from "../support/wait.ts";

const canary = (name: string) => `c4n4ry-${name}-${randomBytes(15).toString("base64url")}`;
const whsec = () => `whsec_${randomBytes(32).toString("base64")}`;

/** One for each place of a secret. The test searches for each as it is and encoded. */
const SECRETS = {
  ingest: canary("ingest"),
  ingest_before: whsec(),
  endpoint: whsec(),
  endpoint_header: canary("header"),
  admin: canary("admin"),
  viewer: canary("viewer"),
  database: canary("database"),
  encryption: randomBytes(32).toString("base64"),
  api_secret: canary("api"),
  api_header: canary("api-header"),
  rotated: whsec(),
  refused: canary("refused"),
};

const ENV = {
  INGEST: SECRETS.ingest,
  INGEST_BEFORE: SECRETS.ingest_before,
  CRM: SECRETS.endpoint,
  ADMIN: SECRETS.admin,
  VIEWER: SECRETS.viewer,
  ENCRYPTION: SECRETS.encryption,
};

function leaksIn(text: string, more: readonly string[]): string[] {
  return [...Object.entries(SECRETS), ...more.map((value, nth) => [`made ${nth}`, value] as const)]
    .filter(([, value]) => {
      const bytes = Buffer.from(value);
      const forms = [value, bytes.toString("hex"), bytes.toString("base64").replace(/=+$/, "")];
      if (value.startsWith("whsec_") || value === SECRETS.encryption) {
        forms.push(Buffer.from(value.replace("whsec_", ""), "base64").toString("hex"));
      }
      return forms.some((form) => text.includes(form));
    })
    .map(([name]) => name);
}

Deno.test("canary.found: the search finds a secret in each of its forms", () => {
  for (const [name, value] of Object.entries(SECRETS)) {
    const bytes = Buffer.from(value);
    for (const form of [value, bytes.toString("hex"), bytes.toString("base64")]) {
      assert.deepEqual(leaksIn(`a ${form} b`, []), [name]);
    }
  }
});

/** Every row of every table, as text. */
async function dump(database: TestDatabase): Promise<string> {
  const db = await database.open();
  const rows: string[] = [];
  const tables = await db.admin<{ name: string }[]>`
    select table_name as name from information_schema.tables where table_schema = 'public'`;
  for (const { name } of tables) {
    const all = await db.admin.unsafe(`select t::text as row from "${name}" t`);
    rows.push(...all.map(({ row }) => `${name} ${row}`));
  }
  await db.close();
  return rows.join("\n");
}

onBoth(
  "canary.everywhere: no secret shows in logs, answers, errors or the database",
  async (database) => {
    await using receiver = await startReceiver(({ path }) => ({
      status: path === "/bad" ? 500 : 200,
    }));
    const section = "url" in database.section
      ? { url: database.section.url.replace("postgres@", `postgres:${SECRETS.database}@`) }
      : database.section;
    const sections = {
      database: section,
      encryption_key: "env:ENCRYPTION",
      secrets: { bookme: "env:INGEST", before: "env:INGEST_BEFORE", crm: "env:CRM" },
      ingest: { secret: ["bookme", "before"] },
      admin: {
        tokens: [
          { name: "ops", token: "env:ADMIN", role: "admin" },
          { name: "wall", token: "env:VIEWER", role: "viewer" },
        ],
      },
      delivery: { retry: ["0s", "1s"] },
      endpoints: ["good", "bad"].map((id) =>
        endpoint(id, `${receiver.url}/${id}`, {
          secret: "crm",
          headers: { Authorization: `Bearer ${SECRETS.endpoint_header}` },
        })
      ),
    };
    const { path, remove } = writeConfig(sections);
    const heard: string[] = [];
    const made: string[] = [];
    const running = startCli(["serve", "--config", path], { env: ENV });
    try {
      const [, url = ""] = await running.until(/"Listening","url":"([^"]+)"/);
      const ask = async (
        method: string,
        route: string,
        body?: unknown,
        token: string = SECRETS.admin,
        headers: Record<string, string> = {},
      ) => {
        const response = await fetch(url + route, {
          method,
          headers: {
            "content-type": "application/json",
            ...(route.startsWith("/ingest") ? {} : { authorization: `Bearer ${token}` }),
            ...headers,
          },
          ...(body === undefined
            ? {}
            : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        });
        const text = await response.text();
        const fields = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
        return { status: response.status, text, fields };
      };
      const note = async (...request: Parameters<typeof ask>) => {
        const { status, text, fields } = await ask(...request);
        // An echo of the question is no answer.
        const route = request[1].replace(/portal_.*/, "…");
        heard.push(`${request[0]} ${route} ${status}\n${fields}\n${text}`);
        return { status, text };
      };

      // These may show a secret, once, to its maker.
      const created = await ask("POST", "/api/endpoints", {
        url: `${receiver.url}/api`,
        events: ["*"],
        secret: SECRETS.api_secret,
        headers: { "X-Api-Key": SECRETS.api_header },
      });
      assert.equal(created.status, 201, created.text);
      const { id } = JSON.parse(created.text);
      const rotations = [{ secret: SECRETS.rotated }, {}];
      for (const input of rotations) {
        const { status, text } = await ask("POST", `/api/endpoints/${id}/rotate`, input);
        assert.equal(status, 200, text);
        made.push(JSON.parse(text).secret);
      }

      const linked = await ask("POST", "/api/portal-links", { business: "bus_123" });
      assert.equal(linked.status, 201, linked.text);
      const link = JSON.parse(linked.text);
      made.push(link.token);
      await note("GET", "/api/endpoints", undefined, link.token);
      await note("GET", "/api/config", undefined, link.token);
      await note("GET", "/api/portal-links");
      await note("GET", `/portal/open/${link.token}`);
      await note("POST", `/portal/open/${link.token}/`);
      await note("GET", `/openapi.json?token=${link.token}`, undefined, link.token);
      await note("DELETE", `/api/portal-links/${link.id}`);
      await note("GET", "/api/endpoints", undefined, link.token);

      // Traffic: accepted, refused in each way, delivered, failed.
      const sample = sampleOf("booking.created");
      const sign = (secret: string) => ({
        "x-bookme-signature": `sha256=${createHmac("sha256", secret).update(sample).digest("hex")}`,
      });
      const { text } = await note("POST", "/ingest", sample, "", sign(SECRETS.ingest));
      const event_id: string = JSON.parse(text).id;
      await note("POST", "/ingest", sample, "", sign(SECRETS.ingest_before));
      await note("POST", "/ingest", sample, "", sign(SECRETS.refused));
      await note("POST", "/ingest", "{", "", sign(SECRETS.ingest));
      await note("POST", "/ingest", sample, "", { "x-bookme-signature": SECRETS.ingest });
      await receiver.received(6);
      const api = async (route: string) => {
        const { text } = await note("GET", `/api/${route}`);
        return JSON.parse(text);
      };
      const event = await until("all deliveries have ended", async () => {
        const event = await api(`events/${event_id}`);
        return event.deliveries.every((d: { status: string }) => d.status !== "pending") && event;
      });
      for (const delivery of event.deliveries) await api(`deliveries/${delivery.id}`);
      for (
        const route of [
          ...["endpoints", `endpoints/${id}`, "endpoints/good", "deliveries", "events", "audit"],
          ...["config", "stats?window=1h", "event-types", "deliveries?status=failed"],
        ]
      ) {
        await api(route);
        await note("GET", `/api/${route}`, undefined, SECRETS.viewer);
      }
      for (
        const route of [
          "/livez",
          "/readyz",
          "/ip-ranges",
          "/openapi.json",
          "/metrics",
          "/dashboard",
        ]
      ) {
        await note("GET", route);
      }

      // Changes and mistakes.
      await note("POST", `/api/endpoints/${id}/test`, { event: "booking.created" });
      await note("POST", `/api/endpoints/${id}/pause`, {});
      await note("PATCH", `/api/endpoints/${id}`, { headers: { "X-Api-Key": SECRETS.api_header } });
      await note("PATCH", `/api/endpoints/${id}`, { headers: { "X-A": `${SECRETS.refused}\n` } });
      await note("POST", "/api/endpoints", {
        url: `https://u:${SECRETS.refused}@a.example/`,
        events: ["*"],
      });
      await note("POST", "/api/endpoints", { url: "https://a.example/", events: ["*"], secret: 1 });
      await note("POST", `/api/endpoints/${id}/rotate`, { secret: SECRETS.refused, overlap: "x" });
      await note("POST", `/api/endpoints/good/rotate`, { secret: SECRETS.refused });
      await note("POST", "/api/endpoints", `{"secret":"${SECRETS.refused}",`);
      await note("GET", "/api/deliveries", undefined, SECRETS.refused);
      await note("DELETE", "/api/endpoints/good", undefined, SECRETS.viewer);
      await note("GET", "/nowhere");
      await note("POST", "/api/reload", {});
      await Deno.writeTextFile(
        path,
        `secrets: [${SECRETS.refused}]\nendpoints: {"${SECRETS.refused}"`,
      );
      await note("POST", "/api/reload", {});
      await note("DELETE", `/api/endpoints/${id}`);
      assert.equal((await note("GET", "/livez")).status, 200);
    } finally {
      running.kill("SIGTERM");
      const { out, err } = await running.ended;
      heard.push(out, err);
      remove();
    }
    assert.ok(
      heard.length > 50 && heard.join().includes("apt_789"),
      "there was something to look at",
    );
    heard.push(await dump(database));
    for (const text of heard) {
      assert.deepEqual(leaksIn(text, made), [], text.slice(0, 2_000));
    }
  },
);

Deno.test("canary.commands: check and a start that fails show no secret", async () => {
  const url = `postgres://u:${SECRETS.database}@127.0.0.1:${await freePort()}/d`;
  const good = writeConfig({
    database: { url, connect_timeout: "1s" } as { url: string },
    secrets: { bookme: "env:INGEST", crm: "env:CRM" },
    ingest: { secret: "bookme" },
    endpoints: [
      endpoint("crm", `https://a.example/${SECRETS.refused}?key=${SECRETS.refused}`, {
        secret: "crm",
        headers: { Authorization: `Bearer ${SECRETS.endpoint_header}` },
      }),
    ],
  });
  const bad = writeConfig({
    database: { url, directory: "./x" } as unknown as { url: string },
    secrets: { bookme: "env:INGEST", crm: SECRETS.endpoint },
    ingest: { secret: SECRETS.endpoint },
    admin: { tokens: [{ name: "a", token: `${SECRETS.admin} `, role: "admin" }] },
    endpoints: [
      endpoint("crm", `https://u:${SECRETS.refused}@a.example/`, {
        secret: SECRETS.endpoint,
        headers: { Authorization: `${SECRETS.endpoint_header}\n` },
        timeout: SECRETS.endpoint,
      }),
    ],
  });
  const runs: [args: string[], code: number][] = [
    [["check", "--config", good.path], 0],
    [["serve", "--config", good.path], 1],
    [["migrate", "--config", good.path], 1],
    [["check", "--config", bad.path], 2],
    [["serve", "--config", bad.path], 2],
  ];
  try {
    for (const [args, code] of runs) {
      const ended = await runCli(args, { env: ENV });
      assert.equal(ended.code, code, args.join(" ") + ended.err);
      assert.deepEqual(leaksIn(ended.out + ended.err, []), [], ended.out + ended.err);
    }
  } finally {
    good.remove();
    bad.remove();
  }
});
