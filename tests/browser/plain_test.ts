/** The daemon's own pages over plain http, by a name that browsers do not trust: no clipboard, and a proxy to count streams. */

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { type Browser, browserTest, type Viewer } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { type Crm, startCrm } from "../support/crm.ts";
import { ADMIN, booking, endpoint, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import { type PlainProxy, startPlainProxy } from "../support/plain_proxy.ts";
import { firstLine, press } from "../support/story.ts";
import { until } from "../support/wait.ts";
import { signIn } from "../support/visitor.ts";

interface Scene {
  readonly browser: Browser;
  readonly daemon: TestDaemon;
  readonly crm: Crm;
  readonly proxy: PlainProxy;
  /** A booking that crm refused, by its event and its delivery. */
  readonly event: string;
  readonly delivery: string;
}

function plainTest(name: string, test: (scene: Scene) => Promise<void>): void {
  browserTest(name, async (browser) => {
    await using database = await serverDatabase();
    await using crm = await startCrm();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s"] },
      endpoints: [endpoint("crm", crm.receiver.url)],
    });
    await using proxy = await startPlainProxy(daemon.url);
    crm.secret = "whsec_another-secret-than-the-one-of-the-file";
    const { body } = await daemon.post(
      booking("apt_1", "bus_1", { confirmationNumber: "BKAAAA11" }),
    );
    const delivery = await daemon.deliveryId(body.id);
    await daemon.delivery(delivery);
    await test({ browser, daemon, crm, proxy, event: body.id, delivery });
    // Chromium complains about this header on any page without https.
    const is_left = (complaint: string) => !/Cross-Origin-Opener-Policy/.test(complaint);
    browser.complaints.splice(0, Infinity, ...browser.complaints.filter(is_left));
  });
}

/** A page of somebody who has signed in. */
async function open({ browser, daemon, proxy }: Scene, viewer?: Viewer): Promise<Page> {
  const page = await browser.open(proxy.url, viewer);
  const [name = "", value = ""] = (await signIn(daemon.url)).cookies().split("=");
  await page.context().addCookies([{ url: proxy.url, name, value }]);
  return page;
}

/** What the keyboard pastes into a field of another page. */
async function pasted(page: Page): Promise<string> {
  await page.goto("/dashboard/verify");
  const field = page.getByLabel("Body", { exact: true });
  await field.focus();
  await page.keyboard.press("Control+V");
  return await field.inputValue();
}

plainTest("Without https, copying selects what the keyboard then copies", async (scene) => {
  const { event, delivery } = scene;
  const page = await open(scene);
  const copy = async (what: string | RegExp) => {
    assert.equal(await page.evaluate("isSecureContext"), false);
    assert.equal(await page.evaluate("typeof navigator.clipboard"), "undefined");
    await page.getByRole("button", { name: what }).first().click();
    await page.getByText("Selected; press Ctrl+C").waitFor();
    await page.keyboard.press("Control+C");
    return await pasted(page);
  };
  await page.goto(`/dashboard/events/${event}`);
  assert.equal(await copy("Copy the event’s id"), event);
  await page.goto(`/dashboard/events/${event}`);
  assert.equal(JSON.parse(await copy("Copy the payload")).data.appointment.id, "apt_1");
  await page.goto(`/dashboard/deliveries/${delivery}`);
  await page.getByText("curl", { exact: true }).first().click();
  assert.match(await copy("Copy request"), /apt_1.*\ncurl -sS/s);
  await page.goto("/dashboard/endpoints/new");
  await page.getByLabel("URL").fill("http://127.0.0.1:9/in");
  await page.getByRole("checkbox", { name: "booking.created" }).check();
  await press(page, "Make the endpoint");
  const secret = await page.getByLabel("New secret", { exact: true }).inputValue();
  assert.equal(await copy("Copy New secret"), secret);
});

plainTest(
  "Times are in the viewer's zone, until UTC is chosen, and then on all pages",
  async (scene) => {
    const { daemon, delivery } = scene;
    const { body } = await daemon.api(`deliveries/${delivery}`);
    const at = new Date(body.attempts[0].started_at);
    const clock = (zone: string) => at.toLocaleTimeString("en-GB", { timeZone: zone });
    const page = await open(scene, { zone: "Australia/Adelaide" });
    const path = `/dashboard/deliveries/${delivery}`;
    const shown = (text: string) => page.getByRole("main").getByText(text).first().waitFor();
    await page.goto(path);
    await page.getByText("Adelaide time · UTC").waitFor();
    await shown(clock("Australia/Adelaide"));
    await page.getByRole("button", { name: "Show times in UTC" }).click();
    await shown(clock("UTC"));
    await page.goto("/dashboard/deliveries?status=failed");
    await page.getByText("UTC · Adelaide time").waitFor();
    await page.goto(path);
    await shown(clock("UTC"));
    await page.getByRole("button", { name: "Show times in Adelaide time" }).click();
    await page.reload();
    await shown(clock("Australia/Adelaide"));
    const plain = await open(scene, { zone: "Australia/Adelaide", javaScript: false });
    await plain.goto(path);
    await plain.getByText("Times in UTC").waitFor();
    await plain.getByRole("main").getByText(clock("UTC")).first().waitFor();
  },
);

plainTest("A hidden tab has no stream, and gets what it missed once it is seen", async (scene) => {
  const { daemon, crm, proxy, delivery } = scene;
  const page = await open(scene);
  await page.goto(`/dashboard/deliveries/${delivery}`);
  await page.getByText("Live ·").waitFor();
  await until("a stream", () => proxy.streams === 1);
  const hide = (hidden: boolean) =>
    page.evaluate(
      `Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"))`,
    );
  await hide(true);
  await until("no stream", () => proxy.streams === 0);
  crm.secret = null;
  assert.equal((await daemon.api(`deliveries/${delivery}/retry`, ADMIN, "POST")).status, 200);
  await until("it is delivered", () => crm.accepted("BKAAAA11") === 1);
  assert.equal(await firstLine(page, /accepted/).count(), 0, "nothing changes unseen");
  await hide(false);
  await firstLine(page, /crm accepted this booking on the second attempt/).waitFor();
  await until("a stream", () => proxy.streams === 1);
  await page.close();
  await until("no stream after the tab", () => proxy.streams === 0);
});
