/** Texts that somebody else writes onto pages, and whether anything of them runs there. */

import assert from "node:assert/strict";
import type { Page } from "playwright-core";

/**
 * Texts that run in pages which trust them, as in the public collections (OWASP's cheat sheet, PortSwigger's,
 * the Big List of Naughty Strings). Each that runs sets `hacked`.
 */
export const PAYLOADS: readonly string[] = [
  "<script>hacked=1</script>",
  "</title><script>hacked=1</script>",
  "</textarea><script>hacked=1</script>",
  "</pre></code><script>hacked=1</script>",
  "--><script>hacked=1</script><!--",
  "<scr<script>ipt>hacked=1</scr</script>ipt>",
  "<img src=x onerror=hacked=1>",
  '"><img src=x onerror=hacked=1>',
  "'><img src=x onerror=hacked=1>",
  "` onmouseover=hacked=1 x=`",
  '" autofocus onfocus=hacked=1 x="',
  "' autofocus onfocus=hacked=1 x='",
  "<svg onload=hacked=1>",
  "<svg><animate onbegin=hacked=1 attributeName=x dur=1s>",
  "<svg><script>hacked=1</script></svg>",
  "<math><mtext><table><mglyph><style><img src=x onerror=hacked=1>",
  "<iframe srcdoc='<script>parent.hacked=1</script>'>",
  "<iframe src=javascript:parent.hacked=1>",
  "<object data=javascript:hacked=1>",
  "<embed src=javascript:hacked=1>",
  "<base href=//evil.example/>",
  "<meta http-equiv=refresh content='0;url=//evil.example/'>",
  "<link rel=stylesheet href=//evil.example/x.css>",
  "<style>@import '//evil.example/x.css';</style>",
  "<form action=//evil.example/><input name=csrf><button>Go</button></form>",
  "<a href=javascript:hacked=1 id=x>x</a>",
  "<details open ontoggle=hacked=1>",
  "<video><source onerror=hacked=1>",
  "<body onload=hacked=1>",
  "<input id=main name=main data-live=swap>",
  "<template shadowrootmode=open><img src=x onerror=hacked=1></template>",
  '<noscript><p title="</noscript><img src=x onerror=hacked=1>">',
  "<!--[if gte IE 4]><script>hacked=1</script><![endif]-->",
  "<![CDATA[<script>hacked=1</script>]]>",
  "javascript:hacked=1",
  "java\tscript:hacked=1",
  "data:text/html,<script>hacked=1</script>",
  "{{constructor.constructor('hacked=1')()}}",
  "${hacked=1}",
  "<%= hacked=1 %>",
  "#{hacked=1}",
  "[[${hacked=1}]]",
  "&lt;script&gt;hacked=1&lt;/script&gt;",
  "&#60;script&#62;hacked=1&#60;/script&#62;",
  "%3Cscript%3Ehacked=1%3C/script%3E",
  "\\u003cscript\\u003ehacked=1\\u003c/script\\u003e",
  "＜script＞hacked=1＜/script＞",
  "+ADw-script+AD4-hacked=1+ADw-/script+AD4-",
  "\u202e<script>hacked=1</script>\u202c",
  "\u2066\u2067evil\u2069 \u200f\u200e\ufeff",
  "\u2028hacked=1\u2029",
  "'; drop table events; --",
  "__proto__",
  "constructor",
];

/** All of them at once, where a text is long enough. */
export const ALL = PAYLOADS.join(" ");

/** Opens a page, and fails if anything on it is more than text. */
export async function assertInert(page: Page, path: string): Promise<void> {
  const answer = await page.goto(path);
  assert.ok((answer?.status() ?? 500) < 500, `${path}: ${answer?.status()}`);
  await assertNothingRan(page, path);
}

/** Sets off whatever waits for a pointer or the focus on the page that is open, and fails if anything ran. */
export async function assertNothingRan(page: Page, path: string): Promise<void> {
  const found = await page.evaluate<string[]>(`(() => {
    for (const element of document.querySelectorAll("*")) {
      for (const type of ["mouseover", "focus", "toggle", "error"]) {
        element.dispatchEvent(new Event(type));
      }
    }
    const made = document.querySelectorAll(
      "iframe, object, embed, base, math, video, template, body script, style, [onerror], [onload], " +
      "[onfocus], [onmouseover], [ontoggle], [onbegin], [style], meta[http-equiv], a[href^='java'], " +
      "a[href^='data'], form[action^='//'], form[action^='http']");
    const marks = [...document.querySelectorAll("*")].filter(({ localName }) =>
      localName.startsWith("mark-"));
    return [...made, ...marks].map((element) => element.outerHTML.slice(0, 200));
  })()`);
  assert.deepEqual(found, [], path);
  assert.equal(await page.evaluate("typeof hacked"), "undefined", path);
  assert.match(page.url(), /^http:\/\/127\.0\.0\.1:/, path);
}

/**
 * A text that becomes an element `mark-FIELD` wherever markup in it counts: it ends attributes, text areas, choices,
 * titles and scripts first.
 */
export function marked(field: string): string {
  return `'"></textarea></select></title></pre><mark-${field}/onmouseover=hacked=1>`;
}

/** The fields whose marks the page shows as text: in its text, in attributes and fields, or in addresses. */
export async function marksOn(page: Page): Promise<string[]> {
  const found = await page.evaluate<string[]>(`(() => {
    const texts = [document.title, document.body.textContent];
    for (const element of document.querySelectorAll("*")) {
      texts.push(...[...element.attributes].map(({ value }) => value), element.value ?? "");
    }
    return texts.filter((text) => /mark-/.test(text));
  })()`);
  const marks = found.flatMap((text) => [...text.matchAll(/(?:<|%3C)mark-([a-z0-9_.-]+)/gi)]);
  return [...new Set(marks.map(([, field = ""]) => field))].toSorted();
}
