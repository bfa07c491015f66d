import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { browserTest, type Step } from "../support/browser.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { type Crm, startCrm } from "../support/crm.ts";
import { ADMIN, booking, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";
import {
  firstLine,
  follow,
  goTo,
  openRow,
  press,
  reloadUntil,
  search,
  sent,
} from "../support/story.ts";
import { until } from "../support/wait.ts";

/** Everything that the story is about. */
interface Stage {
  readonly page: Page;
  readonly daemon: TestDaemon;
  readonly crm: Crm;
  readonly step: Step;
  /** Ids of the bookings that did not arrive, by their confirmation numbers. */
  readonly missing: Map<string, string>;
}

for (const javaScript of [true, false]) {
  const how = javaScript ? "" : " without JavaScript";
  browserTest(`An operator makes, tests, breaks, explains and mends an endpoint${how}`, async (
    browser,
    step,
  ) => {
    await using database = await serverDatabase();
    await using crm = await startCrm();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s", "100ms", "100ms"] },
    });
    const page = await browser.open(daemon.url, { javaScript });
    const stage = { page, daemon, crm, step, missing: new Map() };
    await begin(stage);
    await goWrong(stage);
    await findOut(stage);
    await mend(stage);
  });
}

async function begin({ page, daemon, crm, step }: Stage): Promise<void> {
  await step("sign in", async () => {
    await page.goto("/dashboard");
    await page.getByLabel("Admin or viewer token").fill(ADMIN);
    await page.getByRole("button", { name: "Sign in" }).click();
    await firstLine(page, /No endpoint exists yet/).waitFor();
  });
  await step("make an endpoint, and keep its secret", async () => {
    await follow(page, "New endpoint");
    await page.getByLabel("URL").fill(`${crm.receiver.url}/webhooks/bookme`);
    await page.getByLabel("Description").fill("crm");
    await press(page, "Make the endpoint");
    await page.getByText("Must have at least 1 entry").waitFor();
    assert.equal(await page.getByLabel("Description").inputValue(), "crm", "what was typed stays");
    for (const type of ["booking.created", "booking.confirmed"]) {
      await page.getByRole("checkbox", { name: type }).check();
    }
    await press(page, "Make the endpoint");
    crm.secret = await page.getByLabel("New secret", { exact: true }).inputValue();
    assert.match(crm.secret, /^whsec_/);
    await page.goto(new URL(page.url()).pathname);
    assert.equal(await page.getByLabel("New secret", { exact: true }).count(), 0, "shown once");
  });
  await step("send a test", async () => {
    await follow(page, /^Send (crm )?a test$/);
    await press(page, /^Send (the test|again)$/);
    await page.waitForURL(/\/test\?sent=/);
    await reloadUntil(page, /crm accepted the test/);
    await page.getByText("HTTP/1.1 200").first().waitFor();
    assert.equal(crm.accepted("BK7X9M2P"), 1);
  });
  await step("see a real booking arrive", async () => {
    const { status } = await daemon.post(
      booking("apt_1", "bus_1", { confirmationNumber: "BKAAAA11" }),
    );
    assert.equal(status, 202);
    await until("crm has it", () => crm.accepted("BKAAAA11") === 1);
    await goTo(page, "Deliveries");
    await follow(page, /^Delivered/);
    await openRow(page, /BKAAAA11/);
    await reloadUntil(page, /crm accepted this booking on the first attempt/);
  });
}

