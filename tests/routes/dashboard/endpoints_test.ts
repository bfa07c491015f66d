import assert from "node:assert/strict";
import {
  ADMIN,
  booking,
  endpoint,
  startDaemon,
  type TestDaemon,
  VIEWER,
} from "../../support/daemon.ts";
import { ENCRYPTION_KEY } from "../../support/checked.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";
import { testCertificates } from "../../support/tls.ts";
import { openLink, signIn, type Visitor, visitor } from "../../support/visitor.ts";
import { textOf } from "./page_text.ts";

/** A daemon on which endpoints can be made. */
function start(database: TestDatabase, endpoints: Record<string, unknown>[] = []) {
  return startDaemon({ database: database.section, encryption_key: ENCRYPTION_KEY, endpoints });
}

const SECRET = /whsec_[A-Za-z0-9+/=]{40,}/;

/** Makes an endpoint by the form, and returns its id. */
async function make(operator: Visitor, url: string, more: Record<string, string | string[]> = {}) {
  const { status, location, text } = await operator.submit("/dashboard/endpoints", {
    url,
    events: ["booking.created", "booking.cancelled"],
    ...more,
  }, "/dashboard/endpoints/new");
  assert.equal(status, 303, text);
  const [, id = ""] = /^\/dashboard\/endpoints\/([^?]+)\?note=/.exec(location ?? "") ?? [];
  assert.match(id, /^ep_/);
  return { id, location: location ?? "" };
}

/** The value of a field of a page, as a browser shows it. */
function valueOf(html: string, name: string): string | undefined {
  const input = new RegExp(`<input\\b[^>]*\\bname="${name}"[^>]*>`).exec(html)?.[0];
  if (input !== undefined) return /value="([^"]*)"/.exec(input)?.[1]?.replaceAll("&quot;", '"');
  return new RegExp(`<textarea\\b[^>]*\\bname="${name}"[^>]*>([^<]*)<`).exec(html)?.[1]
    ?.replace(/^\n/, "");
}

/** The error next to a field; undefined for none. */
function errorOf(html: string, name: string): string | undefined {
  return new RegExp(`id="f-${name}-error">([^<]*)<`).exec(html)?.[1]?.replaceAll("&quot;", '"');
}

const api = async (daemon: TestDaemon, path: string, init: RequestInit = {}) => {
  const response = await fetch(`${daemon.url}/api/${path}`, {
    ...init,
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
  });
  const body = await response.json();
  assert.ok(response.ok, JSON.stringify(body));
  return body;
};

onServer("an endpoint is made with a form, and its secret is shown once", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const form = await operator.get("/dashboard/endpoints/new");
  assert.equal(form.status, 200);
  assert.match(form.text, /booking\.created/);
  const { id, location } = await make(operator, receiver.url, {
    description: "Till",
    timeout: "10s",
    headers: "X-Tenant: bella-credential",
  });
  const made = await operator.get(location);
  assert.match(made.text, SECRET);
  assert.match(made.text, /Nothing has been sent to Till yet/);
  assert.ok(!made.text.includes("bella-credential"));
  const later = await operator.get(`/dashboard/endpoints/${id}`);
  assert.doesNotMatch(later.text, SECRET);
  assert.equal(valueOf(later.text, "timeout"), "10s");
  assert.equal(valueOf(later.text, "headers"), "X-Tenant: [redacted]");
  const { timeout_ms, inherited, events } = await api(daemon, `endpoints/${id}`);
  assert.deepEqual([timeout_ms, inherited], [10_000, ["retry_ms"]]);
  assert.deepEqual(events, ["booking.created", "booking.cancelled"]);
  const list = await operator.get("/dashboard/endpoints");
  assert.match(list.text, /Till/);
});

