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

/** How long a page may take on a busy machine. */
const PATIENCE_MS = 60_000;

/** Declares a test that runs in a browser of its own; ignored where there is none. */
export function browserTest(name: string, test: (browser: Browser) => Promise<void>): void {
  Deno.test({
    name: hasChromium() ? name : `${name} (ignored: no ${CHROMIUM})`,
    ignore: !hasChromium(),
    fn: () => withBrowser(test),
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
  } finally {
    await launched.close();
  }
  assert.deepEqual(complaints, []);
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
  await page.evaluate(axe.source);
  const found = await page.evaluate(`(async () => {
    // Without JavaScript no timer fires, and axe waits for some of no time at all.
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (run, ms = 0) =>
      ms > 10 ? setTimeout(run, ms) : (Promise.resolve().then(run), 0);
    const { violations } = await axe.run(document, { preload: false, resultTypes: ["violations"] })
      .finally(() => globalThis.setTimeout = setTimeout);
    return violations.map(({ id, help, nodes }) => ({
      id,
      help,
      at: nodes.slice(0, 5).map((node) => node.html + " " + (node.any[0]?.message ?? "")),
    }));
  })()`);
  assert.deepEqual(found, [], page.url());
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
  assert.ok(excess <= 0, `${page.url()} is ${excess} px too wide: ${culprits.join("\n")}`);
}
