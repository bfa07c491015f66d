import assert from "node:assert/strict";
import { ADMIN, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { signIn, visitor } from "../../support/visitor.ts";

onServer("an operator signs in with a token, and out", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const { port } = new URL(daemon.url);
  const operator = visitor(daemon.url);
  const sent_away = await operator.get("/dashboard");
  assert.deepEqual([sent_away.status, sent_away.location], [303, "/dashboard/login"]);
  const signed_in = await operator.submit("/dashboard/login", { token: ADMIN });
  assert.deepEqual([signed_in.status, signed_in.location], [303, "/dashboard"]);
  const [cookie = ""] = signed_in.headers.getSetCookie();
  assert.match(
    cookie,
    new RegExp(
      `^bookme_${port}=[\\w-]{43}; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict$`,
    ),
  );
  assert.equal((await operator.get("/dashboard")).status, 200);
  const out = await operator.submit("/dashboard/logout", {}, "/dashboard");
  assert.deepEqual([out.status, out.location], [303, "/dashboard/login"]);
  assert.equal(operator.cookies(), "");
});

onServer("a cookie is worth nothing after its session has ended", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const cookie = operator.cookies();
  await operator.submit("/dashboard/logout", {}, "/dashboard");
  const { status } = await visitor(daemon.url).get("/dashboard", { cookie });
  assert.equal(status, 303);
});

onServer("a business opens its link with the button, not by looking at it", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const made = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business: "bus_1" }),
  });
  const { token } = await made.json();
  const business = visitor(daemon.url);
  const shown = await business.get(`/portal/open/${token}`);
  assert.equal(shown.status, 200);
  assert.match(shown.text, /Webhooks of bus_1/);
  assert.equal(shown.headers.get("referrer-policy"), "strict-origin");
  assert.equal(business.cookies(), "");
  assert.equal((await business.get("/portal")).status, 403);
  const opened = await business.post(`/portal/open/${token}`);
  assert.deepEqual([opened.status, opened.location], [303, "/portal"]);
  assert.equal((await business.get("/portal")).status, 200);
});
