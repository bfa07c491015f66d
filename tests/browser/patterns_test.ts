/** Every component, in a browser: nothing that axe finds, and nothing that is too wide for a phone. */

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
        await page.context().close();
      }
    } finally {
      await server.shutdown();
    }
  });
}