async function goWrong({ page, daemon, crm, step, missing }: Stage): Promise<void> {
  await step("rotate the secret, which crm does not learn of", async () => {
    await goTo(page, "Endpoints");
    await openRow(page, /crm/);
    await follow(page, "Rotate…");
    await press(page, "Rotate the secret");
    const secret = await page.getByLabel("New secret", { exact: true }).inputValue();
    assert.notEqual(secret, crm.secret);
    rotated.set(page, secret);
  });
  await step("bookings do not arrive", async () => {
    for (
      const [nth, confirmationNumber] of ["BKBBBB22", "BKCCCC33", "BKDDDD44", "BKEEEE55"].entries()
    ) {
      const { body } = await daemon.post(
        booking(`apt_${2 + nth}`, "bus_1", { confirmationNumber }),
      );
      const { status } = await daemon.delivery(await daemon.deliveryId(body.id));
      assert.equal(status, "failed");
      missing.set(confirmationNumber, body.id);
    }
  });
}

/** The secret that each story made. */
const rotated = new WeakMap<Page, string>();

async function findOut({ page, step }: Stage): Promise<void> {
  await step("find the booking by its confirmation number", async () => {
    await search(page, "bkbbbb22");
    await firstLine(page, /crm did not accept this booking/).waitFor();
  });
  await step("read why", async () => {
    await follow(page, "See why at crm");
    await firstLine(
      page,
      /crm rejected this booking three times with 401, and no attempts are left/,
    )
      .waitFor();
    await page.getByRole("main").getByText(/secret.* was rotated .*before the first 401/i).first()
      .waitFor();
    await page.getByText('{"error":"invalid signature"}').first().waitFor();
  });
  await step("compare it with the last one that was accepted", async () => {
    const changed = page.locator("section").filter({
      has: page.getByRole("heading", { name: "What changed" }),
    });
    await changed.getByText("200").first().waitFor();
    await changed.getByText("401").first().waitFor();
    await changed.getByText(/Signed with/).waitFor();
    await changed.getByText(/The same in both/i).waitFor();
  });
}

async function mend({ page, daemon, crm, step, missing }: Stage): Promise<void> {
  await step("give crm the new secret, and test it", async () => {
    crm.secret = rotated.get(page) ?? null;
    await follow(page, "Send crm a test");
    await press(page, /^Send (the test|again)$/);
    await page.waitForURL(/\/test\?sent=/);
    await reloadUntil(page, /crm accepted the test/);
  });
  await step("one of them arrives by a retry", async () => {
    await search(page, "BKCCCC33");
    await follow(page, "See why at crm");
    await sent(page, press(page, /^Retry/));
    await reloadUntil(page, /crm accepted this booking on the fourth attempt/);
  });
  await step("replay only what is still missing", async () => {
    await goTo(page, "Deliveries");
    await follow(page, /^Failed/);
    await follow(page, "Replay the 3 that failed…");
    // Somebody else retries one of them before this is confirmed.
    const id = await daemon.deliveryId(missing.get("BKEEEE55") ?? "");
    assert.equal((await daemon.api(`deliveries/${id}/retry`, ADMIN, "POST")).status, 200);
    await until("crm has that one", () => crm.accepted("BKEEEE55") === 1);
    const before = crm.receiver.requests.length;
    await press(page, "Replay 3");
    await page.waitForURL(/\/replays\/rpl_/);
    await reloadUntil(page, /^2 deliveries were sent again$/);
    await until("nothing is on its way", async () => {
      const { body } = await daemon.api("deliveries?status=pending");
      return body.data.length === 0;
    });
    assert.deepEqual(
      crm.receiver.requests.slice(before).map(({ headers }) => headers["x-bookme-event-id"])
        .toSorted(),
      [missing.get("BKBBBB22"), missing.get("BKDDDD44")].toSorted(),
    );
    const numbers = ["BKAAAA11", ...missing.keys()];
    assert.deepEqual(numbers.map(crm.accepted), [1, 1, 1, 1, 1], "each arrived, and once");
  });
  await step("all is well, and sign out", async () => {
    const { body } = await daemon.api("deliveries?status=failed");
    assert.deepEqual(body.data, []);
    await goTo(page, "Overview");
    await firstLine(page, /deliver/).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Admin or viewer token").waitFor();
    await page.goto("/dashboard/deliveries");
    await page.waitForURL(/login\?next=/);
  });
}
