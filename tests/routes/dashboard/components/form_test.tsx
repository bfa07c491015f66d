import assert from "node:assert/strict";
import {
  ActionButton,
  AreaField,
  CheckFields,
  FormMessage,
  SelectField,
  TextField,
} from "../../../../routes/dashboard/components/all.ts";
import { VISIT } from "../../../support/patterns.tsx";

Deno.test("a field leads to its error and its note, and keeps what was typed", async () => {
  const html = String(
    await (
      <TextField
        name="url"
        label="URL"
        value={'"><b>'}
        error="Endpoints need https"
        note="n"
      />
    ),
  );
  assert.ok(html.includes('value="&quot;&gt;&lt;b&gt;"'), html);
  assert.ok(html.includes('aria-describedby="f-url-error f-url-note"'));
  assert.ok(html.includes('aria-invalid="true"'));
  assert.ok(html.includes('<p class="error" id="f-url-error">Endpoints need https</p>'));
  assert.ok(html.includes('<label for="f-url">URL</label>'));
});

Deno.test("a text area keeps line breaks at its beginning", async () => {
  const html = String(await <AreaField name="a" label="A" value={"\n</textarea>x"} />);
  // A browser drops the first one.
  assert.ok(html.includes(">\n\n&lt;/textarea&gt;x</textarea>"), html);
});

Deno.test("choices show what is chosen", async () => {
  const checks = String(
    await (
      <CheckFields
        name="events"
        label="Events"
        options={[{ value: "a" }, { value: "b" }]}
        values={["b"]}
      />
    ),
  );
  assert.deepEqual(
    (checks.match(/<input [^>]*>/g) ?? []).map((input) => / checked/.test(input)),
    [false, true],
  );
  const select = String(
    await <SelectField name="s" label="S" options={[{ value: "a" }, { value: "b" }]} value="b" />,
  );
  assert.match(select, /<option value="b" selected/);
  assert.ok(!/<option value="a" selected/.test(select));
});

Deno.test("each rendering of a form is another one, and a viewer gets no button", async () => {
  const button = async (may_write: boolean) =>
    String(
      await (
        <ActionButton
          visit={{ ...VISIT, may_write }}
          action="/dashboard/deliveries/dlv_1/retry"
          label="Retry"
          fields={{ from: "a&b" }}
        />
      ) ?? "",
    );
  const [first, second] = [await button(true), await button(true)];
  assert.notEqual(first, second);
  assert.ok(first.includes('name="from" value="a&amp;b"'));
  assert.ok(first.includes('data-key="r"'));
  assert.equal(await button(false), "");
});

Deno.test("a refused form says how many fields need a change", async () => {
  const of = async (count: number, message: string | null = null) => {
    const errors = new Map(Array.from({ length: count }, (_, at) => [String(at), "x"]));
    return String(await <FormMessage state={{ values: {}, errors, message }} /> ?? "");
  };
  assert.equal(await of(0), "");
  assert.match(await of(1), /Nothing was changed\. One field needs a change, marked below\./);
  assert.match(await of(2), /2 fields need a change/);
  assert.match(await of(1, "It was changed meanwhile"), /role="alert">It was changed meanwhile</);
});
