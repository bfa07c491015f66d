import type { Examination } from "../core/examination.ts";
import type { SealKey } from "../core/seal.ts";
import type { Dispatcher } from "../delivery/dispatcher.ts";
import type { Endpoint, Fleet } from "../delivery/fleet.ts";
import type { Database } from "../store/database.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { alerts, oldAlerts } from "./alerts.ts";
import { failingEndpointsPaused, probedEndpoints, probes } from "./auto_pause.ts";
import { receiverChecks } from "./checks.ts";
import { oldChanges } from "./changes.ts";
import { checkpoints } from "./checkpoints.ts";
import { deselectedDeliveries } from "./deselected.ts";
import { exhaustedDeliveries } from "./exhausted.ts";
import { expiredDeliveries } from "./expired.ts";
import { expiredLeases, type Floors } from "./leases.ts";
import {
  oldAttempts,
  oldEvents,
  oldKeys,
  oldPayloads,
  oldStatistics,
  oldSubjects,
  oldWeeks,
  weeksAhead,
} from "./retention.ts";
import { retiredEndpoints } from "./retired.ts";
import { rollups } from "./rollups.ts";
import type { Job } from "./schedule.ts";
import { oldSessions } from "./sessions.ts";
import { expiredSecrets } from "./sealed_secrets.ts";
import { deadRows } from "./vacuum.ts";

/** The jobs that cancel what endpoints are not owed any more. */
export function unowedJobs(): Job[] {
  return [retiredEndpoints, deselectedDeliveries()];
}

/** The engine, as far as jobs reach it. */
interface Working extends Pick<Dispatcher, "interrupted" | "probe"> {
  /** Of the file in force, which may be another daemon's. */
  readonly policy: () => FilePolicy;
  /** Numbers of the endpoints that this daemon cannot send to. */
  readonly unsendable: () => readonly number[];
  readonly fleet: () => Pick<Fleet, "endpoints" | "match" | "policy">;
  /** Looks at where deliveries to a target go. */
  readonly examine: (target: Endpoint["target"]) => Promise<Examination>;
  /** There are notices of alerts to be sent. */
  readonly announced: () => void;
}

/**
 * Every other job of a daemon. Their patterns differ in the second, so that few run at once. `seal_keys` open
 * the secrets of endpoints made through the API.
 */
export function maintenanceJobs(
  { kind }: Pick<Database, "kind">,
  { interrupted, probe, policy, unsendable, fleet, examine, announced }: Working,
  seal_keys: readonly SealKey[],
): Job[] {
  const floors: Floors = { present: [] };
  return [
    expiredLeases(interrupted, floors),
    exhaustedDeliveries(policy, floors),
    expiredDeliveries(policy, unsendable),
    rollups,
    failingEndpointsPaused(policy),
    probes({ probe }),
    probedEndpoints,
    expiredSecrets(seal_keys),
    weeksAhead,
    oldWeeks(policy),
    oldAttempts(policy),
    oldPayloads(policy),
    oldEvents(policy),
    oldKeys(policy),
    oldSubjects(policy),
    oldStatistics,
    oldChanges,
    oldSessions,
    receiverChecks(fleet, examine),
    alerts(fleet, announced),
    oldAlerts,
    ...(kind === "embedded" ? [...deadRows, checkpoints] : []),
  ];
}
