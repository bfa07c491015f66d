import { AppError, messageOf } from "../../core/errors.ts";
import type { Connector } from "./connector.ts";
import { inWords } from "./dial.ts";
import { isOutage } from "../errors.ts";
import { failure, isPermanent } from "./failure.ts";

/** How a database is opened. */
export interface OpenOptions {
  /** Called after two seconds, and then every ten, with what the opening waits for. */
  readonly waiting?: (cause: string) => void;
  /** Ends the opening, which then rejects with its reason. */
  readonly signal?: AbortSignal;
}

const FIRST_WORD_MS = 2_000;
const NEXT_WORD_MS = 10_000;
const PAUSE_MS = 200;

/**
 * What `work` resolves to, which is tried again as long as the server is away, for `timeout_ms`. A server
 * that answers may take longer. Throws an `AppError` with the reason; a reason that no waiting cures ends
 * it at once.
 */
export async function untilThere<T>(
  connector: Connector,
  timeout_ms: number,
  { waiting, signal }: OpenOptions,
  work: () => Promise<T>,
): Promise<T> {
  const place = inWords(connector.address);
  const end = Promise.withResolvers<never>();
  end.promise.catch(() => {});
  const stop = () => end.reject(signal?.reason);
  signal?.addEventListener("abort", stop);
  const cause = () =>
    connector.failure?.message ??
      (connector.is_up
        ? `${place} is there; a migration runs, or another daemon's does`
        : `${place} gives no answer yet`);
  const give_up = setTimeout(() => {
    if (!connector.is_up) end.reject(failure("CONNECT_TIMEOUT", cause()));
  }, timeout_ms);
  let speaking = setTimeout(function speak() {
    waiting?.(cause());
    speaking = setTimeout(speak, NEXT_WORD_MS);
  }, FIRST_WORD_MS);
  let pause: ReturnType<typeof setTimeout> | undefined;
  const ends_at = performance.now() + timeout_ms;
  try {
    signal?.throwIfAborted();
    for (;;) {
      try {
        return await Promise.race([work(), end.promise]);
      } catch (error) {
        if (!isOutage(error) || isPermanent(error) || performance.now() > ends_at) throw error;
      }
      const paused = new Promise((go_on) => pause = setTimeout(go_on, PAUSE_MS));
      await Promise.race([paused, end.promise]);
    }
  } catch (error) {
    if (signal?.aborted || error instanceof AppError) throw error;
    throw new AppError("unavailable", inFull(error, timeout_ms));
  } finally {
    clearTimeout(give_up);
    clearTimeout(speaking);
    clearTimeout(pause);
    signal?.removeEventListener("abort", stop);
  }
}

function inFull(error: unknown, timeout_ms: number): string {
  const cause = messageOf(error);
  if (!isOutage(error) || isPermanent(error)) return `The database cannot be used: ${cause}`;
  const time = `${timeout_ms / 1000} s`;
  return `The database does not answer within ${time}: ${cause}; check database.url or ` +
    "database.host, and that it is running";
}
