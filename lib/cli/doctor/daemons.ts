import type { Daemon } from "../../admin/shown.ts";
import { listed } from "../../core/errors.ts";
import { addressOf } from "../commands/daemons.ts";
import type { Api } from "../daemon_api/client.ts";
import { good, odd, type Verdict } from "./verdict.ts";

const MAX_DAEMONS = 1_000;

/** Whether the daemons on the database have the same file and the same version. */
export async function checkDaemons(api: Api): Promise<Verdict[]> {
  return judgeDaemons((await api.list<Daemon>("daemons", {}, MAX_DAEMONS)).data);
}

/** The verdicts on these daemons. Pure. */
export function judgeDaemons(daemons: readonly Daemon[]): Verdict[] {
  const subject = "daemons";
  const holder = daemons.find(({ in_force }) => in_force);
  const apart = daemons.filter(({ in_force }) => !in_force);
  const versions = [...new Set(daemons.map(({ version }) => version))].sort();
  const verdicts = apart.map((daemon) =>
    odd(
      subject,
      `${nameOf(daemon)} has another configuration file than the one in force: ` +
        listed(daemon.differences),
      holder === undefined
        ? "the daemon with the file in force is gone; unless it comes back, another file comes in " +
          "force within a minute"
        : `give it the file of ${
          nameOf(holder)
        } and restart it, or reload it to put its own in force`,
    )
  );
  if (versions.length > 1) {
    const text = `versions ${versions.join(", ")} run together`;
    verdicts.push(odd(subject, text, "upgrade the older ones"));
  }
  if (verdicts.length > 0) return verdicts;
  const text = daemons.length === 1
    ? "one on the database, with the configuration file in force"
    : `${daemons.length} on the database, all with the same configuration file`;
  return [good(subject, text)];
}

function nameOf(daemon: Daemon): string {
  return `${daemon.id} (${addressOf(daemon)})`;
}
