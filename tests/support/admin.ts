import type { AdminContext, Asker } from "../../lib/admin/context.ts";
import { makePace } from "../../lib/admin/pace.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { makeInForce } from "../../lib/in_force.ts";
import { makeStreams } from "../../lib/admin/stream.ts";
import { AppError } from "../../lib/core/errors.ts";
import { deliveryUuid, eventId, makeEventIds } from "../../lib/core/ids.ts";
import { PORTAL_ACTOR, type Scope } from "../../lib/core/scope.ts";
import { parseSealKey } from "../../lib/core/seal.ts";
import { makeFleet } from "../../lib/delivery/fleet.ts";
import { random32 } from "../../lib/delivery/context.ts";
import type { Accepted, Offer } from "../../lib/delivery/batch.ts";
import type { Database } from "../../lib/store/database.ts";
import { cancelDeselected, cancelRetired } from "../../lib/store/deliveries.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { ENCRYPTION_KEY } from "./checked.ts";
import { type Sections, writeConfig } from "./daemon.ts";
import { putInForce } from "./file.ts";

/** An administrator of that name, or a portal link of a business. */
export function asker(name: string, scope: Scope): Asker {
  const actor = scope === "everything" ? name : PORTAL_ACTOR + name;
  return { actor: { name: actor, address: null }, scope, payloads: true };
}

/** Administers a database without a daemon: what is accepted is stored, and nothing is sent. */
export async function administer(db: Database, sections: Sections): Promise<AdminContext> {
  const { path, remove } = writeConfig({ encryption_key: ENCRYPTION_KEY, ...sections });
  const config = loadConfig(path, (name) => Deno.env.get(name));
  remove();
  const shared = await putInForce(db, config);
  const in_force = makeInForce(config, [], { address: "127.0.0.1", port: 0 });
  const keys = config.encryption_keys.map((key) => parseSealKey(key.reveal()));
  const read = async () => makeFleet(await loadFleet(db.admin), config, shared, keys);
  let fleet = await read();
  const ids = makeEventIds(() => random32(Math.random));
  const newUuid = () => ids.next(Date.now());

  async function accept(offers: readonly Offer[]): Promise<Accepted[]> {
    const accepted = offers.map(({ event, test_endpoint_no }) => {
      const uuid = newUuid();
      const endpoints = test_endpoint_no === undefined
        ? fleet.match(event.type, event.business)
        : [...fleet.endpoints.values()].filter(({ no }) => no === test_endpoint_no);
      const deliveries = endpoints.map(({ no }) => ({
        uuid: deliveryUuid(uuid, no),
        event_uuid: uuid,
        endpoint_no: no,
        wait_ms: 3_600_000,
        leased: false,
      }));
      const test = test_endpoint_no !== undefined;
      return { event: { ...event, uuid, test, trace: null }, deliveries };
    });
    await storeEvents(
      db,
      accepted.map(({ event }) => event),
      accepted.flatMap(({ deliveries }) => deliveries),
      fleet.revision,
      { ms: 60_000, holder: 1 },
    );
    return accepted.map(({ event: { uuid }, deliveries }) => ({
      id: eventId(uuid),
      uuid,
      deliveries: deliveries.length,
      duplicate: false,
    }));
  }

  return {
    db,
    in_force: () => in_force,
    policy: () => fleet.policy,
    seal_keys: keys,
    now: Date.now,
    newUuid,
    accept,
    endpoint: (no) => fleet.endpoints.get(no),
    holdup: () => null,
    pace: makePace(() => performance.now()),
    wake: () => {},
    endpoints_changed: async () => void (fleet = await read()),
    async cancel_unowed() {
      await cancelRetired(db.admin, 1_000);
      await cancelDeselected(db.admin, null, 1_000);
    },
    ended: () => {},
    replays_changed: () => {},
    erasures_changed: () => {},
    streams: makeStreams(db, () => {}),
    count_posts: () => Promise.resolve(),
    test_targets: () => Promise.resolve([]),
    examine: () => Promise.reject(new Error("No endpoint is examined here")),
    reload: () => Promise.reject(new AppError("unavailable", "No daemon runs")),
    plan_reload: () => Promise.reject(new AppError("unavailable", "No daemon runs")),
  };
}
