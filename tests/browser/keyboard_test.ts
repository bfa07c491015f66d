/** What people do without a pointer. */

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { browserTest, type Viewer } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { startCrm } from "../support/crm.ts";
import { ADMIN, booking, endpoint, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { firstLine, reloadUntil, sent } from "../support/story.ts";
import { until } from "../support/wait.ts";

/** Waits for a page by its first line, and for its script: before that no shortcut works. */
async function arrive(page: Page, text: RegExp): Promise<void> {
  await firstLine(page, text).waitFor();
  await page.waitForLoadState();
}

/** Signs in by the field that has the focus, once the browser has given it that. */
async function signIn(page: Page): Promise<void> {
  await page.goto("/dashboard");
  await page.locator("input:focus").waitFor();
  await page.keyboard.type(ADMIN);
  await page.keyboard.press("Enter");
}

/** Presses Tab until something of that name has the focus. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let nth = 0; nth < 120; nth++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate<string>(`(() => {
      const { activeElement: at } = document;
      return at.ariaLabel ?? at.labels?.[0]?.textContent ?? (at.textContent || at.value || "");
    })()`);
    if (name.test(focused.trim())) return;
  }
  throw new Error(`Tab never reaches ${name} on ${page.url()}`);
}

/** Presses Enter on a link or button of that name. */
async function enterOn(page: Page, name: RegExp): Promise<void> {
  await tabTo(page, name);
  await page.keyboard.press("Enter");
}

/** Types into the field of that name, over what it has. */
async function typeInto(page: Page, name: RegExp, text: string): Promise<void> {
  await tabTo(page, name);
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

browserTest("An operator finds, fixes and retries by keys, with the shortcuts", async (browser) => {
  await using database = await serverDatabase();
  await using crm = await startCrm();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [endpoint("crm", crm.receiver.url)],
  });
  crm.secret = "whsec_another-secret-than-the-one-of-the-file";
  const { body } = await daemon.post(
    booking("apt_1", "bus_1", { confirmationNumber: "BKAAAA11" }),
  );
  await daemon.delivery(await daemon.deliveryId(body.id));
  const page = await browser.open(daemon.url);
  const { keyboard } = page;
  await signIn(page);
  await arrive(page, /crm/);
  await enterOn(page, /^Skip to the content$/);
  await tabTo(page, /^Open crm$/);
  await keyboard.press("/");
  await keyboard.type("BKAAAA11");
  await keyboard.press("Enter");
  await arrive(page, /crm did not accept this booking/);
  await enterOn(page, /^See why at crm$/);
  await arrive(page, /crm rejected this booking/);
  crm.secret = null;
  await enterOn(page, /^Retry this one$/);
  await arrive(page, /crm accepted this booking on the second attempt/);
  await page.goto("/dashboard/deliveries?status=all");
  await keyboard.press("j");
  await keyboard.press("o");
  await arrive(page, /crm accepted this booking/);
  await keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await keyboard.press("Escape");
  await enterOn(page, /^Sign out$/);
  await page.getByLabel("Admin or viewer token").waitFor();
});

/** Makes an endpoint, after a mistake in its URL, and reads its secret. */
async function makeByKeys(
  page: Page,
  { url, name, type }: { readonly url: string; readonly name: string; readonly type: RegExp },
): Promise<string> {
  await enterOn(page, /^New endpoint$/);
  await arrive(page, /^New endpoint$/);
  await typeInto(page, /^URL$/, "not a url");
  await typeInto(page, /^Description$/, name);
  await tabTo(page, type);
  await page.keyboard.press("Space");
  await enterOn(page, /^Make the endpoint$/);
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Description").inputValue(), name, "what was typed stays");
  await typeInto(page, /^URL$/, url);
  await enterOn(page, /^Make the endpoint$/);
  return await page.getByLabel("New secret", { exact: true }).inputValue();
}

async function searchByKeys(page: Page, text: string): Promise<void> {
  await typeInto(page, /^Search$/, text);
  await page.keyboard.press("Enter");
}

