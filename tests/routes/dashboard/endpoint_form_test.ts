import assert from "node:assert/strict";
import { AppError, type Mistake } from "../../../lib/core/errors.ts";
import {
  entries,
  fieldError,
  readSettings,
  settingsValues,
  withoutSecrets,
} from "../../../routes/dashboard/endpoint_form.ts";
import { makeForm } from "../../../routes/dashboard/forms.ts";
import { facts } from "./verdicts/facts.ts";

const TYPES = ["booking.created", "booking.confirmed"];

const ENDPOINT = facts("delivering", {
  events: ["booking.created", "service.*"],
  businesses: ["bus_1", "bus_2"],
  headers: { "X-Tenant": "[redacted]" },
  retry_ms: [0, 60_000, 3_600_000],
  inherited: ["retry_ms"],
  timeout_ms: 10_000,
  rate_limit: "50/s",
}).endpoint;

/** A form with these fields, by default those that the page of the endpoint has. */
function formOf(fields: Record<string, string | string[]> = {}) {
  const params = new URLSearchParams();
  const all = { ...settingsValues(ENDPOINT, TYPES), ...fields };
  for (const [name, value] of Object.entries(all)) {
    for (const one of [value].flat()) params.append(name, one);
  }
  return makeForm(params);
}

const read = (fields: Record<string, string | string[]> = {}) =>
  readSettings(formOf(fields), ENDPOINT, true);

Deno.test("settings that were not touched change nothing", () => {
  assert.deepEqual(read(), { body: {}, mistakes: [] });
});

Deno.test("only fields that were touched are changed", () => {
  assert.deepEqual(read({ timeout: "5s" }).body, { timeout_ms: 5_000 });
  assert.deepEqual(read({ timeout: "" }).body, { timeout_ms: null });
  assert.deepEqual(read({ retry: "0s, 30s" }).body, { retry_ms: [0, 30_000] });
  assert.deepEqual(read({ events: ["booking.confirmed"], patterns: "" }).body, {
    events: ["booking.confirmed"],
  });
  assert.deepEqual(read({ businesses: "bus_2,\r\nbus_1" }).body, {});
  assert.deepEqual(read({ businesses: "" }).body, { businesses: null });
  assert.deepEqual(read({ concurrency: "8", rate_limit: "300 / m" }).body, {
    concurrency: 8,
    rate_limit: "300/m",
  });
  assert.deepEqual(read({ description: "Till" }).body, { description: "Till" });
  assert.deepEqual(read({ unsigned: "on" }).body, { unsigned: true });
  assert.deepEqual(read({ traceparent: "on" }).body, { traceparent: true });
});

Deno.test("headers keep values that are left redacted, and get those that are typed", () => {
  assert.deepEqual(
    read({ headers: "X-Tenant: [redacted]\r\nAuthorization: Bearer a:b\r\n" }).body,
    {
      headers: { "X-Tenant": "[redacted]", Authorization: "Bearer a:b" },
    },
  );
  assert.deepEqual(read({ headers: "" }).body, { headers: {} });
  const [mistake] = read({ headers: "Bearer secret-of-mine" }).mistakes;
  assert.equal(mistake?.pointer, "/headers");
  assert.doesNotMatch(mistake?.message ?? "", /secret-of-mine/);
  assert.equal(read({ headers: "__proto__: x" }).body.headers !== undefined, true);
});

Deno.test("certificates that are left empty stay, and boxes remove them", () => {
  assert.deepEqual(read({ tls_ca: "PEM" }).body, { tls: { ca: "PEM" } });
  assert.deepEqual(read({ tls_remove: ["client"] }).body, { tls: { cert: null, key: null } });
  assert.deepEqual(read({ tls_remove: ["ca"], tls_cert: "C", tls_key: "K" }).body, {
    tls: { ca: null, cert: "C", key: "K" },
  });
});

Deno.test("a new endpoint has what is filled in, and no businesses in the portal", () => {
  const form = formOf({ description: "", timeout: "", retry: "", headers: "", rate_limit: "" });
  assert.deepEqual(readSettings(form, null, false).body, {
    url: ENDPOINT.url,
    events: ["booking.created", "service.*"],
  });
});

Deno.test("durations and numbers that cannot be read name their field", () => {
  const { mistakes } = read({ timeout: "10 seconds", retry: "0s, soon", concurrency: "many" });
  assert.deepEqual(mistakes.map(({ pointer }) => pointer), ["/timeout", "/retry", "/concurrency"]);
  assert.equal(mistakes[0]?.message, "Write a number and a unit, like 10s or 1m");
  assert.match(mistakes[1]?.message ?? "", /"soon" is none/);
});

Deno.test("mistakes of the API point to fields", () => {
  const form = formOf();
  const pointed = (pointer: string) => {
    const error = fieldError(
      new AppError("invalid", "", { errors: [{ pointer, message: "M" }] }),
      form,
    );
    return (error as AppError).detail.errors?.[0] as Mistake;
  };
  assert.equal(pointed("/timeout_ms").pointer, "/timeout");
  assert.equal(pointed("/retry_ms/2").pointer, "/retry");
  assert.equal(pointed("/events").pointer, "/events");
  assert.equal(pointed("/events/0").pointer, "/events");
  assert.equal(pointed("/events/1").pointer, "/patterns");
  assert.equal(pointed("/tls/key").pointer, "/tls_key");
  assert.equal(pointed("/tls").pointer, "/tls_ca");
  assert.deepEqual(pointed("/headers/X~1A"), { pointer: "/headers", message: "X/A: M" });
  assert.equal(pointed("/businesses/1").pointer, "/businesses");
  const other = new Error("other");
  assert.equal(fieldError(other, form), other);
});

Deno.test("what was typed is shown again without credentials", () => {
  const shown = withoutSecrets({
    url: ["https://a"],
    secret: ["whsec_x"],
    tls_key: ["KEY"],
    headers: ["X-Tenant: [redacted]\r\nAuthorization: Bearer abc\r\nBearer def"],
  });
  assert.deepEqual(shown, {
    url: ["https://a"],
    headers: ["X-Tenant: [redacted]\r\nAuthorization: \n"],
  });
});

Deno.test("lists are typed with commas or lines", () => {
  assert.deepEqual(entries(" a, b\r\nc,,\n"), ["a", "b", "c"]);
});
