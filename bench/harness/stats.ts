/** One measured figure of one repetition. */
export interface Sample {
  readonly scenario: string;
  /** What was varied within the scenario: a rate, a fan-out, a size; "" where nothing was. */
  readonly variant: string;
  readonly contender: string;
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
}

/** A figure over its repetitions. */
export interface Figure extends Omit<Sample, "value"> {
  readonly values: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The value below which a share `q` of the (unsorted) values lies; NaN of none. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return NaN;
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** Brings the repetitions of each figure together, in the order they first came. */
export function figuresOf(samples: readonly Sample[]): Figure[] {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { scenario, variant, contender, metric } = sample;
    const key = [scenario, variant, contender, metric].join("|");
    const group = groups.get(key) ?? [];
    group.push(sample);
    groups.set(key, group);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { value: _, ...rest } = first;
    const values = group.map((sample) => sample.value);
    return [{
      ...rest,
      values,
      median: median(values),
      min: Math.min(...values),
      max: Math.max(...values),
    }];
  });
}

/** A number in at most four characters or so. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10_000) return `${Math.round(value / 1_000)}k`;
  if (size >= 100) return Math.round(value).toString();
  return Number(value.toPrecision(3)).toString();
}

/** A number in three digits, or as a whole one. */
export function precise(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : short(value);
}

/** A ratio, in words if there is none: nothing is a multiple of zero, or of less. */
export function ratioText(value: number, base: number): string {
  if (base === 0) return value === 0 ? "both are 0" : "no ratio, the other is 0";
  if (value < 0 || base < 0) return "no ratio, one is below 0";
  const ratio = value / base;
  return `${ratio < 0.1 ? Number(ratio.toPrecision(1)) : ratio.toFixed(2)} ×`;
}
