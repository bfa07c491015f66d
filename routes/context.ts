import type { HttpBindings } from "@hono/node-server";
import type { AdminContext, Asker } from "../lib/admin/context.ts";
import type { Log } from "../lib/observe/log.ts";
import type { Signals } from "../lib/observe/signals.ts";
import type { Tracing } from "../lib/observe/traces.ts";

/** The daemon, as far as routes reach it. */
export interface RouteContext extends AdminContext {
  readonly log: Log;
  readonly signals: Signals;
  readonly tracing?: Tracing | undefined;
  /** Whether database and dispatcher work, and what each says. */
  readonly readiness: () => Promise<Readiness>;
  /** The answer to a scrape, in Prometheus' text format. */
  readonly metrics: () => Promise<string>;
}

/** Whether events are accepted and delivered, with the state of each part. */
export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** The bearer of a token. */
export interface Bearer {
  readonly by: Asker;
  /** Why it may only read, in words; null if it may write. */
  readonly reads_only: string | null;
  /** Whether the token still allows the same. */
  readonly isGood: () => Promise<boolean>;
}

/** hono's environment: the sockets of node:http, and who asks. */
export interface Env {
  Bindings: HttpBindings;
  Variables: { bearer: Bearer };
}
