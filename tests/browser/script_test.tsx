/** The script of pages, on a page of our own components whose rows and answers the test changes. */

import assert from "node:assert/strict";
import { Hono } from "hono";
import type { Page } from "playwright-core";
import { ASSETS } from "../../routes/dashboard/assets.ts";
import * as ui from "../../routes/dashboard/components/all.ts";
import { page as answer } from "../../routes/dashboard/layout.tsx";
import type { PageEnv } from "../../routes/dashboard/visit.ts";
import { type Browser, browserTest } from "../support/browser.ts";
import { VISIT } from "../support/patterns.tsx";
import { until } from "../support/wait.ts";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; form-action 'self'; require-trusted-types-for 'script'; " +
  "trusted-types bookme";

/** What the page shows and how the stream behaves. */
interface World {
  headline: string;
  rows: { id: string; word: string }[];
  at: string;
  /** How the house answers: as usual, by leading to the login, or not at all. */
  mood: "open" | "ended" | "away";
  /** Pages that were fetched. */
  fetched: number;
  readonly streams: Set<ReadableStreamDefaultController<Uint8Array>>;
  send(message: string): void;
  cut(): void;
}

function makeWorld(): World {
  const streams: World["streams"] = new Set();
  return {
    headline: "All is calm",
    rows: [{ id: "1", word: "Waiting" }, { id: "2", word: "Waiting" }, {
      id: "3",
      word: "Waiting",
    }],
    at: new Date().toISOString(),
    mood: "open",
    fetched: 0,
    streams,
    send: (message) => {
      for (const stream of streams) stream.enqueue(new TextEncoder().encode(message));
    },
    cut: () => {
      for (const stream of streams) stream.close();
      streams.clear();
    },
  };
}

const DELIVERY = 'event: delivery\ndata: {"id":"dlv_1"}\n\n';

function bodyOf({ headline, rows, at }: World) {
  return (
    <>
      <ui.Verdict
        tone="calm"
        headline={headline}
        actions={
          <ui.ActionButton visit={VISIT} action="/dashboard/deliveries/1/retry" label="Retry" />
        }
      />
      <ui.Section id="list" live="list">
        <ui.Rows
          columns={[
            { name: "id", label: "Name", phone: "subject", cell: ({ id }) => `Row ${id}` },
            { name: "word", label: "State", cell: ({ word }) => word },
          ]}
          rows={rows}
          id={({ id }) => id}
          href={({ id }) => `/dashboard/row/${id}`}
        />
      </ui.Section>
      <ui.Section id="form" live="swap" title={headline}>
        <ui.TextField name="reason" label="Reason" value="" note={headline} />
        <ui.Fold label="More">Inside</ui.Fold>
        <ui.Moment at={at} style="relative" />
        <p>
          <ui.Moment at="2026-01-15T23:30:00.000Z" style="absolute" />
        </p>
        <p>
          <ui.Id text="dlv_0000" what="delivery id" />
        </p>
      </ui.Section>
    </>
  );
}

function serve(world: World) {
  const app = new Hono<PageEnv>();
  for (const { path, type, bytes } of ASSETS) {
    app.get(path, (c) => c.body(bytes, 200, { "content-type": type }));
  }
  app.use(async (c, next) => {
    c.header("Content-Security-Policy", POLICY);
    if (world.mood === "ended" && !c.req.path.endsWith("/login")) {
      return c.redirect("/dashboard/login", 303);
    }
    if (world.mood === "away") return c.text("Away", 503);
    await next();
  });
  app.get("/dashboard/stream", (c) => {
    if (c.req.method === "HEAD") return c.body(null, 200);
    let own: ReadableStreamDefaultController<Uint8Array>;
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        own = controller;
        world.streams.add(own);
        own.enqueue(new TextEncoder().encode("retry: 50\nid: 1\n\n"));
      },
      cancel() {
        world.streams.delete(own);
      },
    });
    return c.body(stream, 200, { "content-type": "text/event-stream" });
  });
  app.get("/dashboard/*", (c) => {
    world.fetched += 1;
    const head = { title: "Test", nav: null, live: { deliveries: true } } as const;
    return answer(c, VISIT, head, bodyOf(world));
  });
  return Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    (request) => app.fetch(request) as Promise<Response>,
  );
}

/** A test with the page open in a browser. */
function scriptTest(
  name: string,
  test: (page: Page, world: World, browser: Browser) => Promise<void>,
) {
  browserTest(name, async (browser) => {
    const world = makeWorld();
    const server = serve(world);
    try {
      const page = await browser.open(`http://127.0.0.1:${server.addr.port}`);
      await page.goto("/dashboard/");
      await test(page, world, browser);
      await page.close();
    } finally {
      world.cut();
      await server.shutdown();
    }
  });
}

const names = (page: Page) => page.locator("a.row").allTextContents();

async function isLive(page: Page, world: World): Promise<void> {
  await page.getByText("Live ·").waitFor();
  await until("a stream", () => world.streams.size === 1);
}

scriptTest("new rows wait in a band, and known ones change where they are", async (page, world) => {
  await isLive(page, world);
  world.rows = [
    { id: "9", word: "New" },
    { id: "3", word: "Delivered" },
    ...world.rows.slice(0, 2),
  ];
  world.send(DELIVERY);
  const band = page.getByRole("button", { name: "1 new. Show them" });
  await band.waitFor();
  await page.getByText("1 new ·").waitFor();
  assert.deepEqual(await names(page), ["Row 1", "Row 2", "Row 3"]);
  assert.equal(await page.locator("#row-3 td").nth(1).textContent(), "Delivered");
  await band.click();
  assert.deepEqual(await names(page), ["Row 9", "Row 3", "Row 1", "Row 2"]);
  await page.getByText("Live ·").waitFor();
  assert.equal(await page.locator(".band").count(), 0);
});

