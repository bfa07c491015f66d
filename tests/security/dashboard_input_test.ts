/** Whatever is typed into addresses and forms: no page breaks by it, and nothing is done that was not asked for. */

import assert from "node:assert/strict";

import { dashboardRoutes } from "../../routes/dashboard/routes.ts";
import { newOnce } from "../../lib/admin/forms.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { portIn, speak } from "../support/raw.ts";
import { hiddenFields, openLink, signIn, type Visitor } from "../support/visitor.ts";

type Base = "/dashboard" | "/portal";

/** Texts that mean something to a database, a language, a protocol or a parser, percent-encoded. */
const ODD: readonly string[] = [
  ...words(
    "%00 a%00b %0d%0aX-Evil:%201 %1f %ff %E0%A4%A %ED%A0%80 % %zz %u0041 %E2%80%AE %F0%9F%92%A9",
  ),
  ...words(
    "constructor __proto__ toString hasOwnProperty prototype length failed,constructor true null *",
  ),
  ...words(
    "-1 0 1e999 99999999999999999999 0x10 NaN 99999999999999d -1d 2147483648 9999-99-99T99:99:99Z",
  ),
  ...words("'%20or%201=1-- ${x} [object%20Object] %2e%2e%2f ..%5c %2f%2fevil.example"),
  ...words("ep_ evt_ apl_ dlv_00000000000000000000000000 rpl_zzzzzzzzzzzzzzzzzzzz"),
  "x".repeat(256),
  "x".repeat(5_000),
];

/** Every name that an address of a page may have in its query, and some that none has. */
const QUERIES: readonly string[] = [
  ...words(
    "status endpoint type reason code since until cursor missing rate actor action object q note",
  ),
  ...words("sent event delivery next attempt compare with new end all retired"),
  ...words("__proto__ constructor a[] %00 %ff"),
];

/** Every field that a form of a page may have, and some that none has. */
const FIELDS: readonly string[] = [
  ...words(
    "url description events patterns businesses headers timeout retry concurrency rate_limit tls_ca",
  ),
  ...words(
    "tls_cert tls_key tls_remove unsigned version secret overlap activate ends_at name reason confirm",
  ),
  ...words("confirmed matched endpoint type body sample status code since until rate"),
  ...words("__proto__ constructor a[] %00 %ff"),
];

function words(text: string): string[] {
  return text.split(" ");
}

interface Route {
  readonly method: string;
  readonly path: string;
}

/** All pages and forms of a house, but for the stream, which is the API's. */
function routesOf(base: Base): readonly Route[] {
  return dashboardRoutes({ log: {} } as never).routes.filter(({ method, path }) =>
    /^(?:GET|POST)$/.test(method) && `${path}/`.startsWith(`${base}/`) &&
    !/\*|\/assets\/|\/logout$/.test(path)
  );
}

/** An address of a house, asked for as it is written: no client tidies it up. */
function asker(daemon: TestDaemon, visiting: Visitor) {
  const port = portIn(daemon.url);
  return async (line: string, body = "", headers: Readonly<Record<string, string>> = {}) => {
    const all = {
      Host: `127.0.0.1:${port}`,
      Origin: daemon.url,
      Cookie: visiting.cookies(),
      Connection: "close",
      ...(body === "" && line.startsWith("GET") ? {} : {
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": String(body.length),
      }),
      ...headers,
    };
    const fields = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const { statuses, text } = await speak(port, [`${line} HTTP/1.1\r\n${fields}\r\n${body}`]);
    return { status: statuses[0] ?? 0, text, location: /^location: (.*)\r$/im.exec(text)?.[1] };
  };
}

/** Nobody listens there. */
const NOBODY = "http://127.0.0.1:9/";

interface Scene extends AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly guests: readonly (readonly [Base, Visitor])[];
  /** Names of things that are there, by the part of a path before them. */
  readonly names: Readonly<Record<string, string>>;
}

