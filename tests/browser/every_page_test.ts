import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import {
  assertAccessible,
  assertNoSidewaysScroll,
  type Browser,
  browserTest,
  type Viewer,
} from "../support/browser.ts";
import { buildDashboardHouse, HOUSE_NOW } from "../support/dashboard_house.ts";
import {
  EMPTY_PLACES,
  enter,
  type Guest,
  type Place,
  placesOf,
  tokenOf,
} from "../support/dashboard_pages.ts";
import { startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";

/** Statuses of pages that say what is wrong; all others are answered with 200. */
const STATUSES: Readonly<Record<string, number>> = {
  "deliveries-wrong": 422,
  "search-wrong": 422,
  "not-found": 404,
  "portal-not-found": 404,
  "portal-needs-link": 403,
  "portal-open-wrong": 404,
};

/** Runs the checks on each page, and returns all that they found. */
async function walk(
  browser: Browser,
  url: string,
  places: readonly Place[],
  token: (guest: Guest) => string | undefined,
  viewer: Viewer,
  check: (page: Page) => Promise<void>,
): Promise<string[]> {
  const faults: string[] = [];
  const page = await browser.open(url, viewer);
  await page.clock.setFixedTime(HOUSE_NOW);
  let inside: Guest | undefined;
  for (const { name, path, guest } of places) {
    if (guest !== inside) await enter(page, url, guest, token(guest));
    inside = guest;
    try {
      const answer = await page.goto(path);
      assert.equal(answer?.status(), STATUSES[name] ?? 200);
      await check(page);
    } catch (error) {
      faults.push(`${name} ${JSON.stringify(viewer)} ${path}: ${(error as Error).message}`);
    }
  }
  await page.context().close();
  return faults;
}

/** Fails with all that was found. */
function assertNone(faults: readonly string[]): void {
  if (faults.length > 0) throw new Error(`${faults.length} faults:\n${faults.join("\n\n")}`);
}

/** Both themes and both widths, on the page as it was loaded once. */
async function checkBoth(page: Page): Promise<void> {
  for (const [width, colorScheme] of [[1280, "light"], [360, "dark"]] as const) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    await assertNoSidewaysScroll(page);
    try {
      await assertAccessible(page);
    } catch (error) {
      throw new Error(`${colorScheme} at ${width} px: ${(error as Error).message}`);
    }
  }
  // Between the two: cards, and a menu.
  await page.setViewportSize({ width: 768, height: 900 });
  await assertNoSidewaysScroll(page);
}

browserTest("Every page can be read by everybody, in both themes, and on a phone", async (
  browser,
) => {
  await using house = await buildDashboardHouse();
  const { url } = house.daemon;
  const all = placesOf(house);
  const token = (guest: Guest) => tokenOf(house, guest);
  // Light at 360 px comes with the pages without JavaScript.
  const plain: Viewer = { width: 360, javaScript: false };
  assertNone([
    ...await walk(browser, url, all, token, {}, checkBoth),
    ...await walk(browser, url, all, token, plain, async (page) => {
      await assertAccessible(page);
      await assertNoSidewaysScroll(page);
    }),
  ]);
});

browserTest("The pages of a new installation can be read by everybody", async (browser) => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const token = () => undefined;
  assertNone(await walk(browser, daemon.url, EMPTY_PLACES, token, {}, checkBoth));
});
