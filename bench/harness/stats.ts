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
