import assert from "node:assert/strict";
import axe from "axe-core";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { CHROMIUM, hasChromium } from "./chromium.ts";

/*
 * Pages in Debian's Chromium. What runs inside a page is text, because Deno has no types for it. Whatever a page complains about fails the test: violations of the content
 * security policy, errors in scripts, and requests to anywhere else.
 */

/** Whose browser it is. */
export interface Viewer {
  /** Default: true. */
  readonly javaScript?: boolean;
  /** Default: light. */
  readonly theme?: "light" | "dark";
  /** In CSS pixels (default: 1280). */
  readonly width?: number;
  /** Default: 900. */
  readonly height?: number;
  /** IANA name (default: Europe/Vienna). */
  readonly zone?: string;
}

/** A running browser. */
export interface Browser {
  /** An empty page in a profile of its own: without cookies, at relative URLs of `url`. */
  open(url: string, viewer?: Viewer): Promise<Page>;
  /** What pages have complained about so far. A test that provokes a complaint empties it. */
  readonly complaints: string[];
}

/** A name of this machine that browsers do not trust as they do `localhost`: without https it has no clipboard. */
export const PLAIN_HOST = "bookme.example";

/** How long a page may take on a busy machine. */
const PATIENCE_MS = 30_000;

/** A step of a story; the output names it. */
export type Step = (name: string, run: () => Promise<void>) => Promise<void>;

/** Declares a test that runs in a browser of its own; ignored where there is none. */
export function browserTest(
  name: string,
  test: (browser: Browser, step: Step) => Promise<void>,
): void {
  Deno.test({
    name: hasChromium() ? name : `${name} (ignored: no ${CHROMIUM})`,
    ignore: !hasChromium(),
    fn: (t) =>
      withBrowser((browser) =>
        test(browser, async (name, run) => {
          let failure: unknown;
          // Requests and timers of one step may go on in the next.
          const options = { sanitizeOps: false, sanitizeResources: false };
          const ok = await t.step({
            name,
            ...options,
            fn: () =>
              run().catch((error) => {
                failure = error;
                throw error;
              }),
          });
          // A step whose story went wrong before proves nothing.
          if (!ok) throw failure ?? new Error(name);
        })
      ),
  });
}

/** Runs in a browser, closes it, and throws if a page complained. */
export async function withBrowser(run: (browser: Browser) => Promise<void>): Promise<void> {
  const launched = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-dev-shm-usage",
      "--disable-gpu",
      "--font-render-hinting=none",
      `--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`,
    ],
    timeout: PATIENCE_MS,
  });
  const complaints: string[] = [];
  const browser: Browser = {
    complaints,
    async open(url, viewer = {}) {
      const context = await launched.newContext({
        baseURL: url,
        javaScriptEnabled: viewer.javaScript ?? true,
        colorScheme: viewer.theme ?? "light",
        viewport: { width: viewer.width ?? 1280, height: viewer.height ?? 900 },
        timezoneId: viewer.zone ?? "Europe/Vienna",
        locale: "en-GB",
      });
      context.setDefaultTimeout(PATIENCE_MS);
      await listen(context, url, complaints);
      return await context.newPage();
    },
  };
  try {
    await run(browser);
  } catch (error) {
    const seen = await Promise.all(
      launched.contexts().flatMap((one) => one.pages()).map(described),
    );
    throw new Error(`${(error as Error).message}\n${seen.join("\n")}`, { cause: error });
  } finally {
    await launched.close();
  }
  assert.deepEqual(complaints, []);
}

/** What a page shows, for whoever reads the failure of a test. */
async function described(page: Page): Promise<string> {
  const text = await page.locator("main").innerText({ timeout: 1_000 }).catch(() => "no main");
  return `At ${page.url()}:\n${text.slice(0, 1_500)}`;
}

async function listen(context: BrowserContext, url: string, complaints: string[]): Promise<void> {
  // Also those that a page catches and the console does not show.
  await context.exposeBinding("violated", ({ page }, what: string) => {
    complaints.push(`${page.url()}: ${what}`);
  });
  await context.addInitScript(`document.addEventListener("securitypolicyviolation", (event) =>
    violated(event.violatedDirective + " " + event.blockedURI + " " + event.sample))`);
  context.on("console", (message) => {
    // A page with another status than 200 is not a fault of the page.
    const is_status = /^Failed to load resource: (the server responded|net::ERR_CONN|net::ERR_INC)/;
    if (message.type() !== "error" || is_status.test(message.text())) return;
    complaints.push(`${message.location().url}: ${message.text()}`);
  });
  context.on("weberror", (error) => {
    complaints.push(`${error.page()?.url()}: ${error.error().stack}`);
  });
  context.on("request", (request) => {
    const to = request.url();
    if (!to.startsWith(`${url}/`) && !to.startsWith("data:")) complaints.push(`Asks for ${to}`);
  });
}

/** Fails if axe finds anything on the page, with the elements. Works without JavaScript, too. */
export async function assertAccessible(page: Page): Promise<void> {
  if (!await page.evaluate("'axe' in globalThis")) await page.evaluate(axe.source);
  const found = await page.evaluate<string[]>(`(async () => {
    // Without JavaScript no timer fires, and axe waits for some of no time at all.
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (run, ms = 0) =>
      ms > 10 ? setTimeout(run, ms) : (Promise.resolve().then(run), 0);
    const { violations } = await axe.run(document, { preload: false, resultTypes: ["violations"] })
      .finally(() => globalThis.setTimeout = setTimeout);
    return violations.flatMap(({ id, help, nodes }) => nodes.slice(0, 5).map((node) =>
      id + ": " + help + ": " + node.html.slice(0, 300) + " " + (node.any[0]?.message ?? "")));
  })()`);
  if (found.length > 0) throw new Error(`${page.url()}:\n${found.join("\n")}`);
}

/** Fails if the page can be scrolled sideways, with the elements that reach beyond its right edge. */
export async function assertNoSidewaysScroll(page: Page): Promise<void> {
  const { excess, culprits } = await page.evaluate<{ excess: number; culprits: string[] }>(`(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    // Children of what scrolls by itself are where they should be.
    const scrolls = (element) => element !== null && element !== document.body &&
      (/auto|scroll|hidden|clip/.test(getComputedStyle(element).overflowX) ||
        scrolls(element.parentElement));
    const beyond = [...document.body.querySelectorAll("*")].filter((element) =>
      element.getBoundingClientRect().right > clientWidth + 0.5 && !scrolls(element));
    return {
      excess: scrollWidth - clientWidth,
      culprits: beyond.map((element) => element.outerHTML.slice(0, 120)),
    };
  })()`);
  if (excess > 0) {
    throw new Error(`${page.url()} is ${excess} px too wide:\n${culprits.join("\n")}`);
  }
}
