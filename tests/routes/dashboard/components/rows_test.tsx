import assert from "node:assert/strict";
import { type Column, Rows } from "../../../../routes/dashboard/components/all.ts";

interface Row {
  readonly id: string;
  readonly name: string;
}

const COLUMNS: readonly Column<Row>[] = [
  {
    name: "count",
    label: "Waiting",
    phone: "under",
    unit: "waiting",
    none: ({ id }) => id === "2",
    cell: () => 214,
  },
  { name: "name", label: "Name", phone: "subject", cell: ({ name }) => name },
  { name: "p95", label: "p95", align: "right", cell: () => "93 ms" },
];

Deno.test("a row is one link, on its subject, and known again by its id", async () => {
  const rows = [{ id: "1", name: "<i>crm</i>" }, { id: "2", name: "gone" }];
  const html = String(
    await (
      <Rows
        columns={COLUMNS}
        rows={rows}
        href={({ id }) => id === "1" ? "/dashboard/endpoints/crm?a=1&b=2" : null}
        id={({ id }) => id}
      />
    ),
  );
  assert.deepEqual(html.match(/<a [^>]*>[^<]*<\/a>/g), [
    '<a class="row" href="/dashboard/endpoints/crm?a=1&amp;b=2">&lt;i&gt;crm&lt;/i&gt;</a>',
  ]);
  assert.ok(html.includes('<tr id="row-2">'));
  assert.ok(html.includes('<td class="p-under">214<span class="unit"> waiting</span></td>'), html);
  assert.ok(html.includes('<td class="p-under none">214<'), html);
  assert.ok(html.includes('<td class="p-hide right">93 ms</td>'));
});

Deno.test("without rows there is what says why", async () => {
  const html = String(await <Rows columns={COLUMNS} rows={[]} empty={<b>None</b>} />);
  assert.equal(html, "<b>None</b>");
});
