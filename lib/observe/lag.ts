/** How late timers fire: what holds up one thing in this process holds up all. */
export interface Lag {
  /** The longest delay within the last 15 to 30 seconds, in milliseconds. */
  longest_ms(): number;
  stop(): void;
}

const TICK_MS = 250;
const SPAN_MS = 15_000;

/** Watches from now on. The span is longer than the time between scrapes, and several scrapers see the same. */
export function watchLag(): Lag {
  let due_at = performance.now() + TICK_MS;
  let span_ends_at = performance.now() + SPAN_MS;
  let present = 0;
  let before = 0;
  const ticker = setInterval(() => {
    const now = performance.now();
    present = Math.max(present, now - due_at);
    due_at = now + TICK_MS;
    if (now < span_ends_at) return;
    span_ends_at = now + SPAN_MS;
    before = present;
    present = 0;
  }, TICK_MS);
  // It must not keep a process alive.
  Deno.unrefTimer(ticker);
  return {
    longest_ms: () => Math.max(before, present, performance.now() - due_at),
    stop: () => clearInterval(ticker),
  };
}
