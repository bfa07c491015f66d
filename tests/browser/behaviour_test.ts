import assert from "node:assert/strict";
import { browserTest } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { startCrm } from "../support/crm.ts";
import { enter } from "../support/dashboard_pages.ts";
import { ADMIN, booking, endpoint, type Sections, startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { firstLine, follow, goTo } from "../support/story.ts";
import { until } from "../support/wait.ts";

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

for (const javaScript of [true, false]) {
  const how = javaScript ? "" : " without JavaScript";
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
