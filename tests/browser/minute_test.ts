import assert from "node:assert/strict";
import { browserTest } from "../support/browser.ts";
import { buildDashboardHouse, HOUSE_NOW } from "../support/dashboard_house.ts";
import { ADMIN } from "../support/daemon.ts";
import { firstLine, follow, search } from "../support/story.ts";

/*
 * "BK4T8Q1Z did not arrive at our crm", says somebody at night. The output names each step on the way to the
 * cause: a sign-in, one search, one tap.
 */
browserTest("The minute from “it did not arrive” to the cause, on a phone at night", async (
  browser,
  step,
) => {
  await using house = await buildDashboardHouse();
  const page = await browser.open(house.daemon.url, { theme: "dark", width: 390, height: 844 });
  await page.clock.setFixedTime(HOUSE_NOW);
  await step("sign in: “crm has been failing since 13:59: it answers 401”", async () => {
    await page.goto("/dashboard");
    await page.getByLabel("Admin or viewer token").fill(ADMIN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await firstLine(page, /^crm has been failing since 13:59: it answers 401$/).waitFor();
  });
  await step("search for BK4T8Q1Z: where it arrived, and that crm did not accept it", async () => {
    await search(page, "BK4T8Q1Z");
    await firstLine(page, /crm/).waitFor();
  });
  await step(
    "see why at crm: rejected seven times with 401, and no attempts are left",
    async () => {
      await follow(page, /See why at crm/);
      await firstLine(
        page,
        /^crm rejected this booking seven times with 401, and no attempts are left$/,
      ).waitFor();
    },
  );
  await step("the cause: the secret was rotated minutes before the first 401", async () => {
    const cause = page.getByText(/The secret was rotated \d\sminutes before the first 401/);
    await cause.first().waitFor();
  });
  await step("the proof: what changed since the last one that crm accepted", async () => {
    const changed = page.locator("section").filter({
      has: page.getByRole("heading", { name: "What changed" }),
    });
    const text = await changed.innerText();
    assert.match(text, /Status\s+200[^]*401[^]*Signed with\s+/);
  });
  await step("the way out: give crm the new secret, test it, then replay what failed", async () => {
    await page.getByText(/Give crm the new secret/).first().waitFor();
    await page.getByRole("main").getByRole("link", { name: /^Send crm a test$/ }).first().waitFor();
  });
});
