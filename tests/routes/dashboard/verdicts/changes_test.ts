import assert from "node:assert/strict";
import { actorWords, changeWords } from "../../../../routes/dashboard/verdicts/changes.ts";

/** The words of an update from some fields to others. */
function updated(before: Record<string, unknown>, after: Record<string, unknown>, of = "crm") {
  const entry = { actor: "anna", action: "endpoint.updated", object: "ep_1", before, after };
  const { who, text } = changeWords(entry, "operator", of);
  return `${who} ${text}`;
}

const settings = (more: Record<string, unknown>) => ({ settings: more });

Deno.test("an update names its only change with both values", () => {
  assert.equal(
    updated(settings({ timeout_ms: 5_000 }), settings({ timeout_ms: 10_000 })),
    "anna changed the timeout from 5s to 10s for crm",
  );
  assert.equal(
    updated(settings({ rate_limit_per_s: null }), settings({ rate_limit_per_s: 50 })),
    "anna set the rate limit to 50/s for crm",
  );
  assert.equal(
    updated(settings({ headers: [] }), {
      ...settings({ headers: ["X-Tenant"] }),
      header_values: "changed",
    }),
    "anna added the header X-Tenant for crm",
  );
  assert.equal(
    updated(settings({ headers: ["A"] }), {
      ...settings({ headers: ["A"] }),
      header_values: "changed",
    }),
    "anna changed the values of headers of crm",
  );
  assert.equal(
    updated({ events: ["booking.created"] }, { events: ["booking.created", "booking.cancelled"] }),
    "anna selected booking.cancelled for crm",
  );
  assert.equal(
    updated({ events: ["a.b", "c.d"] }, { events: ["a.b"] }),
    "anna deselected c.d for crm",
  );
  assert.equal(updated({ url: "https://a" }, { url: "https://b" }), "anna changed the URL of crm");
});

Deno.test("an update of several fields names them", () => {
  assert.equal(
    updated({ url: "https://a", ...settings({ timeout_ms: 1 }) }, {
      url: "https://b",
      ...settings({ timeout_ms: 2 }),
    }),
    "anna changed URL and timeout of crm",
  );
});

Deno.test("other changes, with and without the endpoint's name", () => {
  const words = (action: string, of: string | null, after: unknown = null) =>
    changeWords({ actor: "ben", action, object: "ep_1", before: null, after }, "operator", of).text;
  assert.equal(words("endpoint.rotated", "crm"), "rotated the secret of crm");
  assert.equal(words("endpoint.rotated", null), "rotated the secret");
  assert.equal(
    words("endpoint.paused", "waitlist", { reason: "their maintenance, until Monday" }),
    "paused waitlist: “their maintenance, until Monday”",
  );
  assert.equal(
    words("config.reloaded", null, { changed: ["endpoints.ledger.timeout_ms changed", "x"] }),
    "reloaded the configuration: endpoints.ledger.timeout_ms changed and 1 more",
  );
  assert.equal(words("some.thing", null), "some.thing ep_1");
});

Deno.test("a business reads of itself and of BookMe", () => {
  assert.equal(actorWords("portal:lnk_1", "business"), "Somebody with your link");
  assert.equal(actorWords("operator", "business"), "BookMe");
  assert.equal(actorWords("portal:lnk_1", "operator"), "The business");
  assert.equal(actorWords("the dispatcher", "operator"), "The dispatcher");
});

Deno.test("changes of alerts name the alert, and for whom they are", () => {
  const said = (action: string, of: string | null, after: unknown = null) => {
    const entry = { actor: "anna", action, object: "bus_1", before: null, after };
    return changeWords(entry, "operator", of).text;
  };
  assert.equal(
    said("alert.acknowledged", "crm has been failing"),
    "acknowledged “crm has been failing”",
  );
  assert.equal(said("alert.acknowledged", null), "acknowledged an alert");
  assert.equal(said("alert.snoozed", null, { for_ms: 28_800_000 }), "snoozed an alert for 8h");
  assert.equal(
    said("alerts.tested", null, { targets: ["slack", "mail"] }),
    "sent a test of alerts to slack and mail",
  );
  assert.equal(said("alert_contact.updated", null), "changed where alerts of bus_1 go");
  const own = { actor: "portal:lnk_1", action: "alert_contact.updated", object: "bus_1" };
  assert.deepEqual(changeWords({ ...own, before: null, after: null }, "business", null), {
    who: "Somebody with your link",
    text: "changed where your alerts go",
  });
});
