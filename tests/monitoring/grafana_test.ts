/** The dashboard can be imported anywhere, and has the colours of our own. */

import assert from "node:assert/strict";
import { readDashboard, textOf } from "./files.ts";

const STYLE = Deno.readTextFileSync(
  new URL("../../routes/dashboard/assets/style.css", import.meta.url),
);
const { panels, ...dashboard } = readDashboard();

Deno.test("the dashboard belongs to no installation", () => {
  assert.equal(dashboard.id, null);
  assert.equal(dashboard.uid, "bookme-webhooks");
  // Grafana 10.0 has 38, and reads older ones.
  assert.ok(dashboard.schemaVersion <= 38);
  assert.deepEqual(dashboard.templating.list.map(({ name }) => name), [
    "datasource",
    "instance",
    "endpoint",
  ]);
  const sources = [...textOf("grafana.json").matchAll(/"type": "prometheus",\s+"uid": "(.*?)"/g)];
  assert.ok(sources.length > panels.length);
  assert.deepEqual([...new Set(sources.map(([, uid]) => uid))], ["${datasource}"]);
});

Deno.test("each panel has its own place, id and title", () => {
  for (const key of ["id", "title"] as const) {
    const values = panels.map((panel) => panel[key]);
    assert.equal(new Set(values).size, values.length, key);
  }
  const taken = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h } } of panels) {
    assert.ok(x + w <= 24, title);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        const place = `${column} ${line}`;
        assert.equal(taken.get(place), undefined, `${title} covers ${taken.get(place)}`);
        taken.set(place, title);
      }
    }
  }
});

Deno.test("each panel asks the data source that was chosen", () => {
  for (const { type, title, datasource, targets = [] } of panels) {
    if (type === "row") continue;
    assert.equal(datasource?.uid, "${datasource}", title);
    assert.ok(targets.length > 0, title);
    for (const target of targets) assert.equal(target.datasource?.uid, "${datasource}", title);
  }
});

// Grafana begins with a dark theme, and a colour is the same in both.
Deno.test("the colours are those of our dashboard in the dark", () => {
  const dark = /prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}/s.exec(STYLE)?.[1] ?? "";
  const token = (name: string) => new RegExp(`--${name}: (#\\w+)`).exec(dark)?.[1];
  const allowed = ["accent", "delivered", "waiting", "failed", "paused", "cancelled"].map(token);
  const text = textOf("grafana.json");
  const used = [...text.matchAll(/"(#[0-9a-f]+)"/gi)].map(([, colour]) => colour);
  assert.deepEqual([...new Set(used)].toSorted(), allowed.toSorted());
  // A series that is named like a state has its colour.
  const named = [...text.matchAll(
    /"byName", "options": "(delivered|failed|paused|cancelled)" \}.*?"fixedColor": "(#\w+)"/gs,
  )];
  assert.ok(named.length >= 5);
  for (const [, name = "", colour] of named) assert.equal(colour, token(name), name);
});
