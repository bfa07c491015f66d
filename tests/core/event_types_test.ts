import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as v from "valibot";
import { EVENT_TYPES, makeEventTypes } from "../../lib/core/event_types.ts";

Deno.test("EVENT_TYPES are the documentation's eight, in its order", () => {
  assert.deepEqual(EVENT_TYPES.map((type) => type.name), [
    "booking.created",
    "booking.confirmed",
    "booking.cancelled",
    "booking.completed",
    "business.created",
    "business.updated",
    "service.created",
    "service.updated",
  ]);
  assert.ok(EVENT_TYPES.every((type) => type.description.startsWith("Triggered when ")));
});

Deno.test("EVENT_TYPES carry the documentation's samples to the character", () => {
  // Of the JSON blocks below "Event Types" in the documentation, each with a newline behind it.
  const digest = createHash("sha256");
  for (const type of EVENT_TYPES) digest.update(type.sample + "\n");
  assert.equal(
    digest.digest("hex"),
    "110d3a8d82c6ed7b42f031eccdaab5138404031e1ab0f0f79a9f0d77e6ef0fb8",
  );
});

Deno.test("EVENT_TYPES[].schema accepts its sample and leaves it unchanged", () => {
  for (const type of EVENT_TYPES) {
    const event = JSON.parse(type.sample);
    assert.equal(event.event, type.name);
    const result = v.safeParse(type.schema, event.data);
    assert.ok(result.success, type.name);
    assert.deepEqual(result.output, event.data);
  }
});

Deno.test("EVENT_TYPES[].schema asks for the subject's id and nothing else", () => {
  for (const type of EVENT_TYPES) {
    const subject = type.subject ?? assert.fail(type.name);
    assert.ok(v.is(type.schema, { [subject]: { id: "x" } }), type.name);
    assert.ok(!v.is(type.schema, { [subject]: {} }), type.name);
    assert.ok(!v.is(type.schema, { [subject]: { id: null } }), type.name);
    assert.ok(!v.is(type.schema, {}), type.name);
    assert.ok(!v.is(type.schema, [{ id: "x" }]), type.name);
  }
});

Deno.test("EVENT_TYPES[].schema takes null for absent in every optional documented field", () => {
  for (const type of EVENT_TYPES) {
    const subject = type.subject ?? assert.fail(type.name);
    const documented = JSON.parse(type.sample).data[subject];
    const emptied = Object.fromEntries(Object.keys(documented).map((key) => [key, null]));
    assert.ok(v.is(type.schema, { [subject]: { ...emptied, id: "x" } }), type.name);
  }
});

Deno.test("EVENT_TYPES[].schema refuses the wrong JSON type in every documented field", () => {
  // An empty array is neither a string, a number nor an object, and a number no array of strings.
  const wrong = (value: unknown): unknown => Array.isArray(value) ? 5 : [];
  for (const type of EVENT_TYPES) {
    const data = JSON.parse(type.sample).data;
    const spoil = (value: unknown, path: string): void => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return;
      const record = value as Record<string, unknown>;
      for (const [key, kept] of Object.entries(record)) {
        record[key] = wrong(kept);
        assert.ok(!v.is(type.schema, data), `${type.name} ${path}/${key}`);
        record[key] = kept;
        spoil(kept, `${path}/${key}`);
      }
    };
    spoil(data, "");
    assert.ok(v.is(type.schema, data));
  }
});

Deno.test("makeEventTypes() adds custom types behind the documented ones", () => {
  const check = () => [{ pointer: "/size", message: "Is too large" }];
  const types = makeEventTypes([
    { name: "booking.moved", description: "Moved" },
    { name: "payment.received", description: "Paid", check },
  ]);
  assert.equal(types.names.length, 10);
  assert.deepEqual(types.names.slice(8), ["booking.moved", "payment.received"]);
  assert.equal(types.get("booking.moved")?.subject, "appointment");
  assert.equal(types.get("payment.received")?.subject, null);
  assert.equal(types.get("payment.received")?.check, check);
  assert.equal(types.get("booking.created"), EVENT_TYPES[0]);
  assert.equal(types.get("booking"), undefined);
  assert.equal(types.get("constructor"), undefined);
});

Deno.test("makeEventTypes() ties only whole first parts to a subject", () => {
  const names = ["bookings.moved", "book.moved", "booking.a.b", "service.gone", "constructor.x"];
  const types = makeEventTypes(names.map((name) => ({ name, description: "" })));
  assert.deepEqual(names.map((name) => types.get(name)?.subject), [
    null,
    null,
    "appointment",
    "service",
    null,
  ]);
});

Deno.test("makeEventTypes() gives custom types a sample that their schema accepts", () => {
  const types = makeEventTypes(
    ["booking.moved", "business.gone", "service.gone", "payment.received"]
      .map((name) => ({ name, description: "" })),
  );
  for (const name of types.names) {
    const type = types.get(name) ?? assert.fail(name);
    const event = JSON.parse(type.sample);
    assert.equal(event.event, name);
    assert.ok(v.is(type.schema, event.data), name);
  }
});
