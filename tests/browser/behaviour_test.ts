import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { parse, stringify } from "yaml";
import { browserTest } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { startCrm } from "../support/crm.ts";
import { enter } from "../support/dashboard_pages.ts";
import { ADMIN, booking, endpoint, type Sections, startDaemon, VIEWER } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { connectTo, freePort } from "../support/postgres.ts";
import { firstLine, follow, goTo } from "../support/story.ts";
import { until } from "../support/wait.ts";

async function signIn(page: Page): Promise<void> {
  await page.getByLabel("Admin or viewer token").fill(ADMIN);
  await page.getByRole("button", { name: "Sign in" }).click();
}

browserTest("A page goes on living after a restart of the daemon", async (browser) => {
  await using database = await serverDatabase();
  await using crm = await startCrm();
  const sections: Sections = {
    database: database.section,
    server: { listen: `127.0.0.1:${await freePort()}` },
    endpoints: [endpoint("crm", crm.receiver.url)],
  };
  const page = await (async () => {
    await using daemon = await startDaemon(sections);
    const page = await browser.open(daemon.url);
    await enter(page, daemon.url, "operator");
    await page.goto("/dashboard/deliveries?status=all");
    await page.getByText("Live ·").waitFor();
    return page;
  })();
  await page.getByText("Reconnecting ·").waitFor();
  await using daemon = await startDaemon(sections);
  await daemon.post(booking("apt_1", "bus_1", { confirmationNumber: "BKAAAA11" }));
  await page.getByText("BKAAAA11").waitFor();
  await page.getByText("Live ·").waitFor();
});

browserTest("The session of a removed token ends at once, on the open page", async (browser) => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const page = await browser.open(daemon.url);
  await enter(page, daemon.url, "operator", VIEWER);
  await page.goto("/dashboard/deliveries");
  await page.getByText("Live ·").waitFor();
  const { body } = await daemon.api("config");
  const file = parse(Deno.readTextFileSync(body.path));
  file.admin.tokens = file.admin.tokens.filter(({ token }: { token: string }) => token !== VIEWER);
  Deno.writeTextFileSync(body.path, stringify(file));
  assert.equal((await daemon.api("reload", ADMIN, "POST")).status, 200);
  await page.getByText("Session ended").waitFor();
  await page.getByRole("link", { name: "Sign in" }).click();
  await page.waitForURL(/\/dashboard\/login\?next=%2Fdashboard%2Fdeliveries$/);
  // The stream was led to a page, which the browser reports.
  browser.complaints.length = 0;
});

for (const javaScript of [true, false]) {
  const how = javaScript ? "" : " without JavaScript";
  browserTest(`An expired session leads back to where it was${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using daemon = await startDaemon({ database: database.section });
    const page = await browser.open(daemon.url, { javaScript });
    await enter(page, daemon.url, "operator");
    await page.goto("/dashboard");
    assert.ok("url" in database.section);
    await using sql = connectTo(database.section.url);
    await sql`update sessions set expires_at = now()`;
    await page.goto("/dashboard/audit?actor=anna");
    await page.waitForURL(/\/login\?next=/);
    await signIn(page);
    await page.waitForURL(/\/dashboard\/audit\?actor=anna$/);
    browser.complaints.length = 0;
  });

  browserTest(`A form sent twice acts once; back and reload do nothing${how}`, async (browser) => {
    await using database = await serverDatabase();
    await using crm = await startCrm();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("crm", crm.receiver.url)],
    });
    const page = await browser.open(daemon.url, { javaScript });
    await enter(page, daemon.url, "operator");
    const endpoints = async () => (await daemon.api("endpoints")).body.data.length;
    await page.goto("/dashboard/endpoints/new");
    await page.getByLabel("URL").fill(`${crm.receiver.url}/twice`);
    await page.getByRole("checkbox", { name: "booking.created" }).check();
    await page.getByRole("button", { name: "Make the endpoint" }).dblclick();
    await page.getByLabel("New secret", { exact: true }).waitFor();
    assert.equal(await endpoints(), 2, "one more");
    await page.reload();
    await page.goBack();
    await page.waitForURL(/\/endpoints\/new$/);
    await page.goForward();
    await page.waitForURL(/\/endpoints\/ep_/);
    assert.equal(await endpoints(), 2, "still one more");
    await page.goto("/dashboard/test?endpoint=crm");
    await page.getByRole("button", { name: "Send the test" }).dblclick();
    await page.waitForURL(/sent=/);
    await page.reload();
    await firstLine(page, /crm accepted the test/).waitFor();
    assert.equal(crm.receiver.requests.length, 1);
  });
}

/** Presses Tab until something of that name has the focus. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let nth = 0; nth < 120; nth++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate<string>(`(() => {
      const { activeElement: at } = document;
      return at.ariaLabel ?? (at.textContent || at.value || "");
    })()`);
    if (name.test(focused.trim())) return;
  }
  throw new Error(`Tab never reaches ${name} on ${page.url()}`);
}

browserTest("Everything can be done by keyboard alone", async (browser) => {
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
  await page.goto("/dashboard");
  // The field has the focus.
  await keyboard.type(ADMIN);
  await keyboard.press("Enter");
  await firstLine(page, /crm/).waitFor();
  await tabTo(page, /^Skip to the content$/);
  await keyboard.press("Enter");
  await tabTo(page, /^Open crm$/);
  await keyboard.press("/");
  await keyboard.type("BKAAAA11");
  await keyboard.press("Enter");
  await firstLine(page, /crm did not accept this booking/).waitFor();
  await tabTo(page, /^See why at crm$/);
  await keyboard.press("Enter");
  await firstLine(page, /crm rejected this booking/).waitFor();
  crm.secret = null;
  await tabTo(page, /^Retry this one$/);
  await keyboard.press("Enter");
  await firstLine(page, /crm accepted this booking on the second attempt/).waitFor();
  await page.goto("/dashboard/deliveries?status=all");
  await keyboard.press("j");
  await keyboard.press("o");
  await firstLine(page, /crm accepted this booking/).waitFor();
  await keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await keyboard.press("Escape");
  await tabTo(page, /^Sign out$/);
  await keyboard.press("Enter");
  await page.getByLabel("Admin or viewer token").waitFor();
});

browserTest("A change shows by itself on the page of a delivery", async (browser) => {
  await using database = await serverDatabase();
  await using crm = await startCrm();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [endpoint("crm", crm.receiver.url)],
  });
  crm.is_up = false;
  const { body } = await daemon.post(booking("apt_1"));
  const delivery = await daemon.deliveryId(body.id);
  await daemon.delivery(delivery);
  const page = await browser.open(daemon.url);
  await enter(page, daemon.url, "operator");
  await page.goto("/dashboard");
  await goTo(page, "Deliveries");
  await follow(page, /apt_1|crm/);
  await page.waitForURL(`**/deliveries/${delivery}`);
  crm.is_up = true;
  // Somebody else does it.
  await until("it is retried", async () => {
    const { status } = await daemon.api(`deliveries/${delivery}/retry`, ADMIN, "POST");
    return status < 400;
  });
  await firstLine(page, /crm accepted this booking on the second attempt/).waitFor();
});
