/** Every component, in a browser: nothing that axe finds, and nothing that is too wide for a phone. */

import assert from "node:assert/strict";
import { assertAccessible, assertNoSidewaysScroll, browserTest } from "../support/browser.ts";
import { patternsApp } from "../support/patterns.tsx";

for (const theme of ["light", "dark"] as const) {
  browserTest(`every component is accessible and narrow enough, ${theme}`, async (browser) => {
    const app = patternsApp();
    const server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      (request) => app.fetch(request) as Promise<Response>,
    );
    try {
      for (const width of [360, 768, 1103, 1280]) {
        const page = await browser.open(`http://127.0.0.1:${server.addr.port}`, { theme, width });
        await page.goto("/dashboard");
        await page.locator("details").evaluateAll((all) => {
          for (const one of all) (one as unknown as { open: boolean }).open = true;
        });
        await assertAccessible(page);
        await assertNoSidewaysScroll(page);
        // On paper everything is light, and what cannot be pressed there is gone.
        await page.emulateMedia({ media: "print" });
        const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor");
        assert.equal(paper, "rgb(255, 255, 255)");
        assert.equal(await page.getByRole("searchbox").isVisible(), false);
        await page.context().close();
      }
    } finally {
      await server.shutdown();
    }
  });
}