async function setScene(database: TestDatabase): Promise<Scene> {
  const daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", NOBODY)],
    delivery: { retry: ["0s"] },
  });
  const call = async (path: string, body: unknown) => {
    const answer = await fetch(`${daemon.url}/api/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return await answer.json();
  };
  const { body: { id: event } } = await daemon.post(booking("apt_1", "bus_1"));
  const delivery = await daemon.deliveryId(event);
  await daemon.delivery(delivery);
  const { id: replay } = await call("replays", {
    since: "2026-01-01T00:00:00Z",
    until: "2026-01-02T00:00:00Z",
  });
  const { token } = await call("portal-links", { business: "bus_1" });
  // Only an endpoint that is not the file's can be changed, and only its own by a business.
  const { id: own } = await call("endpoints", { url: NOBODY, events: ["booking.created"] });
  await using db = await database.open();
  await db.admin`update endpoints set owner = 'bus_1' where id = ${own}`;
  return {
    daemon,
    guests: [
      ["/dashboard", await signIn(daemon.url)],
      ["/portal", await openLink(daemon.url, token)],
    ],
    names: {
      endpoints: own,
      deliveries: delivery,
      events: event,
      replays: replay,
      "event-types": "booking.created",
      open: token,
    },
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}

/** A route's path with what is there, or with something odd, in its place. */
function filled({ path }: Route, names: Scene["names"], odd?: string): string {
  const parts = path.split("/");
  return parts.map((part, at) =>
    part.startsWith(":") ? odd ?? names[parts[at - 1] ?? ""] ?? "x" : part
  )
    .join("/");
}

/** Fails if the log says that a request broke, or has anything of what was typed. */
function assertQuiet({ log }: TestDaemon): void {
  assert.deepEqual(log.filter(({ message }) => message === "A request failed"), []);
  const text = JSON.stringify(log);
  for (const typed of ["hasOwnProperty", "evil.example", "xxxxxxxx"]) {
    assert.ok(!text.includes(typed), typed);
  }
}

onServer("dashboard.odd addresses: none breaks a page", async (database) => {
  await using scene = await setScene(database);
  const faults: string[] = [];
  for (const [base, visiting] of scene.guests) {
    const ask = asker(scene.daemon, visiting);
    for (const route of routesOf(base).filter(({ method }) => method === "GET")) {
      // A stream that begins is never over.
      const method = route.path.endsWith("/stream") ? "HEAD" : "GET";
      const here = filled(route, scene.names);
      const paths = [
        ...route.path.includes(":") ? ODD.map((odd) => filled(route, scene.names, odd)) : [],
        ...ODD.map((odd) => `${here}?${QUERIES.map((name) => `${name}=${odd}`).join("&")}`),
        // A mistake in one may hide what another does.
        ...QUERIES.flatMap((name) => [`${here}?${name}=%00`, `${here}?${name}=constructor`]),
      ];
      await eachOf(paths, async (path) => {
        const { status, text } = await ask(`${method} ${path}`);
        if (status < 200 || status >= 500) faults.push(`${status} to ${method} ${path}`);
        assert.doesNotMatch(text.split("\r\n\r\n")[0] ?? "", /^x-evil/im, path);
      });
    }
    const stream = await ask(`GET ${base}/stream?endpoint=%00`);
    assert.equal(stream.status, 422);
  }
  assert.deepEqual(faults, []);
  assertQuiet(scene.daemon);
});

onServer("dashboard.odd forms: none breaks a page", async (database) => {
  await using scene = await setScene(database);
  const faults: string[] = [];
  for (const [base, visiting] of scene.guests) {
    const ask = asker(scene.daemon, visiting);
    const csrf = await tokenOf(visiting, base);
    for (const route of routesOf(base).filter(({ method }) => method === "POST")) {
      if (/\/(?:login|open)\b/.test(route.path)) continue;
      const here = filled(route, scene.names);
      const forms = [
        ...ODD.map((odd) => FIELDS.map((name) => `${name}=${odd}`)),
        ...FIELDS.map((name) => [`${name}=%00`]),
        ...FIELDS.map((name) => [`${name}=constructor`, `${name}=constructor`]),
        Array.from({ length: 10_000 }, (_, nth) => `field${nth}=1`),
        Array.from({ length: 10_000 }, (_, nth) => `events=type${nth}`),
        [
          `body=${"[".repeat(100_000)}`,
          `headers=${"a:b%0a".repeat(20_000)}`,
          `retry=${"1s,".repeat(20_000)}`,
        ],
      ];
      await eachOf(forms, async (fields) => {
        const body = [`csrf=${csrf}`, `once=${newOnce()}`, ...fields].join("&");
        const { status } = await ask(`POST ${here}`, body);
        if (status < 200 || status >= 500) {
          faults.push(`${status} to ${here} ${body.slice(0, 300)}`);
        }
      });
    }
    for (const once of ODD) {
      const { status } = await ask(`POST ${base}/endpoints`, `csrf=${csrf}&once=${once}`);
      assert.ok([400, 422].includes(status), `${once}: ${status}`);
    }
  }
  assert.deepEqual(faults, []);
  assertQuiet(scene.daemon);
});

onServer(
  "dashboard.odd fields: of several the first counts, and names of objects' own are names",
  async (
    database,
  ) => {
    await using scene = await setScene(database);
    const [[base, operator]] = scene.guests as [Scene["guests"][0]];
    const ask = asker(scene.daemon, operator);
    const csrf = await tokenOf(operator, base);
    const post = (fields: readonly string[]) => ask(`POST ${base}/endpoints`, fields.join("&"));
    const sound = ["url=http%3A%2F%2F127.0.0.1%3A9%2Fa", "events=booking.created"];
    const made = async () => (await scene.daemon.api("endpoints")).body.data;
    // A token that comes second is none.
    assert.equal(
      (await post([`csrf=x`, `csrf=${csrf}`, `once=${newOnce()}`, ...sound])).status,
      403,
    );
    const before = await made();
    const once = newOnce();
    const twice = [`csrf=${csrf}`, "csrf=x", `once=${once}`, `once=${newOnce()}`, ...sound];
    const second = ["url=http%3A%2F%2F127.0.0.1%3A9%2Fb", "__proto__=1", "constructor=2"];
    const headers = encodeURIComponent("__proto__: odd\nconstructor: odd\nX-Plain: even");
    const first = await post([...twice, ...second, `headers=${headers}`]);
    assert.equal(first.status, 303, first.text);
    // The same form again, whatever else it says.
    assert.equal((await post([...twice, ...second, "description=again"])).location, first.location);
    const [endpoint, ...rest] = await made();
    assert.equal(rest.length, before.length, "one more");
    assert.equal(endpoint.url, "http://127.0.0.1:9/a");
    assert.deepEqual(Object.keys(endpoint.headers).toSorted(), [
      "X-Plain",
      "__proto__",
      "constructor",
    ]);
  },
);

onServer(
  "dashboard.odd requests: other spellings and methods reach nothing else",
  async (database) => {
    await using scene = await setScene(database);
    for (const [base, visiting] of scene.guests) {
      const ask = asker(scene.daemon, visiting);
      const csrf = await tokenOf(visiting, base);
      // A slash too many is taken away, and leads nowhere else.
      for (
        const [path, location] of [
          [`${base}/`, base],
          [`${base}/?a=b`, `${base}?a=b`],
          [`${base}/deliveries/`, `${base}/deliveries`],
          [`${base}/deliveries/?status=all&q=%2F`, `${base}/deliveries?status=all&q=%2F`],
          [`${base}//evil.example/`, `${base}//evil.example`],
          [`${base}//`, `${base}/`],
        ]
      ) {
        const answer = await ask(`GET ${path}`);
        assert.deepEqual([answer.status, answer.location], [301, location], path);
      }
      // As browsers resolve them; an encoded slash is part of a name.
      for (
        const [path, status] of [
          [`${base}/%2e%2e/api/endpoints`, 401],
          [`${base}/../api/endpoints`, 401],
          [`${base}/.%2e/api/endpoints`, 401],
          [`${base}/./deliveries`, 200],
          [`${base}/%2e%2e%2fapi/endpoints`, 404],
          [`${base}/..%2fapi%2fendpoints`, 404],
          [`${base}/..;/api/endpoints`, 404],
          [`${base};/deliveries`, 404],
          [`${base}%2fdeliveries`, 404],
          [`${base}//deliveries`, 404],
          [`/${base}`, 404],
          [base.toUpperCase(), 404],
          [`${base}\\deliveries`, 400],
          [`http://evil.example${base}`, 400],
          [`http://127.0.0.1:${portIn(scene.daemon.url)}${base}`, 400],
          [`${base}/search?q=${"x".repeat(15_000)}`, 422],
          [`${base}/search?q=${"x".repeat(1_000_000)}`, 431],
          ["*", 400],
        ] as const
      ) {
        assert.equal((await ask(`GET ${path}`)).status, status, path.slice(0, 100));
      }
      for (const page of ["", "/deliveries", "/endpoints", "/search?q=BKAAAA11", "/verify"]) {
        const [get, head] = [await ask(`GET ${base}${page}`), await ask(`HEAD ${base}${page}`)];
        assert.deepEqual([head.status, head.text.split("\r\n\r\n")[1]], [get.status, ""], page);
        for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]) {
          const { status } = await ask(`${method} ${base}${page}`, `csrf=${csrf}`);
          assert.ok([404, 405].includes(status), `${method} ${page}: ${status}`);
        }
      }
    }
    assertQuiet(scene.daemon);
  },
);

