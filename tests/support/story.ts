import type { Page } from "playwright-core";
import { until } from "./wait.ts";

/** What stories do on pages: by words that a reader sees. */

/** The first line of a page. */
export function firstLine(page: Page, text: RegExp) {
  return page.getByRole("heading", { level: 1, name: text });
}

/** Presses a button of the page, not of its frame. */
export async function press(page: Page, name: string | RegExp): Promise<void> {
  await page.getByRole("main").getByRole("button", { name }).first().click();
}

/** Does what sends a form, and waits for its answer: a reload before that would call it back. */
export async function sent(page: Page, send: Promise<void>): Promise<void> {
  await Promise.all([page.waitForResponse((one) => one.request().method() === "POST"), send]);
}

/** Follows a link of the page. */
export async function follow(page: Page, name: string | RegExp): Promise<void> {
  await page.getByRole("main").getByRole("link", { name }).first().click();
}

/** Goes to a page of the sidebar. */
export async function goTo(page: Page, name: string): Promise<void> {
  await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
}

/** Searches, as with the key at the end. */
export async function search(page: Page, text: string): Promise<void> {
  const field = page.getByRole("searchbox", { name: "Search" });
  await field.fill(text);
  await field.press("Enter");
}

/** Opens the row of a list that has this in it. */
export async function openRow(page: Page, name: RegExp): Promise<void> {
  await page.getByRole("row", { name }).getByRole("link").first().click();
}

/**
 * Reloads until the first line says it: what happens takes time, and without JavaScript nothing comes by
 * itself.
 */
export async function reloadUntil(page: Page, text: RegExp): Promise<void> {
  await until(`${page.url()} says ${text}`, async () => {
    if (await firstLine(page, text).count() > 0) return true;
    await page.reload();
    return false;
  });
}
