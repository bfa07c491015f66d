import { type FailureFacts, findHints, type SuccessFacts } from "../core/hints.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import type { DeliveryRow } from "../store/reports/deliveries.ts";
import {
  type AcceptedAttempt,
  changesOf,
  type EndpointAt,
  type FailedAttempt,
  type FailuresAlike,
  failuresSince,
  firstFailures,
  lastAccepted,
} from "../store/reports/causes.ts";
import { endpointRuns } from "../store/reports/stats.ts";
import type { AdminContext, Asker } from "./context.ts";
import type * as shown from "./shown.ts";

/** The first failure of something, which hints are wanted for, and the endpoint. */
interface Failed<Key> {
  readonly key: Key;
  readonly endpoint_no: number;
  /** Endpoint id. */
  readonly endpoint: string;
  readonly failure: FailedAttempt;
  readonly is_own: boolean;
}

/** What changed before each of these endpoints began to fail, by its number. None for one that does not. */
export async function endpointHints(
  ctx: AdminContext,
  by: Asker,
  endpoints: readonly Pick<StoredEndpoint, "no" | "id">[],
): Promise<ReadonlyMap<number, shown.Hint[]>> {
  const failures = latestKind(await presentFailures(ctx, by, endpoints.map(({ no }) => no)));
  const failed = endpoints.flatMap(({ no, id }) => {
    const failure = failures.get(no);
    return failure === undefined
      ? []
      : [{ key: no, endpoint_no: no, endpoint: id, failure, is_own: false }];
  });
  return await hintsOf(ctx, by, failed);
}

/** What changed before the first failed attempt of each of these deliveries, by UUID. None for delivered ones. */
export async function deliveryHints(
  ctx: AdminContext,
  by: Asker,
  deliveries: readonly Pick<DeliveryRow, "uuid" | "endpoint_no" | "endpoint" | "last_outcome">[],
): Promise<ReadonlyMap<string, shown.Hint[]>> {
  const unhappy = deliveries.filter(({ last_outcome }) =>
    last_outcome !== null && last_outcome !== "delivered"
  );
  if (unhappy.length === 0) return new Map();
  const [own, present] = await Promise.all([
    firstFailures(ctx.db.admin, by.scope, unhappy.map(({ uuid }) => uuid)),
    presentFailures(ctx, by, [...new Set(unhappy.map(({ endpoint_no }) => endpoint_no))]),
  ]);
  const failed = unhappy.flatMap(({ uuid, endpoint_no, endpoint }) => {
    const first = own.find(({ delivery_uuid }) => delivery_uuid === uuid);
    if (first === undefined) return [];
    // If its endpoint has been failing like that since before, that is what began.
    const alike = present.find((one) =>
      one.endpoint_no === endpoint_no && one.outcome === first.outcome &&
      one.status === first.status && one.ended_at <= first.ended_at
    );
    const failure = alike ?? first;
    return [{ key: uuid, endpoint_no, endpoint, failure, is_own: alike === undefined }];
  });
  return await hintsOf(ctx, by, failed);
}

/** How these endpoints have been failing since their last successes. */
async function presentFailures(
  ctx: AdminContext,
  { scope }: Asker,
  endpoint_nos: readonly number[],
): Promise<FailuresAlike[]> {
  const runs = await endpointRuns(ctx.db.admin, endpoint_nos);
  const failing = runs.flatMap(({ endpoint_no, failing_since: at }): EndpointAt[] =>
    at === null ? [] : [{ endpoint_no, at }]
  );
  return failing.length === 0 ? [] : await failuresSince(ctx.db.admin, scope, failing);
}

/** Of each endpoint the kind of failure that it met last: an earlier one may be over. */
function latestKind(failures: readonly FailuresAlike[]): ReadonlyMap<number, FailuresAlike> {
  const byTime = failures.toSorted((a, b) => a.last_at.getTime() - b.last_at.getTime());
  return new Map(byTime.map((one) => [one.endpoint_no, one]));
}

async function hintsOf<Key>(
  ctx: AdminContext,
  { scope }: Asker,
  failed: readonly Failed<Key>[],
): Promise<ReadonlyMap<Key, shown.Hint[]>> {
  if (failed.length === 0) return new Map();
  const sql = ctx.db.admin;
  const ids = [...new Set(failed.map(({ endpoint }) => endpoint))];
  const [changes, accepted] = await Promise.all([
    changesOf(sql, scope, ids),
    Promise.all(
      failed.map(({ endpoint_no, failure }) =>
        lastAccepted(sql, scope, { endpoint_no, at: failure.started_at })
      ),
    ),
  ]);
  const { timeout_ms } = ctx.policy();
  return new Map(failed.map(({ key, endpoint, failure, is_own }, nth) => {
    const success = successOf(accepted[nth] ?? []);
    const hints = success === undefined ? [] : findHints({
      failure: failureOf(failure, is_own),
      success,
      changes: changes.filter(({ object }) => object === endpoint)
        .map((change) => ({ ...change, at: change.at.getTime() })),
      timeout_ms,
    });
    return [key, hints.map((hint) => ({ ...hint, at: new Date(hint.at).toISOString() }))];
  }));
}

function failureOf(failed: FailedAttempt, is_own: boolean): FailureFacts {
  const { started_at, ended_at, certificate_ends_at, outcome, status, address } = failed;
  return {
    ...{ outcome, status, address, is_own },
    started_at: started_at.getTime(),
    ended_at: ended_at.getTime(),
    certificate_ends_at: certificate_ends_at?.getTime() ?? null,
  };
}

/** The last attempts that were accepted, as far as hints need them; undefined without any. */
function successOf(accepted: readonly AcceptedAttempt[]): SuccessFacts | undefined {
  const [last] = accepted;
  if (last === undefined) return undefined;
  const ends = accepted.find(({ certificate_ends_at }) => certificate_ends_at !== null);
  return {
    started_at: last.started_at.getTime(),
    version_since: last.version_since.getTime(),
    addresses: accepted.flatMap(({ address }) => address ?? []),
    certificate_ends_at: ends?.certificate_ends_at?.getTime() ?? null,
  };
}
