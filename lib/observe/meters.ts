import { BOUNDS_S, fullName, type MetricName, METRICS, RESPONSE_BOUNDS_S } from "./metrics.ts";

/** One series of a counter or a gauge. Hot paths hold it and add to its value. */
export interface Series {
  value: number;
}

/** One series of a histogram. */
export interface HistogramSeries {
  /** Counts a duration, in seconds. */
  observe(seconds: number): void;
}

/** The values of all metrics. */
export interface Meters {
  /** A new series, with the value 0, for the values of the metric's labels. It stays until it is dropped. */
  series(name: MetricName, ...values: readonly string[]): Series;
  histogram(name: MetricName, ...values: readonly string[]): HistogramSeries;
  /** Ends series: they are shown no more. */
  drop(name: MetricName, series: Series | HistogramSeries): void;
  /** Replaces all series of a gauge. */
  replace(name: MetricName, rows: readonly Row[]): void;
  /** Everything in Prometheus' text format, version 0.0.4. A metric without series is left out. */
  render(): string;
}

/** The values of a metric's labels, and the value. */
export type Row = readonly [values: readonly string[], value: number];

/** Writes the lines of one series. */
type Write = (lines: string[]) => void;

/** Meters without a series. */
export function makeMeters(): Meters {
  const families = new Map<MetricName, Map<object, Write>>();
  for (const name of Object.keys(METRICS) as MetricName[]) families.set(name, new Map());
  const of = (name: MetricName) => families.get(name) ?? new Map<object, Write>();

  function series(name: MetricName, ...values: readonly string[]): Series {
    // Once, because a scrape writes thousands of lines.
    const start = `${fullName(name)}${labelsOf(name, values)} `;
    const one = { value: 0 };
    of(name).set(one, (lines) => void lines.push(start + numberText(one.value)));
    return one;
  }

  return {
    series,
    histogram(name, ...values) {
      const one = makeHistogram(name, values);
      of(name).set(one, one.write);
      return one;
    },
    drop: (name, one) => void of(name).delete(one),
    replace(name, rows) {
      of(name).clear();
      for (const [values, value] of rows) series(name, ...values).value = value;
    },
    render() {
      const lines: string[] = [];
      for (const [name, all] of families) {
        if (all.size === 0) continue;
        const { type, help } = METRICS[name];
        lines.push(`# HELP ${fullName(name)} ${help}`, `# TYPE ${fullName(name)} ${type}`);
        for (const write of all.values()) write(lines);
      }
      return lines.join("\n") + "\n";
    },
  };
}

function makeHistogram(
  name: MetricName,
  values: readonly string[],
): HistogramSeries & { readonly write: Write } {
  const bounds = METRICS[name].labels.length === 0 ? BOUNDS_S : RESPONSE_BOUNDS_S;
  const starts = [...bounds.map(String), "+Inf"].map((bound) =>
    `${fullName(name)}_bucket${labelsOf(name, values, `le="${bound}"`)} `
  );
  const labels = labelsOf(name, values);
  const counts = new Array<number>(bounds.length + 1).fill(0);
  let sum = 0;
  return {
    observe(seconds) {
      let bucket = 0;
      while (bucket < bounds.length && seconds > (bounds[bucket] ?? Infinity)) bucket++;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      sum += seconds;
    },
    write(lines) {
      let total = 0;
      for (const [bucket, start] of starts.entries()) {
        total += counts[bucket] ?? 0;
        lines.push(start + total);
      }
      lines.push(
        `${fullName(name)}_sum${labels} ${numberText(sum)}`,
        `${fullName(name)}_count${labels} ${total}`,
      );
    },
  };
}

function labelsOf(name: MetricName, values: readonly string[], more = ""): string {
  const { labels } = METRICS[name];
  if (labels.length !== values.length) {
    throw new Error(`${name} has the labels ${labels.join(", ")}, not ${values.length}`);
  }
  const pairs = labels.map((label, at) => `${label}="${escaped(values[at] ?? "")}"`);
  const all = more === "" ? pairs : [...pairs, more];
  return all.length === 0 ? "" : `{${all.join(",")}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (char) => char === "\n" ? "\\n" : `\\${char}`);
}

// Twelve digits: a sum of durations has no more that mean anything.
function numberText(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(12)));
}
