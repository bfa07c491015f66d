/** The routes of the pages as the contract lists them, in both houses, read without JavaScript. */

import assert from "node:assert/strict";
import { ADMIN, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { buildHouse, type House, type Names, neverWas, type Party } from "../../support/house.ts";
import { headlineOf, textOf } from "../../support/html.ts";
import { openLink, signIn, type Visitor, visitor } from "../../support/visitor.ts";

/** A route below the base of either house. */
interface Route {
  readonly path: (of: Names) => string;
  /** The beginning of its title; absent: the name of what it is about. */
  readonly title?: string;
  /** Where the API has what its id names; absent without an id. */
  readonly api?: (of: Names) => string;
  /** Forms that somebody finds who may write, by the ends of their actions. */
  readonly forms?: readonly string[];
}

const ROUTES: readonly Route[] = [
  { path: () => "", title: "Overview" },
  { path: () => "/endpoints", title: "Endpoints" },
  {
    path: ({ endpoint }) => `/endpoints/${endpoint}`,
    api: ({ endpoint }) => `endpoints/${endpoint}`,
    forms: ["/check", "/delete"],
  },
  { path: () => "/deliveries", title: "Deliveries" },
  {
    path: ({ delivery }) => `/deliveries/${delivery}`,
    api: ({ delivery }) => `deliveries/${delivery}`,
    forms: ["/retry"],
  },
  {
    path: ({ event }) => `/events/${event}`,
    api: ({ event }) => `events/${event}`,
    forms: ["/retry"],
  },
  { path: () => "/search?q=BKNEVER1", title: "Search" },
  { path: () => "/test", title: "Test", forms: ["/test"] },
  { path: () => "/verify", title: "Signature checker", forms: ["/verify"] },
  { path: () => "/replays", title: "Replays" },
  {
    path: ({ replay }) => `/replays/${replay}`,
    title: "Replay",
    api: ({ replay }) => `replays/${replay}`,
  },
  { path: () => "/alerts", title: "Alerts" },
  { path: () => "/audit", title: "Audit" },
  { path: () => "/event-types", title: "Event types" },
  { path: () => "/help", title: "Help" },
];

/** One house, and those who come to it. */
interface Visited {
  readonly base: "/dashboard" | "/portal";
  readonly url: string;
  readonly own: Party;
  /** What the writer may not see. */
  readonly hidden: readonly Names[];
  readonly writer: Visitor;
  readonly reader: Visitor;
  /** A token of the API that sees the same. */
  readonly token: string;
}

async function visitBoth({ daemon, businesses, operator }: House): Promise<Visited[]> {
  const { url } = daemon;
  const [own, other] = businesses;
  return [
    {
      base: "/dashboard",
      url,
      own: operator,
      hidden: [neverWas(operator)],
      writer: await signIn(url),
      reader: await signIn(url, VIEWER),
      token: ADMIN,
    },
    {
      base: "/portal",
      url,
      own,
      hidden: [other, operator, neverWas(own)],
      writer: await openLink(url, own.writer),
      reader: await openLink(url, own.reader),
      token: own.writer,
    },
  ];
}

/** Declares a test of both houses. */
function inBoth(name: string, test: (visited: Visited) => Promise<void>): void {
  onServer(name, async (database: TestDatabase) => {
    await using db = await database.open();
    await using house = await buildHouse(database, db.admin);
    for (const visited of await visitBoth(house)) await test(visited);
  });
}

function mainOf(html: string): string {
  return html.slice(html.indexOf("<main"), html.indexOf("</main>"));
}

/** Where the forms of a page post to. */
function actionsOf(html: string): string[] {
  return [...mainOf(html).matchAll(/<form method="post" action="([^"]*)"/g)]
    .map(([, action = ""]) => action);
}

inBoth("every route of the contract has its page, complete as it comes", async (visited) => {
  const { base, url, own, writer, token } = visited;
  for (const { path, title, api, forms = [] } of ROUTES) {
    const at = base + path(own);
    const { status, text, headers } = await writer.get(at);
    assert.equal(status, 200, at);
    const brand = base === "/portal" ? "BookMe" : "bookme-webhooks";
    const [, shown = ""] = /<title>([^<]*) · ([^<]*)<\/title>/.exec(text) ?? [];
    assert.match(text, new RegExp(`<title>[^<]+ · ${brand}</title>`), at);
    if (title !== undefined) assert.equal(shown, title, at);
    assert.notEqual(headlineOf(text), "", at);
    // Its text came with it: nothing is left to a script.
    assert.ok(textOf(mainOf(text)).length > headlineOf(text).length + 20, at);
    for (const end of forms) {
      const found = actionsOf(text);
      assert.ok(found.some((action) => action.endsWith(end)), `${at}: ${end} in ${found}`);
    }
    const head = await fetch(url + at, {
      method: "HEAD",
      headers: { cookie: writer.cookies() },
    });
    assert.deepEqual(
      [head.status, head.headers.get("content-type"), await head.text()],
      [200, headers.get("content-type"), ""],
      at,
    );
    if (api === undefined) continue;
    const answer = await fetch(`${url}/api/${api(own)}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const { id } = await answer.json();
    assert.ok(at.endsWith(`/${id}`), `${at} is ${id} in the API`);
    assert.ok(text.includes(id), `${at} shows its id`);
  }
});

inBoth("what is another's, or never was, has no page", async ({ base, hidden, writer }) => {
  for (const names of hidden) {
    for (const { path, api } of ROUTES) {
      if (api === undefined) continue;
      const { status, text } = await writer.get(base + path(names));
      assert.equal(status, 404, base + path(names));
      assert.match(text, /Sign out/, "a page, with the way on");
    }
  }
});

inBoth("whoever may only look is offered nothing that posts", async (visited) => {
  const { base, own, reader, writer } = visited;
  for (const { path, forms = [] } of ROUTES) {
    const at = base + path(own);
    const { status, text } = await reader.get(at);
    assert.equal(status, 200, at);
    assert.deepEqual(actionsOf(text), [], at);
    const csrf = /name="csrf" value="([\w-]+)"/.exec(text)?.[1] ?? "";
    const offered = actionsOf((await writer.get(at)).text);
    assert.ok(offered.length >= forms.length, at);
    for (const action of offered) {
      assert.equal((await reader.post(action, { csrf })).status, 403, action);
    }
  }
});

inBoth("signed out, every route leads to the way in, and back", async ({ base, url, own }) => {
  for (const { path } of ROUTES) {
    const at = base + path(own);
    const stranger = visitor(url);
    const { status, location, text } = await stranger.get(at);
    if (base === "/portal") {
      assert.equal(status, 403, at);
      assert.equal(headlineOf(text), "Open your link", at);
      const opened = await stranger.post(`/portal/open/${own.writer}`);
      assert.deepEqual([opened.status, opened.location], [303, "/portal"]);
    } else {
      assert.equal(status, 303, at);
      const login = location ?? "";
      assert.match(login, /^\/dashboard\/login(?:\?next=|$)/, at);
      const page = await stranger.get(login);
      assert.match(page.text, /<title>Sign in<\/title>/);
      assert.equal(headlineOf(page.text), "Sign in with a token");
      const back = await stranger.submit("/dashboard/login", { token: ADMIN }, login);
      assert.deepEqual([back.status, back.location], [303, at]);
    }
    assert.equal((await stranger.get(at)).status, 200, at);
  }
});

inBoth("no link of a page leads nowhere", async ({ base, own, writer }) => {
  const pages = new Map<string, string>();
  const pageAt = async (path: string) => {
    const known = pages.get(path);
    if (known !== undefined) return known;
    const { status, text, location } = await writer.get(path);
    assert.ok(status === 200 || location !== null, `${path}: ${status}`);
    pages.set(path, text);
    return text;
  };
  for (const { path } of ROUTES) {
    const at = base + path(own);
    const text = await pageAt(at);
    for (const [, href = ""] of text.matchAll(/<a\b[^>]*\bhref="([^"]*)"/g)) {
      const target = new URL(href.replaceAll("&amp;", "&"), `http://house.invalid${at}`);
      assert.equal(target.host, "house.invalid", `${at} leads to ${href}`);
      const there = await pageAt(target.pathname + target.search);
      const id = decodeURIComponent(target.hash.slice(1));
      if (id !== "") assert.ok(there.includes(`id="${id}"`), `${at}: ${href} has its place`);
    }
  }
  assert.ok(pages.size > 2 * ROUTES.length, `${pages.size}`);
});
