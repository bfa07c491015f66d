/** Waiting in tests: for what must become true, never for a time in which it probably has. */

/** How long anything may take on a machine that is busy with other things. */
const PATIENCE_MS = 30_000;

/**
 * Asks until the answer is truthy, and gives it. Throws with `what` and the last answer when it never
 * is. A question that throws is asked again.
 */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  within_ms = PATIENCE_MS,
): Promise<NonNullable<T>> {
  const end_ms = performance.now() + within_ms;
  for (let pause_ms = 2;; pause_ms = Math.min(pause_ms * 1.5, 50)) {
    let last: unknown;
    try {
      const answer = await ask();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end_ms) {
      throw new Error(`Never within ${within_ms} ms: ${what}; at last ${inWords(last)}`);
    }
    await sleep(pause_ms);
  }
}

function inWords(value: unknown): string {
  return value instanceof Error ? String(value.stack) : Deno.inspect(value);
}

/** For proving that nothing happens, and for pauses that are the thing under test. */
export function sleep(wait_ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, wait_ms));
}
