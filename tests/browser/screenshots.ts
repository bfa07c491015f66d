import { parseArgs } from "node:util";
import { type Browser, withBrowser } from "../support/browser.ts";
import { buildDashboardHouse, type DashboardHouse, HOUSE_NOW } from "../support/dashboard_house.ts";
import { EMPTY_PLACES, enter, type Place, placesOf, tokenOf } from "../support/dashboard_pages.ts";
import { startDaemon } from "../support/daemon.ts";
import { serverDatabase } from "../support/databases.ts";

/*
 * `deno task screenshots [--out DIR] [--only PART]`: pictures of every page of both houses, light and dark,
 * 1280 and 390 pixels wide, full and empty, with the database there and away. `--only delivery` takes those
 * whose names contain it; `--width` and `--theme` take one of them. `--readme` takes the README's three into
 * docs/screenshots.
 */

const { values } = parseArgs({
  args: Deno.args,
  options: {
    out: { type: "string", default: "screenshots" },
    only: { type: "string", default: "" },
    width: { type: "string" },
    theme: { type: "string" },
    readme: { type: "boolean", default: false },
  },
});

const viewers = [1280, 390].flatMap((width) =>
  (["light", "dark"] as const).map((theme) => ({ width, theme }))
).filter(({ width, theme }) =>
  (values.width ?? `${width}`) === `${width}` && (values.theme ?? theme) === theme
);

/** The README's: what is seen first of these pages. */
const README = [
  { file: "overview", name: "overview", width: 1280, height: 900, theme: "light" },
  { file: "delivery", name: "delivery-failed", width: 1280, height: 870, theme: "dark" },
  { file: "portal", name: "portal-overview", width: 1280, height: 760, theme: "light" },
] as const;
const DOCS = new URL("../../docs/screenshots/", import.meta.url).pathname;

useInter();
if (!values.readme) Deno.mkdirSync(values.out, { recursive: true });
const complaints: string[] = [];
await withBrowser(async (browser) => {
  await using house = await buildDashboardHouse();
  if (values.readme) return await takeReadme(browser, house);
  await takeAll(browser, house.daemon.url, placesOf(house), (guest) => tokenOf(house, guest));
  await takeEmpty(browser);
  await takeAway(browser, house);
  complaints.push(...browser.complaints.splice(0));
});
for (const complaint of complaints) write(complaint);
Deno.exit(complaints.length === 0 ? 0 : 1);

async function takeAll(
  browser: Browser,
  url: string,
  places: readonly Place[],
  token: (guest: Place["guest"]) => string | undefined,
): Promise<void> {
  const wanted = places.filter(({ name }) => name.includes(values.only));
  for (const viewer of viewers) {
    const page = await browser.open(url, viewer);
    await page.clock.setFixedTime(HOUSE_NOW);
    let inside: string | undefined;
    for (const { name, path, guest } of wanted) {
      if (guest !== inside) await enter(page, url, guest, token(guest));
      inside = guest;
      const answer = await page.goto(path);
      const status = answer?.status() ?? 0;
      const file = `${values.out}/${name}-${viewer.width}-${viewer.theme}.png`;
      await page.screenshot({ path: file, fullPage: true, animations: "disabled", caret: "hide" });
      write(`${status} ${file} ${path}`);
      if (status >= 500 && !name.startsWith("away")) complaints.push(`${path}: ${status}`);
    }
    await page.context().close();
  }
}

async function takeReadme(browser: Browser, house: DashboardHouse): Promise<void> {
  Deno.mkdirSync(DOCS, { recursive: true });
  const { url } = house.daemon;
  for (const { file, name, ...viewer } of README) {
    const place = placesOf(house).find((one) => one.name === name);
    if (place === undefined) throw new Error(`There is no page ${name}`);
    const page = await browser.open(url, viewer);
    await page.clock.setFixedTime(HOUSE_NOW);
    await enter(page, url, place.guest, tokenOf(house, place.guest));
    await page.goto(place.path);
    await page.screenshot({ path: `${DOCS}${file}.png`, animations: "disabled", caret: "hide" });
    write(`${DOCS}${file}.png`);
    await page.context().close();
  }
}

/** What systems call their font is Inter here, so that pictures look alike on every machine that has it. */
function useInter(): void {
  const file = Deno.makeTempFileSync({ prefix: "bookme-fonts-" });
  const families = ["system-ui", "sans-serif", "sans"].map((family) =>
    `<match target="pattern"><test name="family"><string>${family}</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>`
  );
  const xml = `<fontconfig><include>/etc/fonts/fonts.conf</include>${
    families.join("")
  }</fontconfig>`;
  Deno.writeTextFileSync(file, xml);
  Deno.env.set("FONTCONFIG_FILE", file);
}

async function takeEmpty(browser: Browser): Promise<void> {
  if (!EMPTY_PLACES.some(({ name }) => name.includes(values.only))) return;
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  await takeAll(browser, daemon.url, EMPTY_PLACES, () => undefined);
}

/** The overview and a delivery while the database does not answer. */
async function takeAway(browser: Browser, house: DashboardHouse): Promise<void> {
  if (!"away-overview".includes(values.only)) return;
  for (const viewer of viewers) {
    const page = await browser.open(house.daemon.url, viewer);
    await enter(page, house.daemon.url, "operator");
    await page.goto("/dashboard");
    await house.cutOff();
    try {
      await page.goto("/dashboard");
      const file = `${values.out}/away-${viewer.width}-${viewer.theme}.png`;
      await page.screenshot({ path: file, fullPage: true });
      write(file);
    } finally {
      await house.reconnect();
    }
    await page.context().close();
  }
}

function write(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
