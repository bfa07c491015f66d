import assert from "node:assert/strict";
import { newOnce } from "../../lib/admin/forms.ts";
import { dashboardRoutes } from "../../routes/dashboard/routes.ts";
import { VIEWER } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import {
  BLIND,
  buildHouse,
  type House,
  type Names,
  neverWas,
  type Party,
  PAYLOAD_MARK,
} from "../support/house.ts";
import { nameless, refuseMarksIn, stateOf, tableText } from "../support/isolation.ts";
import {
  hiddenFields,
  openLink,
  signIn,
  type Visited,
  type Visitor,
  visitor,
} from "../support/visitor.ts";

/** A route of both houses: its path is below their base. */
interface Route {
  readonly method: "GET" | "POST";
  readonly path: string;
}

/** Those that are no pages: they are tested elsewhere. */
const DOORS = /^\/(?:assets|login|logout|open|stream)\b/;

function routesOf(base: string): Route[] {
  const found = dashboardRoutes({ log: {} } as never).routes
    .filter(({ method, path }) =>
      /^(?:GET|POST)$/.test(method) && `${path}/`.startsWith(`${base}/`)
    )
    .map(({ method, path }) => ({
      method: method as Route["method"],
      path: path.slice(base.length),
    }))
    .filter(({ path }) => !DOORS.test(path));
  return [...new Map(found.map((route) => [`${route.method} ${route.path}`, route])).values()]
    .toSorted((a, b) => a.path.localeCompare(b.path) || a.method.localeCompare(b.method));
}

const ROUTES = routesOf("/portal");

/** What the part of a path after this one names. */
const NAMED: Readonly<Record<string, (of: Names) => string>> = {
  endpoints: ({ endpoint }) => endpoint,
  deliveries: ({ delivery }) => delivery,
  events: ({ event }) => event,
  replays: ({ replay }) => replay,
  alerts: ({ alert }) => alert,
  "event-types": () => "booking.created",
};

/** The path of a route about these names; undefined if a part of it is unknown. */
function pathOf({ path }: Route, of: Names): string | undefined {
  const parts = path.split("/");
  const filled = parts.map((part, at) =>
    part.startsWith(":") ? NAMED[parts[at - 1] ?? ""]?.(of) : part
  );
  return filled.includes(undefined) ? undefined : filled.join("/");
}

/** Queries that name somebody's things, at this page. */
function queriesOf(path: string, of: Names): readonly string[] {
  const { endpoint, event, delivery, replay, alert, business, subject, confirmation, actor } = of;
  if (path.includes("/:")) return ["", `compare=${delivery}`];
  const sought = [endpoint, event, delivery, replay, business, subject, confirmation]
    .concat(`endpoint:${endpoint}`, `${confirmation.slice(0, -1)}x`, `https://${business}.invalid/`)
    .map((q) => `q=${q}`);
  const more: Readonly<Record<string, readonly string[]>> = {
    "/search": sought,
    "/deliveries": [
      `cursor=${delivery}`,
      `status=all&since=all&cursor=${delivery}`,
      ...sought.slice(-4),
    ],
    "/replays": [
      `cursor=${replay}`,
      `missing=true&endpoint=${endpoint}`,
      "status=failed&since=all",
    ],
    "/alerts": [`cursor=${alert}`],
    "/audit": [
      `object=${endpoint}`,
      `object=${business}`,
      `actor=${actor}`,
      "cursor=aud_7zzzzzzzzzzzzzzzzzzzzzzzzc",
    ],
    "/test": [`sent=${event}`, `sent=${delivery}`],
  };
  return ["", `endpoint=${endpoint}`, ...more[path] ?? []];
}

/** Fields that name somebody's things, in a form. */
function fieldsOf({ endpoint, event, delivery, replay, business }: Names): Record<string, string> {
  return {
    ...{ endpoint, event, delivery, replay, business, id: endpoint, confirm: endpoint },
    ...{ type: "booking.created", since: "2026-01-01T00:00:00Z", url: "not a url" },
  };
}

