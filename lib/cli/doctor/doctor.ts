import { VERSION } from "../../core/version.ts";
import { command } from "../command.ts";
import { allEndpoints, API_OPTIONS } from "../daemon_api/client.ts";
import { checkConfiguration, checkPosture, type Known, readKnown } from "./configuration.ts";
import { checkDaemon, notStarted } from "./daemon.ts";
import { checkDaemons } from "./daemons.ts";
import { checkDatabase } from "./database.ts";
import { checkAlerted, checkEndpoints, checkExpiring, checkInForce } from "./endpoints.ts";
import { checkAddresses, checkDirectory, checkDisk } from "./machine.ts";
import { checkRefused } from "./refused.ts";
import { checkBusinesses, checkTraffic } from "./traffic.ts";
import { good, odd, printVerdict, type Verdict } from "./verdict.ts";

export const doctor = command({
  name: "doctor",
  summary: "Checks database, daemon, and each endpoint's DNS, address and TLS",
  about:
    `Runs check, then prints a line for each thing outside: ✓ good, ! worth a look, ✗ broken, with
the remedy. Goes on past mistakes in the configuration, as far as the rest of it allows. Changes
nothing, and sends nothing to an endpoint but a TLS handshake. Exits with 1 if something is broken,
with 2 if the configuration has a mistake.`,
  options: { json: { type: "boolean", about: "Print the verdicts as JSON" }, ...API_OPTIONS },
  examples: [
    ["bookme-webhooks doctor", "Before the first start, and if nothing arrives"],
    ["bookme-webhooks doctor --json | jq '.data[] | select(.mark == \"✗\")'", "Only the broken"],
  ],
  async run({ io, values }) {
    const known = readKnown(values.config, io.env);
    const { config } = known;
    const verdicts: Verdict[] = [];
    const say = (...found: readonly Verdict[]) => {
      verdicts.push(...found);
      if (!values.json) { for (const one of found) printVerdict(io, one); }
    };
    say(...checkConfiguration(known), good("version", `${VERSION}, on Deno ${Deno.version.deno}`));
    say(...checkPosture(known));
    // Before anything opens the database, which closes its directory.
    const directory = config !== undefined && known.isSound("database")
      ? checkDirectory(config)
      : [];
    const daemon = await checkDaemon(io, known, values);
    const database = await checkStore(known, daemon.has_database === true);
    say(...(daemon.absent && database.is_new ? [notStarted(values)] : daemon.verdicts));
    say(...database.verdicts, ...directory);
    if (config !== undefined && known.isSound("database")) say(checkDisk(config));
    if (config !== undefined && known.isSound("delivery", "ip_ranges")) say(checkAddresses(config));
    const in_force = daemon.api === undefined ? [] : await allEndpoints(daemon.api);
    if (daemon.api !== undefined) {
      say(...await checkDaemons(daemon.api));
      say(await checkRefused(daemon.api), await checkBusinesses(daemon.api, in_force));
      say(...await checkTraffic(daemon.api, in_force), ...checkExpiring(in_force));
      if (config !== undefined && known.mistakes.length === 0 && values.url === undefined) {
        say(...checkInForce(config, in_force), ...checkAlerted(config.alerts.to, in_force));
      }
    }
    for await (const one of checkEndpoints(known, daemon.api, in_force)) say(one);
    if (values.json) io.out(JSON.stringify({ data: verdicts, next_cursor: null }, null, 2));
    if (known.mistakes.length > 0) return 2;
    return verdicts.some(({ mark }) => mark === "✗") ? 1 : 0;
  },
});

async function checkStore(known: Known, daemon_has_it: boolean) {
  const { config } = known;
  if (config !== undefined && known.isSound("database", "encryption_key")) {
    return await checkDatabase(config, daemon_has_it);
  }
  const text = "not looked at: what the configuration says of it has mistakes";
  return { verdicts: [odd("database", text, "correct those first")], is_new: false };
}