onServer(
  "each mistake of a new endpoint is next to its field, and what was typed stays",
  async (database) => {
    await using daemon = await start(database);
    const operator = await signIn(daemon.url);
    const { status, text } = await operator.submit("/dashboard/endpoints", {
      url: "ftp://example.com/in",
      patterns: "nothing.*",
      businesses: "bus_1, bus_1",
      timeout: "10 seconds",
      retry: "0s, soon",
      rate_limit: "fast",
      concurrency: "0",
      headers: "Host: credential-typed",
      tls_key: "key-typed",
      secret: "short-typed",
    }, "/dashboard/endpoints/new");
    assert.equal(status, 422);
    const errors = Object.fromEntries(
      [
        "url",
        "patterns",
        "businesses",
        "timeout",
        "retry",
        "rate_limit",
        "concurrency",
        "headers",
        "secret",
      ]
        .map((name) => [name, errorOf(text, name) !== undefined]),
    );
    assert.ok(Object.values(errors).every((has) => has), JSON.stringify(errors));
    assert.match(errorOf(text, "timeout") ?? "", /Write a number and a unit, like 10s or 1m/);
    assert.equal(valueOf(text, "url"), "ftp://example.com/in");
    assert.equal(valueOf(text, "timeout"), "10 seconds");
    assert.equal(valueOf(text, "patterns"), "nothing.*");
    for (const secret of ["credential-typed", "key-typed", "short-typed"]) {
      assert.ok(!text.includes(secret), secret);
    }
    assert.equal((await api(daemon, "endpoints")).data.length, 0);
  },
);

onServer("an endpoint without events is refused next to the events", async (database) => {
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { status, text } = await operator.submit("/dashboard/endpoints", {
    url: "https://example.com/in",
  }, "/dashboard/endpoints/new");
  assert.equal(status, 422);
  assert.ok(errorOf(text, "events") !== undefined, text);
});

onServer("settings are saved; a form that is saved as it is changes nothing", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { id } = await make(operator, receiver.url, { headers: "X-Tenant: bella" });
  const path = `/dashboard/endpoints/${id}`;
  const page = await operator.get(path);
  const asItIs = {
    url: valueOf(page.text, "url") ?? "",
    events: ["booking.created", "booking.cancelled"],
    timeout: valueOf(page.text, "timeout") ?? "",
    retry: valueOf(page.text, "retry") ?? "",
    headers: valueOf(page.text, "headers") ?? "",
  };
  assert.equal(asItIs.retry, "0s, 1m, 5m, 15m, 1h, 6h, 1d");
  const same = await operator.submit(path, asItIs);
  assert.equal(same.status, 303);
  assert.match((await operator.get(same.location ?? "")).text, /nothing was changed/);
  assert.equal((await api(daemon, `endpoints/${id}`)).version, 1);
  const changed = await operator.submit(path, {
    ...asItIs,
    description: "Till",
    rate_limit: "5/s",
  });
  assert.equal(changed.status, 303);
  assert.match((await operator.get(changed.location ?? "")).text, /Saved\./);
  const now = await api(daemon, `endpoints/${id}`);
  assert.deepEqual(
    [now.version, now.description, now.rate_limit, now.headers, now.inherited],
    [2, "Till", "5/s", { "X-Tenant": "[redacted]" }, ["timeout_ms", "retry_ms"]],
  );
  assert.match((await operator.get(path)).text, /changed description and rate limit/);
});

onServer("somebody else's change is not overwritten unseen", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { id } = await make(operator, receiver.url);
  const path = `/dashboard/endpoints/${id}`;
  const fields = { url: receiver.url, events: ["booking.created", "booking.cancelled"] };
  const { text: before } = await operator.get(path);
  await api(daemon, `endpoints/${id}`, {
    method: "PATCH",
    body: JSON.stringify({ description: "Theirs" }),
  });
  const hidden = Object.fromEntries(
    ["csrf", "once", "version"].map((name) => [name, valueOf(formOf(before, path), name) ?? ""]),
  );
  const refused = await operator.post(path, { ...hidden, ...fields, description: "Mine" });
  assert.equal(refused.status, 409);
  assert.match(refused.text, /Somebody else changed this endpoint while you edited it/);
  assert.equal(errorOf(refused.text, "description"), "Stored meanwhile: Theirs");
  assert.equal(valueOf(refused.text, "description"), "Mine");
  assert.equal((await api(daemon, `endpoints/${id}`)).description, "Theirs");
  const again = Object.fromEntries(
    ["csrf", "once", "version"].map((
      name,
    ) => [name, valueOf(formOf(refused.text, path), name) ?? ""]),
  );
  const saved = await operator.post(path, { ...again, ...fields, description: "Mine" });
  assert.equal(saved.status, 303, saved.text);
  assert.equal((await api(daemon, `endpoints/${id}`)).description, "Mine");
});

/** The form of a page that is sent to `path`. */
function formOf(html: string, path: string): string {
  return [...html.matchAll(/<form\b[^>]*>[^]*?<\/form>/g)].map(([form]) => form)
    .find((form) => form.includes(`action="${path}"`)) ?? "";
}