/** An answer without what differs between two moments, and two renderings. */
function shownBy({ status, location, text }: Visited, names: Names): string {
  const page = nameless(text, names)
    .replaceAll(names.confirmation.slice(0, -1), "NAME")
    .replaceAll(/name="(csrf|once)" value="[^"]*"/g, 'name="$1"')
    .replaceAll(/\d{4}-\d\d-\d\dT(?:[\d:.]|%3A)+Z?/g, "TIME")
    .replaceAll(/\b\d\d:\d\d(?::\d\d)?\b/g, "CLOCK")
    .replaceAll(/\b\d+ (?:seconds?|minutes?|hours?)\b/g, "AGO");
  return `${status} ${location === null ? "" : nameless(location, names)} ${page}`;
}

type Seen = Map<string, Map<string, Set<number>>>;

function note(seen: Seen, { method, path }: Route, column: string, { status }: Visited): void {
  const name = `${method} ${path}`;
  const row = seen.get(name) ?? new Map<string, Set<number>>();
  seen.set(name, row.set(column, (row.get(column) ?? new Set()).add(status)));
}

async function tokenOf(visiting: Visitor, base: string): Promise<string> {
  return hiddenFields((await visiting.get(base)).text)["csrf"] ?? "";
}

/** Somebody who asks, and how they come in. */
interface Asking {
  readonly visiting: Visitor;
  readonly base: "/portal" | "/dashboard";
  readonly csrf: string;
}

async function asking(visiting: Visitor, base: Asking["base"]): Promise<Asking> {
  return { visiting, base, csrf: await tokenOf(visiting, base) };
}

/** Without a query. */
const PLAIN = [""];

/** All that a route answers about these names, by what was asked. */
async function ask(
  { visiting, base, csrf }: Asking,
  route: Route,
  of: Names,
  queries = queriesOf(route.path, of),
) {
  const path = base + (pathOf(route, of) ?? "");
  const answers: { readonly asked: string; readonly answer: Visited }[] = [];
  if (route.method === "POST") {
    const fields = fieldsOf(of);
    const answer = await visiting.post(path, { ...fields, csrf, once: newOnce() });
    answers.push({ asked: `POST ${path} ${JSON.stringify(fields)}`, answer });
  } else {
    for (const query of queries) {
      const asked = query === "" ? path : `${path}?${query}`;
      answers.push({ asked: `GET ${asked}`, answer: await visiting.get(asked) });
    }
  }
  return answers;
}

/** Fails if two pages differ, and shows where. */
function same(one: string, other: string, what: string): void {
  if (one === other) return;
  const at = [...one].findIndex((_, at) => one[at] !== other[at]);
  const around = (text: string) => text.slice(Math.max(0, at - 120), at + 120);
  assert.equal(around(one), around(other), what);
}

/** A business asks about what it does not have: it is as what never was. */
async function walkOthers(house: House, own: Party, seen: Seen): Promise<void> {
  const { url } = house.daemon;
  const writer = await asking(await openLink(url, own.writer), "/portal");
  const reader = await asking(await openLink(url, own.reader), "/portal");
  for (const other of [...house.businesses, house.operator].filter((party) => party !== own)) {
    const never = neverWas(other);
    for (const route of ROUTES) {
      const found = await ask(writer, route, other);
      const missing = await ask(writer, route, never);
      for (const [index, { asked, answer }] of found.entries()) {
        const twin = missing[index];
        assert.ok(twin !== undefined);
        refuseMarksIn(house, own, asked, answer.text);
        refuseMarksIn(house, own, twin.asked, twin.answer.text);
        same(shownBy(answer, other), shownBy(twin.answer, never), `${asked} as ${twin.asked}`);
        if (route.path.includes(":") && !route.path.startsWith("/event-types")) {
          assert.equal(answer.status, 404, asked);
        }
        note(seen, route, other === house.operator ? "operator's" : "another's", answer);
        note(seen, route, "never was", twin.answer);
      }
      for (const { asked, answer } of await ask(reader, route, other, PLAIN)) {
        refuseMarksIn(house, own, asked, answer.text);
        if (route.method === "POST") assert.equal(answer.status, 403, asked);
        note(seen, route, "read-only link", answer);
      }
    }
  }
}

