/** Every free text has a mark of its own: a test fails if one is an element anywhere, or is shown nowhere. */

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { putAlert, stopJudging } from "../support/alerts.ts";
import { browserTest } from "../support/browser.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { enter } from "../support/dashboard_pages.ts";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { assertInert, assertNothingRan, marked, marksOn } from "../support/inert.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const BUSINESS = marked("business");

/** A booking with a mark in each field that pages show; `prefix` tells it from others. */
function markedBooking(prefix: string) {
  return booking(marked(`${prefix}subject`), BUSINESS, {
    confirmationNumber: marked(`${prefix}confirmation`),
    notes: marked(`${prefix}payload`),
    [marked(`${prefix}member`)]: true,
  });
}

/** A daemon whose every free text is marked, with a delivery that was refused and one that was redirected. */
async function setScene() {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await serverDatabase());
  const db = stack.use(await database.open());
  let answers = "response";
  const receiver = stack.use(
    await startReceiver(({ path }) => ({
      status: path.startsWith("/moved") ? 301 : 400,
      reason: marked("reason"),
      headers: {
        "Content-Type": "text/html",
        "Location": `/moved/${marked("location")}`,
        "X-Mark": marked("response-header"),
        "X-'`Mark": "1",
      },
      body: marked(answers),
    })),
  );
  const url = (path: string) => `${receiver.url}/${path}?${marked(`url-${path}`)}`;
  const daemon = stack.use(
    await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s"] },
      alerts: {
        mail: { smtp: "smtp://127.0.0.1:9", from: "a@example.com", to: ["ops@example.com"] },
      },
      events: [{ name: "booking.moved", description: marked("type-description") }],
      endpoints: [
        endpoint("crm", url("refused"), { description: marked("file-description") }),
        endpoint("moved", url("moved"), { headers: { "X-'Tenant": "bella" } }),
      ],
    }),
  );
  const api = await checkedApi(daemon);
  const ask = async (path: string, body: unknown, method = "POST") => {
    const { status, body: answer } = await api.call(method, path, body);
    assert.ok(status < 300, `${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  const paused = await ask("endpoints", {
    url: url("paused"),
    events: ["booking.created"],
    businesses: [BUSINESS],
    description: marked("description"),
  });
  await ask(`endpoints/${paused.id}/pause`, { reason: marked("pause") });
  await db.admin`update endpoints set owner = ${BUSINESS} where id = ${paused.id}`;
  const link = await ask("portal-links", { business: BUSINESS });
  await stopJudging(db.admin);
  const details = { attempts: 40, failed: 30, reason: "http_4xx", code: 400 } as const;
  for (const id of ["crm", paused.id]) {
    await putAlert(db.admin, { kind: "endpoint_failing", endpoint: id, began: 20, details });
  }
  const { body: event } = await daemon.post(markedBooking(""));
  const deliveries: string[] = [];
  for (const id of ["crm", "moved"]) {
    deliveries.push(await daemon.deliveryId(event.id, id));
    await daemon.delivery(deliveries.at(-1) ?? "");
  }
  deliveries.push(await daemon.deliveryId(event.id, paused.id));
  const replay = await ask("replays", { endpoint: paused.id, since: "2026-01-01T00:00:00Z" });
  const tested = await ask("endpoints/crm/test", {
    event: "booking.created",
    data: markedBooking("test-").data,
  });
  const moved = stack.move();
  return {
    daemon,
    ask,
    /** The mark in the receiver's next answers. */
    set answers(mark: string) {
      answers = mark;
    },
    event: event.id as string,
    deliveries,
    paused: paused.id as string,
    replay: replay.id as string,
    tested: tested.event_id as string,
    link: link.token as string,
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}

type Scene = Awaited<ReturnType<typeof setScene>>;

const HOUSES = ["/dashboard", "/portal"] as const;

async function enterHouse(
  page: Page,
  base: typeof HOUSES[number],
  { daemon, link }: Scene,
): Promise<void> {
  if (base === "/portal") await enter(page, daemon.url, "bella", link);
  else await enter(page, daemon.url, "operator");
}

/** The pages of a house that show what others wrote. */
function pathsOf(base: string, { event, deliveries, paused, replay, tested }: Scene): string[] {
  const is_portal = base === "/portal";
  const shown = is_portal ? deliveries.slice(2) : deliveries;
  const endpoints = is_portal ? [paused] : [paused, "crm", "moved"];
  return [
    "",
    "/endpoints",
    ...endpoints.map((id) => `/endpoints/${id}`),
    ...["pause", "rotate"].map((what) => `/endpoints/${paused}/${what}`),
    "/deliveries?status=all",
    ...shown.flatMap((id) => [`/deliveries/${id}`, `/verify?delivery=${id}`]),
    `/events/${event}`,
    ...["subject", "confirmation", "business"].map((field) =>
      `/search?q=${encodeURIComponent(marked(field))}`
    ),
    `/test?endpoint=${paused}`,
    ...(is_portal ? [] : [`/test?sent=${tested}`]),
    "/replays",
    `/replays/${replay}`,
    `/replays/new?endpoint=${paused}&status=pending&since=all`,
    "/alerts",
    "/audit",
    "/event-types",
  ].map((path) => base + path);
}

/** The marks that the pages of each house show. No page shows the phrase after a status. */
const SHOWN = {
  "/dashboard": [
    ...["business", "confirmation", "description", "file-description", "location", "member"],
    ...["pause", "payload", "response", "response-header", "subject", "type-description"],
    ...["test-confirmation", "test-member", "test-payload", "test-subject"],
    ...["url-moved", "url-paused", "url-refused"],
  ],
  "/portal": [
    ...["business", "confirmation", "description", "member", "pause", "payload"],
    ...["subject", "type-description", "url-paused"],
  ],
};

browserTest("Each free text is text wherever it is shown, in both houses", async (browser) => {
  await using scene = await setScene();
  const { url } = scene.daemon;
  const page = await browser.open(url);
  const entrance = `/portal/open/${scene.link}`;
  await assertInert(page, entrance);
  assert.deepEqual(await marksOn(page), ["business"], "the page of a link");
  for (const base of HOUSES) {
    await enterHouse(page, base, scene);
    const seen = new Set<string>();
    for (const path of pathsOf(base, scene)) {
      await assertInert(page, path);
      for (const mark of await marksOn(page)) seen.add(mark);
    }
    assert.deepEqual([...seen].toSorted(), SHOWN[base].toSorted(), base);
  }
});

browserTest("Each text that comes into an open page by itself is text", async (browser) => {
  await using scene = await setScene();
  const { daemon, ask, deliveries: [refused], paused } = scene;
  const page = await browser.open(daemon.url);
  /** Something happens while a page is open, which then shows this mark. */
  const comes = async (path: string, happens: () => Promise<unknown>, mark: string) => {
    const opened = page.waitForResponse((answer) => /\/stream\b/.test(answer.url()));
    await page.goto(path);
    await opened;
    // Streams join in order: once this second one is ready, so is the page's.
    await page.evaluate(`new Promise((resolve) => {
      const stream = new EventSource(document.documentElement.dataset.base + "/stream");
      stream.addEventListener("ready", () => resolve(stream.close()));
    })`);
    assert.ok(!(await marksOn(page)).includes(mark), `${path}: ${mark} is new`);
    await happens();
    await until(`${path} shows ${mark}`, async () => {
      // New rows wait for a click.
      const band = page.getByRole("button", { name: /new\. Show (it|them)$/ });
      if (await band.count() > 0) await band.click();
      return (await marksOn(page)).includes(mark);
    });
    await assertNothingRan(page, path);
  };
  await enterHouse(page, "/dashboard", scene);
  const post = (prefix: string) => async () => {
    const { status, body } = await daemon.post(markedBooking(prefix));
    assert.equal(status, 202, JSON.stringify(body));
  };
  await comes("/dashboard/deliveries?status=all", post("row-"), "row-confirmation");
  const describe = (description: string) => () =>
    ask(`endpoints/${paused}`, { description: marked(description) }, "PATCH");
  await comes("/dashboard/endpoints", describe("renamed"), "renamed");
  await comes("/dashboard", describe("again"), "again");
  const retry = () => {
    scene.answers = "second-response";
    return ask(`deliveries/${refused}/retry`, {});
  };
  await comes(`/dashboard/deliveries/${refused}`, retry, "second-response");
  await enterHouse(page, "/portal", scene);
  await comes("/portal", post("latest-"), "latest-confirmation");
});

/** The forms of a page that have fields of their own. */
const FORMS = `[...document.querySelectorAll("main form")].filter((form) =>
  [...form.elements].some(({ name, type }) => name !== "" && !/^(csrf|once)$/.test(name) && type !== "submit"))`;

/** Fills every field of a form of the page with a mark, the hidden ones and choices too, and sends it. */
async function sendMarked(page: Page, nth: number): Promise<void> {
  const [before, after] = marked("typed-NAME").split("NAME");
  await Promise.all([
    page.waitForNavigation(),
    page.evaluate(`(() => {
      const form = ${FORMS}[${nth}];
      for (const field of form.elements) {
        if (field.name === "" || /^(csrf|once)$/.test(field.name)) continue;
        // A header's name is shown again, which ends at a colon; its value is not.
        const text = ${JSON.stringify(before)} + field.name + ${JSON.stringify(after)} + ": x";
        if (field.localName === "select") field.append(new Option(text, text));
        field.value = text;
        field.checked = true;
      }
      HTMLFormElement.prototype.submit.call(form);
    })()`),
  ]);
}

const SETTINGS = [
  ...["concurrency", "description", "headers", "patterns", "rate_limit", "retry", "timeout"],
  ...["tls_ca", "tls_cert", "url"],
];

/** The pages with forms, and the fields that they show again. Credentials are not among them. */
function formsOf(base: string, { paused }: Scene): readonly (readonly [string, string[]])[] {
  const at = `/endpoints/${paused}`;
  const is_portal = base === "/portal";
  const settings = is_portal ? SETTINGS : ["businesses", ...SETTINGS];
  return [
    ["/endpoints/new", ["events", ...settings]],
    [at, ["name", ...settings]],
    [`${at}/rotate`, ["activate", "overlap"]],
    [`${at}/overlap`, ["ends_at"]],
    [`${at}/pause`, ["reason"]],
    ["/deliveries", ["code", "endpoint", "reason", "since", "type", "until"]],
    ["/test", ["body"]],
    ["/verify", ["body", "endpoint"]],
    [
      `/replays/new?endpoint=${paused}&status=pending&since=all`,
      ["code", "endpoint", "rate", "since", "status", "type", "until"],
    ],
    ["/search?q=x", ["q"]],
    ["/alerts", is_portal ? ["endpoint", "mail"] : []],
    ["/audit", ["action", "actor", "object"]],
  ];
}

browserTest("Each text that a form shows again is text, in both houses", async (browser) => {
  await using scene = await setScene();
  const { daemon, ask, paused } = scene;
  await ask(`endpoints/${paused}/rotate`, {});
  const page = await browser.open(daemon.url);
  for (const base of HOUSES) {
    await enterHouse(page, base, scene);
    for (const [path, shown] of formsOf(base, scene)) {
      await page.goto(base + path);
      const count = await page.evaluate<number>(`${FORMS}.length`);
      assert.ok(count > 0, `${path} has a form`);
      const seen = new Set<string>();
      for (let nth = 0; nth < count; nth++) {
        await page.goto(base + path);
        await sendMarked(page, nth);
        await assertNothingRan(page, `${base}${path}, form ${nth + 1}`);
        for (const mark of await marksOn(page)) seen.add(mark);
      }
      const typed = [...seen].filter((mark) => mark.startsWith("typed-"));
      // The endpoint of the portal is paused, with the reason that was typed.
      const again = new Set([...typed].map((mark) => mark.slice("typed-".length)));
      if (!shown.includes("reason")) again.delete("reason");
      assert.deepEqual([...again].toSorted(), shown.toSorted(), base + path);
    }
  }
  await page.context().clearCookies();
  await page.goto(`/dashboard/login?next=${encodeURIComponent(`/dashboard?${marked("next")}`)}`);
  await sendMarked(page, 0);
  await assertNothingRan(page, "the form to sign in");
});
