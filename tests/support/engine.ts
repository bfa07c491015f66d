import { loadConfig } from "../../lib/config/load.ts";
import type { Offer } from "../../lib/delivery/batch.ts";
import { type Context, makeClock } from "../../lib/delivery/context.ts";
import { type Dispatcher, makeDispatcher } from "../../lib/delivery/dispatcher.ts";
import { type Fleet, makeFleet } from "../../lib/delivery/fleet.ts";
import { type Intake, makeIntake } from "../../lib/delivery/intake.ts";
import { type HttpClient, makeHttpClient } from "../../lib/http/client.ts";
import { makeInForce } from "../../lib/in_force.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { makeSignals, type SignalValues } from "../../lib/observe/signals.ts";
import type { Database } from "../../lib/store/database.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { type LogLine, type Sections, writeConfig } from "./daemon.ts";
import { putInForce } from "./file.ts";
import { sampleOf } from "./samples.ts";

/** The engine of a daemon on an open database, without HTTP in and without maintenance. */
export interface Engine extends AsyncDisposable {
  readonly ctx: Context;
  readonly client: HttpClient;
  readonly fleet: Fleet;
  readonly dispatcher: Dispatcher;
  readonly intake: Intake;
  readonly log: readonly LogLine[];
  /** Every signal so far, `[name, value]`. */
  readonly signals: readonly (readonly [keyof SignalValues, unknown])[];
  /** Reads the endpoints again. */
  reload(): Promise<void>;
}

/** Starts the engine for the endpoints of these sections. */
export async function startEngine(db: Database, sections: Sections): Promise<Engine> {
  const { path, remove } = writeConfig(sections);
  const config = loadConfig(path, (name) => Deno.env.get(name));
  remove();
  const shared = await putInForce(db, config);
  const { rules } = makeInForce(config, [], { address: "127.0.0.1", port: 0 });
  const lines: LogLine[] = [];
  const seen: [keyof SignalValues, unknown][] = [];
  const signals = makeSignals();
  for (const name of Object.keys(signals) as (keyof SignalValues)[]) {
    signals[name].on((value: unknown) => seen.push([name, value]));
  }
  const ctx: Context = {
    config: () => config,
    shared: () => shared,
    db,
    log: makeLog((line) => lines.push(JSON.parse(line)), "json"),
    signals,
    clock: makeClock(),
    random: Math.random,
    holder: 1,
  };
  const client = makeHttpClient({ rules: () => rules });
  const read = async () => makeFleet(await loadFleet(db.admin), config, shared);
  const fleet = await read();
  const reload = async () => dispatcher.setFleet(await read());
  const dispatcher = makeDispatcher(ctx, client, fleet, () => void reload());
  const intake = makeIntake(ctx, dispatcher, reload);
  return {
    ctx,
    client,
    fleet,
    dispatcher,
    intake,
    log: lines,
    signals: seen,
    reload,
    async [Symbol.asyncDispose]() {
      await dispatcher.stop(10_000);
      client.close();
    },
  };
}

/** An event to offer to an intake. */
export function offer(key: string | null = null): Offer {
  const payload = sampleOf("booking.created");
  return {
    event: {
      payload,
      type: "booking.created",
      business: null,
      subject: "apt_1",
      subject_key: "appointment:apt_1",
      confirmation: null,
    },
    key,
  };
}