/** A business looks at what it has. */
async function walkOwn(house: House, own: Party, seen: Seen): Promise<void> {
  const writer = await asking(await openLink(house.daemon.url, own.writer), "/portal");
  for (const route of ROUTES.filter(({ method }) => method === "GET")) {
    for (const { asked, answer } of await ask(writer, route, own)) {
      refuseMarksIn(house, own, asked, answer.text);
      assert.ok(answer.status < 500, `${asked}: ${answer.text}`);
      if (!asked.includes("?")) {
        assert.equal(answer.status, 200, `${asked}: ${answer.text}`);
        // Otherwise the walk would prove nothing.
        if (route.path.includes(":")) assert.match(answer.text, new RegExp(own.word), asked);
      }
      note(seen, route, "own", answer);
    }
  }
}

/** The viewers, and nobody, ask for everything. */
async function walkViewers(house: House, seen: Seen): Promise<void> {
  const { url } = house.daemon;
  const viewer = await asking(await signIn(url, VIEWER), "/dashboard");
  const blind = await asking(await signIn(url, BLIND), "/dashboard");
  const nobody = visitor(url);
  for (const route of ROUTES) {
    for (const party of [...house.businesses, house.operator]) {
      for (const [column, one] of [["viewer", viewer], ["payloads: false", blind]] as const) {
        const queries = one === blind ? queriesOf(route.path, party) : PLAIN;
        for (const { asked, answer } of await ask(one, route, party, queries)) {
          note(seen, route, column, answer);
          if (route.method === "POST") assert.equal(answer.status, 403, asked);
          assert.ok(answer.status < 500, `${asked}: ${answer.text}`);
          if (one !== blind || asked.includes(PAYLOAD_MARK)) continue;
          assert.ok(!answer.text.includes(PAYLOAD_MARK), `${asked}: ${answer.text}`);
        }
      }
      for (const base of ["/portal", "/dashboard"] as const) {
        for (
          const { asked, answer } of await ask(
            { visiting: nobody, base, csrf: "" },
            route,
            party,
            PLAIN,
          )
        ) {
          assert.ok([303, 403].includes(answer.status), `${asked}: ${answer.status}`);
          refuseMarksIn(house, null, asked, answer.text);
          if (base === "/portal") note(seen, route, "not signed in", answer);
        }
      }
    }
  }
}

const COLUMNS = ["own", "another's", "operator's", "never was", "read-only link"].concat(
  ["viewer", "payloads: false", "not signed in"],
);

const PAGE = new URL("../../docs/isolation.md", import.meta.url);

/** Compares what was seen with the table of the documentation, or writes it there. */
async function document(seen: Seen): Promise<void> {
  const rows = ROUTES.map(({ method, path }) => {
    const cells = COLUMNS.map((column) =>
      [...seen.get(`${method} ${path}`)?.get(column) ?? []].toSorted().join(", ") || "-"
    );
    return [`\`${method} ${path === "" ? "/" : path}\``, ...cells];
  });
  const table = tableText([["page", ...COLUMNS], ...rows]);
  const text = await Deno.readTextFile(PAGE);
  const next = text.replace(/^\| page[^]*?\|\n(?!\|)/m, () => `${table}\n`);
  if (Deno.env.get("ISOLATION") === "write") return await Deno.writeTextFile(PAGE, next);
  assert.equal(text, next, "docs/isolation.md is out of date: run `deno task isolation`");
}

Deno.test("the walk knows how to ask every page, and both houses have the same", () => {
  const names = { endpoint: "a", event: "b", delivery: "c", replay: "d" } as Names;
  const unknown = ROUTES.filter((route) => pathOf(route, names) === undefined);
  assert.deepEqual(unknown, [], "add what their paths name to NAMED");
  const paths = (base: string) => routesOf(base).map(({ method, path }) => `${method} ${path}`);
  const missing = paths("/portal").filter((path) => !paths("/dashboard").includes(path));
  assert.deepEqual(missing, []);
});

onServer(
  "isolation.pages: no page shows, or changes, what is another's or the operator's",
  async (database) => {
    await using db = await database.open();
    await using house = await buildHouse(database, db.admin);
    const seen: Seen = new Map();
    const before = await stateOf(db.admin);
    for (const own of house.businesses) {
      await walkOthers(house, own, seen);
      await walkOwn(house, own, seen);
    }
    await walkViewers(house, seen);
    assert.deepEqual(await stateOf(db.admin), before, "nothing was changed");
    await document(seen);
  },
);