onServer("deselecting what waits says how much that cancels, and asks", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { id } = await make(operator, receiver.url);
  const path = `/dashboard/endpoints/${id}`;
  await operator.submit(`${path}/pause`, { reason: "maintenance" });
  for (const nth of [1, 2, 3]) await daemon.post(booking(`apt_${nth}`, "bus_1"));
  const { text } = await operator.get(path);
  assert.match(text, /3 deliveries are waiting/);
  assert.match(text, /maintenance/);
  const fields = { url: receiver.url, events: ["booking.cancelled"] };
  const asked = await operator.submit(path, fields);
  assert.equal(asked.status, 422);
  assert.match(asked.text, /Cancels 3 waiting deliveries of booking\.created/);
  assert.match(asked.text, /Nothing was saved/);
  assert.equal((await api(daemon, `endpoints/${id}`)).version, 1);
  const saved = await operator.submit(path, { ...fields, confirmed: "yes" });
  assert.equal(saved.status, 303, saved.text);
  assert.match(
    (await operator.get(saved.location ?? "")).text,
    /3 waiting deliveries are being cancelled/,
  );
});

onServer("pause, resume and check are buttons; a double submit acts once", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { id } = await make(operator, receiver.url);
  const path = `/dashboard/endpoints/${id}`;
  const paused = await operator.submit(`${path}/pause`, { reason: "until noon" });
  assert.equal(paused.status, 303);
  const still = await operator.get(paused.location ?? "");
  assert.match(still.text, /has been paused since/);
  assert.match(still.text, /To keep deliveries waiting instead, leave it paused\./);
  // A pause makes no new version, and plain http has no certificate.
  const { created_at } = await api(daemon, `endpoints/${id}`);
  assert.match(still.text, new RegExp(`Version 1\\s*, since <time datetime="${created_at}"`));
  assert.match(textOf(still.text), /No TLS plain http/);
  const resumed = await operator.submit(`${path}/resume`, {}, path);
  assert.equal(resumed.status, 303);
  assert.equal((await api(daemon, `endpoints/${id}`)).paused, false);
  const checked = await operator.submit(`${path}/check`, {}, path);
  const found = await operator.get(checked.location ?? "");
  assert.match(found.text, /The connection is good/);
  assert.match(found.text, /takes connections, without TLS/);
  const { text } = await operator.get("/dashboard/endpoints/new");
  const form = formOf(text, "/dashboard/endpoints");
  const fields = {
    csrf: valueOf(form, "csrf") ?? "",
    once: valueOf(form, "once") ?? "",
    url: receiver.url,
    events: "booking.created",
    description: "Twice",
  };
  const both = await Promise.all([1, 2].map(() => operator.post("/dashboard/endpoints", fields)));
  assert.deepEqual(both.map(({ status }) => status), [303, 303]);
  assert.equal(both[0]?.location, both[1]?.location);
  const { data } = await api(daemon, "endpoints");
  assert.equal(
    data.filter((one: { description: string }) => one.description === "Twice").length,
    1,
  );
});

onServer(
  "rotation shows the new secret once, and its overlap can be moved and ended",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 200 }));
    await using daemon = await start(database);
    const operator = await signIn(daemon.url);
    const { id } = await make(operator, receiver.url);
    const path = `/dashboard/endpoints/${id}`;
    const wrong = await operator.submit(`${path}/rotate`, { activate: "soon", overlap: "400d" });
    assert.equal(wrong.status, 422);
    assert.ok(errorOf(wrong.text, "activate") !== undefined);
    assert.ok(errorOf(wrong.text, "overlap") !== undefined);
    const rotated = await operator.submit(`${path}/rotate`, { overlap: "48h" });
    assert.equal(rotated.status, 303, rotated.text);
    const shown = await operator.get(rotated.location ?? "");
    assert.match(shown.text, SECRET);
    assert.match(shown.text, /The old secret works for another 1 d 23 h/);
    const extended = await operator.submit(`${path}/overlap`, { ends_at: "72h" });
    assert.equal(extended.status, 303, extended.text);
    assert.match((await operator.get(path)).text, /works for another 2 d 23 h/);
    const ended = await operator.submit(`${path}/overlap`, {}, `${path}/overlap?end=now`);
    assert.equal(ended.status, 303, ended.text);
    assert.match((await operator.get(ended.location ?? "")).text, /only the new secret signs/);
    assert.equal((await api(daemon, `endpoints/${id}`)).rotation, null);
    const later = await operator.submit(`${path}/rotate`, { activate: "2h" });
    assert.match((await operator.get(later.location ?? "")).text, /The new secret signs from/);
  },
);

