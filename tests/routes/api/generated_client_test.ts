import assert from "node:assert/strict";
import { ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, startDaemon } from "../../support/daemon.ts";
import { embeddedDatabase } from "../../support/databases.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";

// Packages of their own, which the program's own lock file knows nothing of: one of them wants
// TypeScript, and valibot would take it along into the executable.
const PACKAGES = new URL("../../support/client/", import.meta.url);
const GENERATOR = "npm:openapi-typescript@7.13.0";

/** What a user of the API would write. Its arguments are the daemon, a token and an endpoint's URL. */
const PROGRAM = `
import createClient from "openapi-fetch";
import type { components, paths } from "./api.ts";

const [baseUrl = "", token = "", url = ""] = Deno.args;
const client = createClient<paths>({ baseUrl, headers: { authorization: "Bearer " + token } });

const made = await client.POST("/api/endpoints", { body: { url, events: ["booking.*"] } });
if (made.error !== undefined) throw new Error(made.error.detail);
const { secret } = made.data;
const path = { id: made.data.id };

const read = await client.GET("/api/endpoints/{id}", { params: { path } });
if (read.error !== undefined) throw new Error(read.error.detail);

const outcomes: string[] = [];
for (const event of ["booking.created", "booking.cancelled", "booking.created"]) {
  const test = await client.POST("/api/endpoints/{id}/test", { params: { path }, body: { event } });
  if (test.error !== undefined) throw new Error(test.error.detail);
  outcomes.push(test.data.attempt?.outcome ?? "none");
}

const listed: components["schemas"]["Delivery"][] = [];
let pages = 0;
let cursor: string | undefined;
do {
  const page = await client.GET("/api/deliveries", {
    params: { query: { endpoint: path.id, limit: 1, ...(cursor === undefined ? {} : { cursor }) } },
  });
  if (page.error !== undefined) throw new Error(page.error.detail);
  listed.push(...page.data.data);
  cursor = page.data.next_cursor ?? undefined;
  pages++;
} while (cursor !== undefined);

const failed = listed.find(({ status }) => status === "failed");
if (failed === undefined) throw new Error("None failed");
const retried = await client.POST("/api/deliveries/{id}/retry", {
  params: { path: { id: failed.id } },
});
if (retried.error !== undefined) throw new Error(retried.error.detail);

const missing = await client.GET("/api/deliveries/{id}", {
  params: { path: { id: "dlv_00000000000000000000000000" } },
});
if (missing.data !== undefined) throw new Error("It is there");
const problem: components["schemas"]["Problem"] = missing.error;

const event: components["schemas"]["ServiceEvent"] = {
  event: "service.created",
  timestamp: "2025-10-31T15:30:00Z",
  data: { service: { id: "svc_1" } },
};
const posted = await client.POST("/ingest", { body: [event] });
if (posted.error !== undefined) throw new Error(posted.error.detail);
const answers = Array.isArray(posted.data) ? posted.data : [posted.data];
const ready = await client.GET("/readyz");
const loop = await client.POST("/ingest", {
  body: event,
  headers: { "X-BookMe-Delivery-Id": "dlv_1" },
});

console.log(JSON.stringify({
  posted: answers.map(({ deliveries, duplicate }) => ({ deliveries, duplicate })),
  ready: ready.data?.status,
  refusal: loop.error?.code,
  secret: secret?.slice(0, 6),
  url: read.data.url,
  outcomes,
  ids: listed.map(({ id }) => id),
  pages,
  retried: { id: retried.data.id, was: failed.id },
  missing: { http: missing.response.status, status: problem.status, code: problem.code },
}));
`;

