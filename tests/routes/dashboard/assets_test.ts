/** The stylesheet and the scripts: what they weigh, and whether what they colour can be read. */

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { ASSETS } from "../../../routes/dashboard/assets.ts";
import { patternsApp } from "../../support/patterns.tsx";

const MAX_BYTES = 40_000;

function textOf(name: string): string {
  const asset = ASSETS.find((one) => one.name === name);
  assert.ok(asset !== undefined, name);
  return new TextDecoder().decode(asset.bytes);
}

Deno.test("a page with all that it loads is below 40 KB, even the longest", async () => {
  const page = await (await patternsApp().request("/dashboard")).text();
  const sizes = [gzipSync(page).length, ...ASSETS.map(({ gzip }) => gzip.length)];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(total < MAX_BYTES, `${total} bytes: ${sizes}`);
});

Deno.test("the names of assets change with their content, and pages use them", async () => {
  const page = await (await patternsApp().request("/dashboard")).text();
  assert.deepEqual(ASSETS.map(({ name }) => name), ["style.css", "idiomorph.js", "dashboard.js"]);
  for (const { path } of ASSETS) {
    assert.match(path, /^\/dashboard\/assets\/[a-z]+\.[\w-]{12}\.(css|js)$/);
    assert.ok(page.includes(`"${path}"`));
  }
});

Deno.test("scripts make no code and no markup out of text", () => {
  for (const name of ["idiomorph.js", "dashboard.js"]) {
    assert.doesNotMatch(textOf(name), /\beval\(|new Function\(|\bFunction\(|document\.write/, name);
  }
  assert.doesNotMatch(textOf("dashboard.js"), /innerHTML|outerHTML\s*=|insertAdjacentHTML/);
});

type Colours = Readonly<Record<string, readonly number[]>>;

/** The colours of both themes by their names. */
function themes(): readonly [light: Colours, dark: Colours] {
  const [light, dark] = [...textOf("style.css").matchAll(/:root \{([^}]*--bg:[^}]*)\}/g)]
    .map(([, block = ""]) =>
      Object.fromEntries(
        [...block.matchAll(/--([\w-]+): #([0-9a-f]{6});/g)].map(([, name, hex = ""]) => [
          name,
          [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)),
        ]),
      )
    );
  assert.ok(light !== undefined && dark !== undefined);
  return [light, dark];
}

/** As `color-mix(in srgb, of share %, over)` does it. */
function mixed(of: readonly number[], over: readonly number[], share: number): number[] {
  return over.map((value, at) => value + ((of[at] ?? 0) - value) * share / 100);
}

/** WCAG 2.2, relative luminance and contrast ratio. */
function contrast(one: readonly number[], other: readonly number[]): number {
  const [high = 0, low = 0] = [one, other].map((colour) => {
    const [red = 0, green = 0, blue = 0] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }).toSorted((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

for (const [index, theme] of ["light", "dark"].entries()) {
  Deno.test(`text and edges can be read in the ${theme} theme`, () => {
    const colours = themes()[index] ?? {};
    const of = (name: string) => colours[name] ?? assert.fail(`no --${name}`);
    const tint = (name: string) => mixed(of(name), of("bg"), 6);
    const surfaces = [of("bg"), of("panel"), of("sunk")];
    const tints = ["failed", "waiting", "paused"].map(tint);
    const low: string[] = [];
    const need = (
      what: string,
      least: number,
      one: readonly number[],
      other: readonly number[],
    ) => {
      const ratio = contrast(one, other);
      if (ratio < least) low.push(`${what}: ${ratio.toFixed(2)}, needs ${least}`);
    };
    for (const name of ["ink", "ink2", "ink3", "accent"]) {
      [...surfaces, ...tints].forEach((on, at) => need(`${name} on ${at}`, 4.5, of(name), on));
    }
    for (const name of ["delivered", "waiting", "failed", "paused", "cancelled"]) {
      for (const on of surfaces) need(name, 4.5, of(name), on);
      need(`${name} on its tint`, 4.5, of(name), tint(name));
    }
    need("on-accent", 4.5, of("on-accent"), of("accent"));
    need("accent on the band", 4.5, of("accent"), mixed(of("accent"), of("bg"), 8));
    need("ink where it changed", 4.5, of("ink"), mixed(of("accent"), of("bg"), 10));
    need("ink of the current entry", 4.5, of("ink"), mixed(of("ink"), of("panel"), 9));
    need("edge", 3, of("edge"), of("bg"));
    need("delivered as a bar", 3, mixed(of("delivered"), of("bg"), 70), of("bg"));
    need("waiting as a bar", 3, of("waiting-bar"), of("bg"));
    need("failed as a bar", 3, of("failed"), of("bg"));
    assert.deepEqual(low, []);
  });
}