onServer(
  "deleting takes the typed name and says what it cancels; the page stays to be read",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 200 }));
    await using daemon = await start(database);
    const operator = await signIn(daemon.url);
    const { id } = await make(operator, receiver.url, { description: "Old till" });
    const path = `/dashboard/endpoints/${id}`;
    await operator.submit(`${path}/pause`);
    await daemon.post(booking("apt_1"));
    const { text } = await operator.get(path);
    assert.match(text, /Delete Old till and cancel 1</);
    const refused = await operator.submit(`${path}/delete`, { name: "old" }, path);
    assert.equal(refused.status, 422);
    assert.equal(errorOf(refused.text, "name"), "Type Old till here to delete it");
    assert.match(refused.text, /Nothing was deleted/);
    const gone = await operator.submit(`${path}/delete`, { name: "Old till" }, path);
    assert.equal(gone.status, 303, gone.text);
    const after = await operator.get(gone.location ?? "");
    assert.match(after.text, /Old till was deleted/);
    assert.match(after.text, /1 waiting delivery is being cancelled/);
    assert.doesNotMatch(after.text, /Save settings/);
    assert.match((await operator.get("/dashboard/endpoints?retired")).text, /Old till/);
  },
);

onServer("endpoints of the file are read-only, with file and line", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard/endpoints/crm");
  assert.match(text, /Set in config\.yaml, line \d+\. Change it there and reload/);
  assert.doesNotMatch(text, /Save settings|Delete crm|Rotate/);
  const paused = await operator.submit("/dashboard/endpoints/crm/pause", {});
  assert.equal(paused.status, 303);
  const rotated = await operator.submit("/dashboard/endpoints/crm/rotate", {});
  assert.equal(rotated.status, 409);
  assert.match(rotated.text, /belongs to the configuration file/);
});

onServer("a viewer sees everything and no form but the way out", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const viewer = await signIn(daemon.url, VIEWER);
  const { status, text } = await viewer.get("/dashboard/endpoints/crm");
  assert.equal(status, 200);
  const actions = [...text.matchAll(/<form\b[^>]*method="post"[^>]*action="([^"]*)"/g)].map((
    [, to],
  ) => to);
  assert.deepEqual(actions.filter((to) => !to?.endsWith("/logout")), []);
  assert.equal((await viewer.get("/dashboard/endpoints/new")).status, 403);
  assert.equal((await viewer.get("/dashboard/endpoints/crm/pause")).status, 403);
});

onServer(
  "a business makes and keeps its own endpoints, and no other exists for it",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 200 }));
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      portal: { max_endpoints: 1 },
      endpoints: [endpoint("crm", receiver.url, { businesses: ["bus_1"] })],
    });
    const link = async (business: string) =>
      await openLink(
        daemon.url,
        (await api(daemon, "portal-links", { method: "POST", body: JSON.stringify({ business }) }))
          .token,
      );
    const [own, other] = [await link("bus_1"), await link("bus_2")];
    const form = await own.get("/portal/endpoints/new");
    assert.match(form.text, /You have 0 of 1 endpoint\./);
    assert.match(form.text, /New booking/);
    assert.doesNotMatch(form.text, /name="businesses"|webhooks\.\*/);
    const made = await own.submit("/portal/endpoints", {
      url: "https://till.example.com/in",
      description: "Till",
      events: ["booking.created"],
    }, "/portal/endpoints/new");
    assert.equal(made.status, 303, made.text);
    assert.match((await own.get(made.location ?? "")).text, SECRET);
    const [path = ""] = (made.location ?? "").split("?");
    assert.match((await own.get("/portal/endpoints")).text, /1 of 1 endpoint; no room for another/);
    const full = await own.get("/portal/endpoints/new");
    assert.match(full.text, /You may have 1\. Delete one first/);
    const refused = await own.post("/portal/endpoints", {
      ...hidden((await own.get(`${path}/pause`)).text),
      url: "https://till2.example.com/in",
      events: "booking.created",
    });
    assert.equal(refused.status, 409);
    const never = await other.get("/portal/endpoints/ep_never");
    for (const tail of ["", "/pause", "/rotate", "/overlap"]) {
      assert.equal((await own.get(path + tail)).status, 200, tail);
      const { status, text } = await other.get(path + tail);
      assert.equal(status, 404, tail);
      if (tail === "") assert.equal(bare(text), bare(never.text));
    }
    assert.equal((await own.get("/portal/endpoints/crm")).status, 404);
    const csrf = hidden((await other.get("/portal/endpoints/new")).text);
    for (const tail of ["", "/pause", "/resume", "/check", "/rotate", "/overlap", "/delete"]) {
      assert.equal((await other.post(path + tail, csrf)).status, 404, tail);
    }
    const saved = await own.submit(path, {
      url: "https://till.example.com/in",
      events: ["booking.created", "booking.cancelled"],
      businesses: "bus_2",
    });
    assert.equal(saved.status, 303, saved.text);
    const { businesses, events } = await api(daemon, `endpoints/${path.split("/").at(-1)}`);
    assert.deepEqual([businesses, events], [["bus_1"], ["booking.created", "booking.cancelled"]]);
  },
);

