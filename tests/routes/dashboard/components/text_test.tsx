import assert from "node:assert/strict";
import { Url } from "../../../../routes/dashboard/components/text.tsx";
import { textOf } from "../../../support/html.ts";

Deno.test("Url() may break after its signs, never within a word, and is the same text", async () => {
  const url = "https://hooks.bella-hair.example:8443/wp-json/v1?to=till&b=<i>";
  const html = await (<p>
    <Url text={url} />
  </p>).toString();
  assert.deepEqual(html.replace(/^<p>|<\/p>$/g, "").split(/<wbr\/?>/), [
    ...["https://", "hooks.", "bella-", "hair.", "example:8443/", "wp-", "json/", "v1?"],
    ...["to=", "till&amp;", "b=", "&lt;i&gt;"],
  ]);
  assert.equal(textOf(html), url);
});
