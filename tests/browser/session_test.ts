import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { parse, stringify } from "yaml";
import { browserTest } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { enter } from "../support/dashboard_pages.ts";
import { ADMIN, startDaemon, type TestDaemon, VIEWER } from "../support/daemon.ts";
import { serverDatabase, type TestDatabase } from "../support/databases.ts";

/** The token of somebody who has left. */
const LEFT = "left-token-of-the-tests-01234";

async function giveToken(page: Page, token = ADMIN): Promise<void> {
  await page.getByLabel("Admin or viewer token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

async function signIn(page: Page): Promise<void> {
  await page.goto("/dashboard/login");
  await giveToken(page);
  await page.waitForURL("**/dashboard");
}

/** Takes a token out of the file, and reloads it. */
async function removeToken(daemon: TestDaemon, removed: string): Promise<void> {
  const { body } = await daemon.api("config");
  const file = parse(Deno.readTextFileSync(body.path));
  file.admin.tokens = file.admin.tokens.filter(({ token }: { token: string }) => token !== removed);
  Deno.writeTextFileSync(body.path, stringify(file));
  assert.equal((await daemon.api("reload", ADMIN, "POST")).status, 200);
}

async function expireSessions(database: TestDatabase): Promise<void> {
  await using db = await database.open();
  await db.admin`update sessions set expires_at = now()`;
}

async function linkOf(daemon: TestDaemon): Promise<string> {
  const made = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business: "bus_1" }),
  });
  return (await made.json()).token;
}

for (const javaScript of [true, false]) {
  const how = javaScript ? "" : " without JavaScript";
  browserTest(`a link on another site leads to the page, signed in${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({ database: database.section });
    const at = `${daemon.url}/dashboard/event-types`;
    const chat = createServer((_, outgoing) =>
      outgoing.setHeader("content-type", "text/html").end(`<a href="${at}">Look</a>`)
    );
    await new Promise<void>((resolve) => chat.listen(0, "127.0.0.1", () => resolve()));
    try {
      const page = await browser.open(daemon.url, { javaScript });
      await signIn(page);
      // To a browser, localhost is another site than 127.0.0.1.
      await page.goto(`http://localhost:${(chat.address() as AddressInfo).port}/`);
      await page.getByRole("link", { name: "Look" }).click();
      await page.getByRole("button", { name: "Sign out" }).waitFor();
      assert.equal(page.url(), at);
      await page.goBack();
      assert.match(page.url(), /^http:\/\/localhost:/, "back leads where it came from");
    } finally {
      chat.closeAllConnections();
      chat.close();
    }
    // The other site.
    browser.complaints.length = 0;
  });

  browserTest(
    `a portal link signs in by its button, and is in no Referer${how}`,
    async (browser) => {
      await using database = await serverDatabase();
      await using daemon = await startDaemon({ database: database.section });
      const token = await linkOf(daemon);
      const page = await browser.open(daemon.url, { javaScript });
      const referers: string[] = [];
      page.on("request", async (request) => {
        referers.push((await request.allHeaders())["referer"] ?? "");
      });
      await page.goto(`/portal/open/${token}`);
      await page.getByText("Webhooks of bus_1").waitFor();
      await page.getByRole("button", { name: "Open" }).click();
      await page.waitForURL("**/portal");
      await page.getByRole("button", { name: "Sign out" }).waitFor();
      assert.ok(referers.length >= 4);
      assert.ok(referers.some((referer) => referer !== ""));
      assert.ok(!referers.some((referer) => referer.includes(token)), referers.join("\n"));
    },
  );

  browserTest(`An expired session leads back to where it was${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({ database: database.section });
    const page = await browser.open(daemon.url, { javaScript });
    await enter(page, daemon.url, "operator");
    await page.goto("/dashboard");
    await expireSessions(database);
    await page.goto("/dashboard/audit?actor=anna");
    await page.waitForURL(/\/login\?next=/);
    await giveToken(page);
    await page.waitForURL(/\/dashboard\/audit\?actor=anna$/);
    browser.complaints.length = 0;
  });

  browserTest(`A form of an expired session does nothing, says so, and leads back${how}`, async (
    browser,
  ) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    const page = await browser.open(daemon.url, { javaScript });
    const send = async (base: string) => {
      await page.goto(`${base}/endpoints/new`);
      await page.getByLabel("URL").fill("https://crm.invalid/in");
      await page.getByRole("checkbox").first().check();
      await expireSessions(database);
      await page.getByRole("button", { name: "Make the endpoint" }).click();
    };
    await enter(page, daemon.url, "operator");
    await send("/dashboard");
    await page.getByText("Your session has ended. Nothing was done; sign in again").waitFor();
    await giveToken(page);
    await page.waitForURL(/\/dashboard\/endpoints\/new$/);
    await enter(page, daemon.url, "bella", await linkOf(daemon));
    await send("/portal");
    await page.getByRole("heading", { name: "Open your link" }).waitFor();
    await page.getByText(/Your session has ended.*Nothing was changed/).waitFor();
    assert.deepEqual((await daemon.api("endpoints")).body.data, []);
  });

  browserTest(`The session of a removed token ends at once${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      admin: {
        tokens: [
          { name: "ops", token: ADMIN, role: "admin" },
          { name: "left", token: LEFT, role: "admin" },
        ],
      },
    });
    const page = await browser.open(daemon.url, { javaScript });
    await enter(page, daemon.url, "operator", LEFT);
    await page.goto("/dashboard/endpoints/new");
    await page.getByLabel("URL").fill("https://crm.invalid/in");
    await page.getByRole("checkbox").first().check();
    await removeToken(daemon, LEFT);
    await page.getByRole("button", { name: "Make the endpoint" }).click();
    await page.getByText("Your session has ended. Nothing was done; sign in again").waitFor();
    assert.deepEqual((await daemon.api("endpoints")).body.data, []);
    await page.goto("/dashboard/audit");
    await page.waitForURL(/\/dashboard\/login\?next=%2Fdashboard%2Faudit$/);
    await giveToken(page, LEFT);
    await page.getByText("This is none of the configured tokens").waitFor();
    await giveToken(page);
    await page.waitForURL(/\/dashboard\/audit$/);
  });
}

browserTest("The session of a removed token ends at once, on the open page", async (browser) => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const page = await browser.open(daemon.url);
  await enter(page, daemon.url, "operator", VIEWER);
  await page.goto("/dashboard/deliveries");
  await page.getByText("Live ·").waitFor();
  await removeToken(daemon, VIEWER);
  await page.getByText("Session ended").waitFor();
  await page.getByRole("link", { name: "Sign in" }).click();
  await page.waitForURL(/\/dashboard\/login\?next=%2Fdashboard%2Fdeliveries$/);
  // The stream was led to a page, which the browser reports.
  browser.complaints.length = 0;
});
