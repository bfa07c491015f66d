import type { Streams } from "./admin/stream.ts";
import type { Disk } from "./disk.ts";
import type { Engine } from "./engine.ts";
import type { HttpClient } from "./http/client.ts";
import type { HttpServer } from "./http/server.ts";
import type { Metrics } from "./metrics.ts";
import type { Log } from "./observe/log.ts";
import type { Neighbours } from "./neighbours.ts";
import type { Database } from "./store/database.ts";
import { isSilence, within } from "./store/deadline.ts";

/** Everything that a daemon stops. */
interface Parts extends Engine {
  readonly http: HttpServer;
  readonly client: HttpClient;
  readonly db: Database;
  readonly neighbours: Neighbours;
  readonly disk: Disk;
  readonly metrics: Pick<Metrics, "stop">;
  readonly streams: Streams;
  readonly log: Log;
}

/** Added to the longest timeout for recording, then for closing: five seconds together. */
const RECORD_GRACE_MS = 3_000;
const CLOSE_GRACE_MS = 500;

/** The `stop` of a daemon, and the promise that it has stopped. */
export function makeStop(parts: Parts): {
  stop(): Promise<void>;
  readonly stopped: Promise<void>;
} {
  const done = Promise.withResolvers<void>();
  let asked = false;
  return {
    stopped: done.promise,
    stop() {
      if (asked) parts.client.close();
      else {
        asked = true;
        stop(parts).then(done.resolve, done.reject);
      }
      return done.promise;
    },
  };
}

async function stop(parts: Parts): Promise<void> {
  const { http, client, db, log, dispatcher, intake, maintenance, ...paced } = parts;
  log.info("Stopping", { in_flight: dispatcher.in_flight });
  const grace_ms = dispatcher.fleet.max_timeout_ms + RECORD_GRACE_MS;
  const ends_at = performance.now() + grace_ms;
  // At once: their readers resume at another daemon.
  const streamed = parts.streams.stop();
  parts.heartbeat.stop();
  dispatcher.quiesce();
  // Posts go on being stored, for other daemons or the next start: they are refused only between the end
  // of this process and the start of the next.
  http.retire();
  await atMost(
    grace_ms,
    Promise.all([
      streamed,
      ...[maintenance, paced.replayer, paced.eraser, paced.announcer].map((part) => part.stop()),
      dispatcher.stop(grace_ms),
    ]),
  );
  const left_ms = Math.max(ends_at - performance.now(), CLOSE_GRACE_MS);
  await http.close(atMost(left_ms, intake.settle()));
  // Posts that came last, and leases that their batches gave back.
  await atMost(CLOSE_GRACE_MS, intake.settle().then(() => dispatcher.stop(0)));
  // Statistics: without the database they are lost, and no reason to go on.
  await atMost(CLOSE_GRACE_MS, parts.posts.flush().catch(() => {}));
  client.close();
  parts.disk.stop();
  parts.metrics.stop();
  await parts.neighbours.stop();
  await db.close();
  log.info("Stopped");
}

// A database that gives no answer must not prolong the stop: its statements are left behind.
async function atMost(wait_ms: number, work: Promise<unknown>): Promise<void> {
  await within(work, wait_ms).catch((error) => {
    if (!isSilence(error)) throw error;
  });
}
