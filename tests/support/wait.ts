/** Waiting in tests: for a condition to become true, never for a time in which it probably does. */

/** How long anything may take on a busy machine. */
const PATIENCE_MS = 120_000;

/**
 * Asks until the answer is truthy, and returns it. Throws with `what` and the last answer if it never
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

/** What `promise` resolves to. Throws with `what` if that takes too long, instead of waiting forever. */
export async function within<T>(
  what: string,
  promise: PromiseLike<T>,
  within_ms = PATIENCE_MS,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`Never within ${within_ms} ms: ${what}`)),
    within_ms,
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function inWords(value: unknown): string {
  return value instanceof Error ? String(value.stack) : Deno.inspect(value);
}

/** Pauses. For proving that nothing happens, and for pauses that are themselves under test. */
export function sleep(wait_ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, wait_ms));
}
