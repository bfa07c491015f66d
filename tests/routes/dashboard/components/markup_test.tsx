/** What holds for the markup of every component: the page of patterns has them all. */

import assert from "node:assert/strict";
import { VERSION } from "../../../../lib/core/version.ts";
import { patternsApp, ROWS } from "../../../support/patterns.tsx";

async function patterns(): Promise<string> {
  return await (await patternsApp().request("/dashboard")).text();
}

/** Opening tags of a page. */
function tagsOf(html: string): string[] {
  return html.match(/<[a-z][^>]*>/g) ?? [];
}

Deno.test("no component has what the policy of pages blocks", async () => {
  const tags = tagsOf(await patterns());
  assert.ok(tags.length > 500);
  assert.deepEqual(tags.filter((tag) => /\s(?:style|on\w+)\s*=/.test(tag)), []);
  assert.deepEqual(tags.filter((tag) => /^<(?:style|iframe|object|embed|base)\b/.test(tag)), []);
  const scripts = tags.filter((tag) => tag.startsWith("<script"));
  assert.equal(scripts.length, 2);
  for (const script of scripts) assert.match(script, /src="\/dashboard\/assets\/[\w.-]+\.js"/);
});

Deno.test("payloads and answers stay text", async () => {
  const html = await patterns();
  assert.ok(html.includes("&lt;script&gt;alert(1)&lt;/script&gt;"));
  assert.ok(!html.includes("<script>"));
});

Deno.test("ids are unique, and what refers to one finds it", async () => {
  const tags = tagsOf(await patterns());
  const ids = tags.flatMap((tag) => /\sid="([^"]*)"/.exec(tag)?.[1] ?? []);
  assert.deepEqual(ids.filter((id, index) => ids.indexOf(id) !== index), []);
  const referred = tags.flatMap((tag) =>
    [.../\s(?:for|aria-describedby|aria-labelledby|popovertarget|data-copy-from)="([^"]*)"/g[
      Symbol.matchAll
    ](tag)].flatMap(([, value = ""]) => value.split(" "))
  );
  assert.ok(referred.length > 20);
  assert.deepEqual(referred.filter((id) => !ids.includes(id)), []);
});

Deno.test("every form that posts carries its tokens", async () => {
  const forms = (await patterns()).match(/<form method="post"[^]*?<\/form>/g) ?? [];
  assert.ok(forms.length >= 4);
  for (const form of forms) {
    assert.ok(form.includes('name="csrf" value="csrf-of-the-visit"'), form);
    if (!form.includes("/logout")) assert.match(form, /name="once" value="[\w-]{22}"/);
  }
});

Deno.test("the layout names the house, the page and who is signed in", async () => {
  const html = await patterns();
  assert.match(html, /^<!doctype html><html lang="en" data-base="\/dashboard">/);
  assert.ok(html.includes("<title>Patterns · bookme-webhooks</title>"));
  assert.match(html, /<a href="\/dashboard\/deliveries" aria-current="page">/);
  assert.ok(html.includes("<p>ops, admin</p>"));
  assert.ok(html.includes(`<p>${VERSION}</p>`));
  assert.ok(ROWS.every(({ id }) => html.includes(`<tr id="row-${id}">`)));
});