browserTest("An operator makes, tests, explains and retries by keys, without JavaScript", async (
  browser,
) => {
  await using database = await serverDatabase();
  await using crm = await startCrm();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
  });
  const page = await browser.open(daemon.url, { javaScript: false });
  await signIn(page);
  await arrive(page, /No endpoint exists yet/);
  const url = crm.receiver.url;
  crm.secret = await makeByKeys(page, { url, name: "crm", type: /^booking\.created$/ });
  await enterOn(page, /^Send (?:crm )?a test$/);
  await arrive(page, /Send crm a test/);
  await enterOn(page, /^Send the test$/);
  await page.waitForURL(/\/test\?sent=/);
  await reloadUntil(page, /crm accepted the test/);
  const secret = crm.secret;
  crm.secret = "whsec_another-secret-than-the-one-of-the-page";
  const { body } = await daemon.post(
    booking("apt_1", "bus_1", { confirmationNumber: "BKAAAA11" }),
  );
  await daemon.delivery(await daemon.deliveryId(body.id));
  await searchByKeys(page, "bkaaaa11");
  await arrive(page, /crm did not accept this booking/);
  await enterOn(page, /^See why at crm$/);
  await arrive(page, /crm rejected this booking/);
  crm.secret = secret;
  await sent(page, enterOn(page, /^Retry/));
  await reloadUntil(page, /crm accepted this booking on the second attempt/);
  await enterOn(page, /^Endpoints$/);
  await arrive(page, /deliver/);
  await enterOn(page, /^crm/);
  await page.waitForURL(/\/endpoints\/ep_/);
  await enterOn(page, /^Pause/);
  await arrive(page, /^Pause crm$/);
  await typeInto(page, /^Reason$/, "by keys");
  await enterOn(page, /^Pause/);
  await arrive(page, /crm has been paused since/);
  await enterOn(page, /^Resume/);
  await page.getByText("crm is resumed").waitFor();
  await enterOn(page, /^Sign out$/);
  await page.getByLabel("Admin or viewer token").waitFor();
});

/** On a phone with a keyboard the sidebar is a menu. */
const PLACES: readonly Viewer[] = [{}, { width: 390 }, { width: 390, javaScript: false }];

for (const viewer of PLACES) {
  browserTest(`A business connects its till by keys, ${JSON.stringify(viewer)}`, async (
    browser,
  ) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s", "1h"] },
    });
    const made = await fetch(`${daemon.url}/api/portal-links`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: JSON.stringify({ business: "bus_bella" }),
    });
    const { token } = await made.json();
    const page = await browser.open(daemon.url, viewer);
    await page.goto(`/portal/open/${token}`);
    await enterOn(page, /^Open$/);
    await page.waitForURL("**/portal");
    // Nothing has this name, anywhere.
    const url = "https://till.invalid/bookme";
    const secret = await makeByKeys(page, { url, name: "Till", type: /^New booking/ });
    assert.match(secret, /^whsec_/);
    await enterOn(page, /^Send a test$/);
    await arrive(page, /Send Till a test/);
    await enterOn(page, /^Send the test$/);
    await page.waitForURL(/\/test\?sent=/);
    await reloadUntil(page, /could not hand the test to Till/);
    const { body } = await daemon.post(
      booking("apt_1", "bus_bella", { confirmationNumber: "BKDDDD44" }),
    );
    const delivery = await daemon.deliveryId(body.id);
    await daemon.delivery(delivery, ({ attempt_count }) => attempt_count === 1);
    await searchByKeys(page, "BKDDDD44");
    await arrive(page, /on its way to Till/);
    await enterOn(page, /^See why at Till$/);
    await arrive(page, /could not hand this booking to Till/);
    await enterOn(page, /^Retry now$/);
    await page.waitForURL(/note=/);
    await until("it was tried again", async () => {
      const { attempt_count } = (await daemon.api(`deliveries/${delivery}`)).body;
      return attempt_count === 2;
    });
    if (viewer.width !== undefined) await enterOn(page, /^Menu$/);
    await enterOn(page, /^Sign out$/);
    await arrive(page, /Open your link/);
  });
}
