import assert from "node:assert/strict";
import { AppError } from "../../../lib/core/errors.ts";
import { formState, freshForm, makeForm } from "../../../routes/dashboard/forms.ts";

Deno.test("makeForm() reads fields as they were typed, whatever they are called", () => {
  const form = makeForm(
    new URLSearchParams("url=+https%3A%2F%2Fx.example+&events=a&events=b&unsigned=&__proto__=c"),
  );
  assert.equal(form.text("url"), "https://x.example");
  assert.equal(form.text("none"), "");
  assert.deepEqual(form.list("events"), ["a", "b"]);
  assert.deepEqual(form.list("none"), []);
  assert.ok(form.flag("unsigned"));
  assert.ok(!form.flag("none") && !form.flag("toString"));
  assert.equal(form.text("__proto__"), "c");
  assert.equal(form.text("constructor"), "");
});

Deno.test("formState() puts each mistake next to its field, and the rest above the form", () => {
  const form = makeForm(
    new URLSearchParams("url=x&retry=0s%2C+1x&tls_ca=PEM&tls.key=KEY&description="),
  );
  const error = new AppError("invalid", "The request is not valid", {
    errors: [
      { pointer: "/url", message: "Must be https" },
      { pointer: "/url", message: "Must have a host" },
      { pointer: "/retry_ms/1", message: "Must be a duration" },
      { pointer: "/tls/ca", message: "Is no certificate" },
      { pointer: "/tls/key", message: "Is no key" },
      { pointer: "/events", message: "Is missing" },
      { pointer: "", message: "Must be an object" },
    ],
  });
  const { values, errors, message } = formState(form, error);
  assert.equal(values, form.all);
  assert.deepEqual([...errors], [
    ["url", "Must be https"],
    ["retry", "Entry 2: Must be a duration"],
    ["tls_ca", "Is no certificate"],
    ["tls.key", "Is no key"],
    // It may be a list of checkboxes of which none is checked.
    ["events", "Is missing"],
  ]);
  assert.equal(message, "events: Is missing; Must be an object");
});

Deno.test("formState() says a refusal that is about no field above the form", () => {
  const form = makeForm(new URLSearchParams("url=x"));
  const conflict = new AppError("conflict", "Somebody else changed the endpoint meanwhile");
  const { errors, message } = formState(form, conflict);
  assert.equal(errors.size, 0);
  assert.equal(message, "Somebody else changed the endpoint meanwhile");
  assert.deepEqual(freshForm({ url: ["y"] }), {
    values: { url: ["y"] },
    errors: new Map(),
    message: null,
  });
});