onServer(
  "dashboard.assets: whole, whatever condition is set, and never of anybody else's choice",
  async (
    database,
  ) => {
    await using scene = await setScene(database);
    const [[base, operator]] = scene.guests as [Scene["guests"][0]];
    const ask = asker(scene.daemon, operator);
    const page = await operator.get(base);
    const [, style = ""] = /href="(\/dashboard\/assets\/style[^"]*)"/.exec(page.text) ?? [];
    const whole = (await ask(`GET ${style}`)).text.split("\r\n\r\n")[1] ?? "";
    assert.ok(whole.length > 10_000);
    for (
      const headers of [
        { "If-None-Match": "*" },
        { "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT" },
        { "If-Match": '"x"' },
        { "If-Range": '"x"', Range: "bytes=0-9" },
        { Range: "bytes=0-9" },
        { Range: "bytes=9-0" },
        { "Accept-Encoding": "gzip;q=0" },
      ] as Record<string, string>[]
    ) {
      const { status, text } = await ask(`GET ${style}`, "", headers);
      assert.deepEqual([status, text.split("\r\n\r\n")[1]], [200, whole], JSON.stringify(headers));
      assert.match(text, /^cache-control: public, max-age=31536000, immutable\r$/im);
      assert.match(text, /^vary: accept-encoding\r$/im);
    }
    for (
      const path of [
        `${style}?x`,
        `${style}x`,
        "/dashboard/assets/../../etc/passwd",
        "/dashboard/assets/%2e%2e%2fdeno.json",
      ]
    ) {
      const { status, text } = await ask(`GET ${path}`);
      assert.equal(status, path.includes("?") ? 200 : 404, path);
      assert.equal(/immutable/i.test(text), status === 200, path);
    }
  },
);

/** Runs it on each, some at once. */
async function eachOf<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  const left = all.values();
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (const one of left) await run(one);
  }));
}

async function tokenOf(visiting: Visitor, base: Base): Promise<string> {
  return hiddenFields((await visiting.get(base)).text)["csrf"] ?? "";
}
