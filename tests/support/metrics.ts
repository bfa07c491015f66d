import assert from "node:assert/strict";

/** A scrape, read by the rules of the text format. */
export interface Scrape {
  readonly text: string;
  /** By full name: its type and its help. */
  readonly families: ReadonlyMap<string, { readonly type: string; readonly help: string }>;
  /** By name and labels, `bookme_webhooks_attempts_total{endpoint="crm",outcome="delivered"}`. */
  readonly values: ReadonlyMap<string, number>;
  /** The value of a series, without the prefix of its name. Fails if there is none. */
  value(series: string): number;
  /** The sum of the series whose names and labels match. */
  sum(series: RegExp): number;
}

const NAME = /^[a-z][a-z0-9_]*$/;
const SAMPLE =
  /^([a-z0-9_]+(?:\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})?) (\S+)$/;

/** Reads what a scrape answered; fails on anything that is not of the format. */
export function readScrape(text: string): Scrape {
  const families = new Map<string, { type: string; help: string }>();
  const values = new Map<string, number>();
  assert.ok(text.endsWith("\n"));
  for (const line of text.slice(0, -1).split("\n")) {
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === "HELP") {
      assert.match(name, NAME);
      assert.ok(!families.has(name), `${name} comes twice`);
      families.set(name, { type: "", help: rest });
      continue;
    }
    if (kind === "TYPE") {
      const family = families.get(name);
      assert.ok(family !== undefined, line);
      family.type = rest;
      continue;
    }
    const [, series, value] = SAMPLE.exec(line) ?? [];
    assert.ok(series !== undefined, `Not a sample: ${line}`);
    assert.ok(!values.has(series), `${series} comes twice`);
    assert.ok(Number.isFinite(Number(value)), line);
    values.set(series, Number(value));
  }
  const full = (series: string) =>
    series.startsWith("process_") ? series : `bookme_webhooks_${series}`;
  return {
    text,
    families,
    values,
    value(series) {
      const value = values.get(full(series));
      assert.ok(value !== undefined, `No series ${series}`);
      return value;
    },
    sum: (series) =>
      [...values].reduce((sum, [name, value]) => series.test(name) ? sum + value : sum, 0),
  };
}

/** Scrapes a daemon. */
export async function scrape(url: string, token: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return readScrape(text);
}