/** Each with the line's mistake, in terms of the document. */
const WRONG: readonly (readonly [mistake: string, line: string])[] = [
  ["an unknown path", `await client.GET("/api/nothing");`],
  ["a method that a path has not", `await client.DELETE("/api/deliveries");`],
  ["a path without its id", `await client.GET("/api/endpoints/{id}");`],
  [
    "a limit that is no number",
    `await client.GET("/api/deliveries", { params: { query: { limit: "1" } } });`,
  ],
  [
    "an unknown status",
    `await client.GET("/api/deliveries", { params: { query: { status: "lost" } } });`,
  ],
  ["a body without url", `await client.POST("/api/endpoints", { body: { events: ["*"] } });`],
  [
    "an event without its time",
    `await client.POST("/ingest", { body: { event: "a.b", data: {} } });`,
  ],
  [
    "a code that no refusal has",
    `(await client.GET("/api/endpoints/{id}", { params: { path: { id: "x" } } })).error?.code === "gone";`,
  ],
  ["a member that no answer has", `(await client.GET("/api/deliveries")).data?.deliveries;`],
];

const WRONG_HEAD = `import createClient from "openapi-fetch";
import type { paths } from "./api.ts";
const client = createClient<paths>({ baseUrl: "http://127.0.0.1" });
`;

interface Ran {
  readonly success: boolean;
  readonly out: string;
  readonly err: string;
}

/** A directory with the types that `openapi-typescript` makes of a daemon's document. */
async function clientOf(daemon_url: string) {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-client-" });
  const write = (name: string, text: string) =>
    Deno.writeTextFileSync(`${directory}/${name}`, text);
  const run = async (...args: string[]): Promise<Ran> => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: directory,
      env: { NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { success, out: out ?? "", err: err ?? "" };
  };
  const response = await fetch(`${daemon_url}/openapi.json`, {
    headers: { authorization: `Bearer ${ADMIN}` },
  });
  write("openapi.json", await response.text());
  for (const name of ["deno.json", "deno.lock"]) {
    write(name, Deno.readTextFileSync(new URL(name, PACKAGES)));
  }
  const remove = () => Deno.removeSync(directory, { recursive: true });
  const made = await run(
    ...["run", "--frozen", "--allow-read", "--allow-env", `--allow-write=${directory}`],
    ...[GENERATOR, "openapi.json", "--output", "api.ts"],
  );
  if (!made.success) remove();
  assert.ok(made.success, made.err);
  return { write, run, [Symbol.dispose]: remove };
}

Deno.test("a client generated from GET /openapi.json works, and knows what is wrong", async () => {
  await using receiver = await startReceiver(statuses(200, 500, 200));
  await using database = await embeddedDatabase();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
  });
  using client = await clientOf(daemon.url);

  client.write("program.ts", PROGRAM);
  const checked = await client.run("check", "--frozen", "program.ts");
  assert.ok(checked.success, checked.err);
  const { host } = new URL(daemon.url);
  const ran = await client.run(
    ...["run", "--frozen", "--no-check", "--no-prompt", `--allow-net=${host}`, "program.ts"],
    ...[daemon.url, ADMIN, receiver.url],
  );
  assert.ok(ran.success, ran.err);
  const { ids, retried, ...told } = JSON.parse(ran.out);
  assert.deepEqual(told, {
    posted: [{ deliveries: 0, duplicate: false }],
    ready: "ok",
    refusal: "loop",
    secret: "whsec_",
    url: receiver.url,
    outcomes: ["delivered", "http_5xx", "delivered"],
    pages: 3,
    missing: { http: 404, status: 404, code: "not_found" },
  });
  assert.equal(new Set(ids).size, 3);
  assert.deepEqual(retried, { id: ids[1], was: ids[1] }, "the newest is the first");
  await receiver.received(4);
  await daemon.delivery(retried.id, ({ status }) => status === "delivered");

  client.write("wrong.ts", WRONG_HEAD + WRONG.map(([, line]) => line).join("\n"));
  const refused = await client.run("check", "--frozen", "wrong.ts");
  assert.equal(refused.success, false);
  const lines = new Set([...refused.err.matchAll(/wrong\.ts:(\d+):/g)].map(([, no]) => Number(no)));
  const first = WRONG_HEAD.split("\n").length;
  const passed = WRONG.filter((_, i) => !lines.has(first + i)).map(([mistake]) => mistake);
  assert.deepEqual(passed, [], refused.err);
  assert.equal(lines.size, WRONG.length, refused.err);
});
