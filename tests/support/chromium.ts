/**
 * Installs Debian's Chromium if it is missing, for the tests of the dashboard: the first step of
 * `deno task test`. Does nothing if it is installed, and says so loudly if it cannot be.
 */

import { exists, say } from "./programs.ts";

/** Debian's executable. Tests that need it are ignored without it. */
export const CHROMIUM = "/usr/bin/chromium";

/** With a font: without one, every letter is a box. */
const PACKAGES = ["chromium", "fonts-dejavu-core", "fonts-inter"];

/** Whether it is installed. */
export function hasChromium(): boolean {
  return exists(CHROMIUM);
}

if (import.meta.main && !hasChromium()) install();

function install(): void {
  if (!exists("/usr/bin/apt-get") || Deno.uid() !== 0) return complain("no apt-get as root");
  say("Installing Chromium for the tests in a browser …");
  for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...PACKAGES]]) {
    const { success, stderr } = new Deno.Command("apt-get", {
      args: ["-qq", ...args],
      env: { DEBIAN_FRONTEND: "noninteractive" },
      stdin: "null",
      stdout: "null",
    }).outputSync();
    if (!success) return complain(new TextDecoder().decode(stderr).trim());
  }
}

function complain(why: string): void {
  say(`
****************************************************************
  NO TEST RUNS IN A BROWSER: ${CHROMIUM} is missing.
  The tests in tests/browser are ignored. Install the packages
  ${PACKAGES.join(", ")}.
  (${why})
****************************************************************
`);
}
