import { type Figure, figuresOf, type Sample } from "./stats.ts";
import type { Bench } from "./bench.ts";

export interface Outcome {
  readonly samples: readonly Sample[];
  readonly bench: Bench;
  readonly reps: number;
  readonly complete: boolean;
  readonly minutes?: number;
}

/** Writes results.json. */
export async function writeReport(out: string, outcome: Outcome): Promise<void> {
  Deno.mkdirSync(out, { recursive: true });
  const figures: Figure[] = figuresOf(outcome.samples);
  await Deno.writeTextFile(`${out}/results.json`, JSON.stringify({ figures }, null, 1));
}