scriptTest("what was typed, opened, selected and focused stays", async (page, world) => {
  await isLive(page, world);
  await page.locator("summary").click();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.getByLabel("Reason").fill("because");
  const once = page.locator('form.inline input[name="once"]');
  const mark = await once.inputValue();
  world.headline = "Something happened";
  world.send(DELIVERY);
  await page.getByRole("heading", { level: 1, name: "Something happened" }).waitFor();
  await page.getByRole("heading", { level: 2, name: "Something happened" }).waitFor();
  assert.equal(await page.getByLabel("Reason").inputValue(), "because");
  assert.equal(await once.inputValue(), mark);
  assert.equal(await page.evaluate("document.activeElement.name"), "reason");
  assert.ok(await page.getByText("Inside").isVisible());
  assert.equal(await page.locator("[data-selected] a.row").textContent(), "Row 2");
});

scriptTest("a pause is remembered, and its end brings what was missed", async (page, world) => {
  await isLive(page, world);
  await page.keyboard.press("p");
  await page.getByText("Paused ·").waitFor();
  await until("no stream", () => world.streams.size === 0);
  await page.reload();
  await page.getByText("Paused ·").waitFor();
  assert.equal(world.streams.size, 0);
  world.headline = "Missed";
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("heading", { level: 1, name: "Missed" }).waitFor();
  await isLive(page, world);
});

scriptTest("a stream that was cut comes back with what was missed", async (page, world) => {
  await isLive(page, world);
  world.mood = "away";
  world.headline = "Back again";
  world.cut();
  await page.getByText("Reconnecting ·").waitFor();
  world.mood = "open";
  await page.getByRole("heading", { level: 1, name: "Back again" }).waitFor();
  await isLive(page, world);
});

scriptTest("the end of the session stops everything, and says so", async (page, world, browser) => {
  await isLive(page, world);
  world.mood = "ended";
  world.cut();
  await page.getByText("Session ended").waitFor();
  assert.equal(await page.getByRole("link", { name: "Sign in" }).getAttribute("href"), page.url());
  const { fetched } = world;
  world.mood = "open";
  await page.keyboard.press("p");
  assert.equal(world.fetched, fetched);
  // The stream was led to a page, which the browser reports.
  assert.equal(browser.complaints.splice(0).length, 1);
  assert.equal(world.streams.size, 0);
});

scriptTest("a hidden tab has no stream", async (page, world) => {
  await isLive(page, world);
  const hide = (hidden: boolean) =>
    page.evaluate(
      `Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"))`,
    );
  await hide(true);
  await until("no stream", () => world.streams.size === 0);
  world.headline = "While hidden";
  await hide(false);
  await page.getByRole("heading", { level: 1, name: "While hidden" }).waitFor();
  await isLive(page, world);
});

scriptTest("times are in the viewer's zone, or in UTC once that is chosen", async (page) => {
  await page.getByText("Fri 16 Jan 00:30:00").waitFor();
  await page.getByText("Vienna time · UTC").waitFor();
  await page.getByText(/^now$/).waitFor();
  const title = await page.getByText("Fri 16 Jan 00:30:00").getAttribute("title");
  assert.equal(title, "Fri 16 Jan 2026 00:30:00 CET");
  await page.getByRole("button", { name: "Show times in UTC" }).click();
  await page.getByText("Thu 15 Jan 23:30:00").waitFor();
  await page.reload();
  await page.getByText("Thu 15 Jan 23:30:00").waitFor();
  await page.getByRole("button", { name: "Show times in Vienna time" }).click();
  await page.getByText("Fri 16 Jan 00:30:00").waitFor();
});

scriptTest("relative times age by themselves", async (page, world) => {
  world.at = new Date(Date.now() - 50_000).toISOString();
  await page.reload();
  await page.getByText(/^5\d s ago$/).waitFor();
  await page.getByText(/^1 min ago$/).waitFor();
});

scriptTest("keys move and open rows, but not while somebody types", async (page) => {
  await page.keyboard.press("/");
  await page.keyboard.type("jo?p");
  assert.equal(await page.getByRole("searchbox").inputValue(), "jo?p");
  assert.equal(await page.locator("dialog[open], [data-selected]").count(), 0);
  await page.locator("h1").click();
  await page.keyboard.press("?");
  const keys = page.getByRole("dialog", { name: "Keys" });
  await keys.waitFor();
  await keys.getByRole("checkbox").check();
  await keys.getByRole("button", { name: "Close" }).click();
  await page.keyboard.press("j");
  assert.equal(await page.locator("[data-selected]").count(), 0);
  await page.getByRole("button", { name: "Keys" }).click();
  await keys.getByRole("checkbox").uncheck();
  await page.keyboard.press("Escape");
  for (const key of ["j", "j", "j", "k"]) await page.keyboard.press(key);
  assert.equal(await page.locator("[data-selected] a.row").textContent(), "Row 2");
  await page.keyboard.press("o");
  await page.waitForURL("**/dashboard/row/2");
});

scriptTest("without a clipboard the text is selected", async (page, world, browser) => {
  const other = await browser.open(new URL(page.url()).origin);
  await other.addInitScript('Object.defineProperty(navigator, "clipboard", { value: undefined })');
  await other.goto("/dashboard/");
  await other.getByRole("button", { name: "Copy delivery id" }).click();
  await other.getByText("Selected; press Ctrl+C").waitFor();
  assert.equal(await other.evaluate("getSelection().toString()"), "dlv_0000");
  await other.close();
  assert.equal(world.mood, "open");
});
