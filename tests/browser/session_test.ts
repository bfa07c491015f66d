import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { browserTest } from "../support/browser.ts";
import { ADMIN, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";

async function signIn(page: Page): Promise<void> {
  await page.goto("/dashboard/login");
  await page.getByLabel("Admin or viewer token").fill(ADMIN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/dashboard");
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
      const made = await fetch(`${daemon.url}/api/portal-links`, {
        method: "POST",
        headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
        body: JSON.stringify({ business: "bus_1" }),
      });
      const { url, token } = await made.json();
      const page = await browser.open(daemon.url, { javaScript });
      const referers: string[] = [];
      page.on("request", async (request) => {
        referers.push((await request.allHeaders())["referer"] ?? "");
      });
      await page.goto(url);
      await page.getByText("Webhooks of bus_1").waitFor();
      await page.getByRole("button", { name: "Open" }).click();
      await page.waitForURL("**/portal");
      await page.getByRole("button", { name: "Sign out" }).waitFor();
      assert.ok(referers.length >= 4);
      assert.ok(referers.some((referer) => referer !== ""));
      assert.ok(!referers.some((referer) => referer.includes(token)), referers.join("\n"));
    },
  );
}
