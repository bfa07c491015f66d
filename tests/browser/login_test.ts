import assert from "node:assert/strict";
import { assertAccessible, assertNoSidewaysScroll, browserTest } from "../support/browser.ts";
import { ADMIN, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";

for (const javaScript of [true, false]) {
  const how = javaScript ? "" : " without JavaScript";
  browserTest(`A token signs in, and nothing else does${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({ database: database.section });
    const page = await browser.open(daemon.url, { javaScript, width: 360 });
    await page.goto("/dashboard/login");
    await assertAccessible(page);
    await assertNoSidewaysScroll(page);
    const token = page.getByLabel("Admin or viewer token");
    await token.fill("not-a-token-of-the-tests-0123");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("This is none of the configured tokens").waitFor();
    assert.match(page.url(), /\/dashboard\/login$/);
    await token.fill(ADMIN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL("**/dashboard");
  });
}