/** `csrf` and `once` of the last form of a page. */
function hidden(html: string): Record<string, string> {
  const last = [...html.matchAll(/<form\b[^>]*>[^]*?<\/form>/g)].map(([form]) => form)
    .findLast((form) => form.includes('name="once"')) ?? "";
  return { csrf: valueOf(last, "csrf") ?? "", once: valueOf(last, "once") ?? "" };
}

/** A page without what differs from one rendering to the next. */
function bare(html: string): string {
  return html.replace(/name="(csrf|once)" value="[^"]*"/g, "").replace(/ep_\w+/g, "ep_");
}

onServer("nobody who is not signed in sees or changes an endpoint", async (database) => {
  await using daemon = await start(database);
  const stranger = visitor(daemon.url);
  assert.equal((await stranger.get("/dashboard/endpoints")).status, 303);
  assert.equal(
    (await stranger.post("/dashboard/endpoints", { url: "https://a.example" })).status,
    403,
  );
  assert.equal((await api(daemon, "endpoints")).data.length, 0);
});

onServer("certificates are typed as PEM texts, and boxes remove them", async (database) => {
  const { ca, client } = await testCertificates();
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const url = "https://crm.example.com/in";
  const { id } = await make(operator, url, { tls_ca: ca.replaceAll("\n", "\r\n") });
  const path = `/dashboard/endpoints/${id}`;
  assert.match((await operator.get(path)).text, /Set: [^<]*Empty keeps them/);
  const fields = { url, events: ["booking.created", "booking.cancelled"] };
  const wrong = await operator.submit(path, { ...fields, tls_cert: client.cert, tls_key: "typed" });
  assert.equal(wrong.status, 422);
  assert.ok(errorOf(wrong.text, "tls_key") !== undefined);
  assert.equal(valueOf(wrong.text, "tls_key"), "");
  const both = { tls_cert: client.cert, tls_key: client.key };
  const saved = await operator.submit(path, { ...fields, ...both });
  assert.equal(saved.status, 303, saved.text);
  const { text } = await operator.get(path);
  assert.ok(!text.includes("PRIVATE KEY"));
  assert.match(text, /Remove the client certificate and its key/);
  const removed = await operator.submit(path, { ...fields, tls_remove: ["client", "ca"] });
  assert.equal(removed.status, 303, removed.text);
  assert.equal((await api(daemon, `endpoints/${id}`)).tls, null);
});

onServer("an endpoint can give up its secret, and get one again", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database);
  const operator = await signIn(daemon.url);
  const { id } = await make(operator, receiver.url);
  const path = `/dashboard/endpoints/${id}`;
  const fields = { url: receiver.url, events: ["booking.created", "booking.cancelled"] };
  const unsigned = await operator.submit(path, { ...fields, unsigned: "on" });
  assert.equal(unsigned.status, 303, unsigned.text);
  const { text } = await operator.get(path);
  assert.match(text, /Nothing is signed/);
  assert.match(text, /Make a secret…/);
  const refused = await operator.submit(path, fields);
  assert.equal(refused.status, 422);
  assert.match(errorOf(refused.text, "unsigned") ?? "", /rotate makes one/);
  const made = await operator.submit(`${path}/rotate`);
  assert.match((await operator.get(made.location ?? "")).text, SECRET);
});

onServer("an endpoint of the file may be called new", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await start(database, [endpoint("new", receiver.url)]);
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard/endpoints");
  assert.match(text, /class="row" href="\/dashboard\/endpoints\/new"/);
  assert.match(
    (await operator.get("/dashboard/endpoints/new")).text,
    /Nothing has been sent to new yet/,
  );
  assert.match(text, /href="\/dashboard\/endpoints\?new"/);
  assert.match((await operator.get("/dashboard/endpoints?new")).text, /Make the endpoint/);
});
