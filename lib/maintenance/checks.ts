import { type Examination, judgeCheck } from "../core/examination.ts";
import type { Endpoint, Fleet } from "../delivery/fleet.ts";
import { storeCheck, takeChecks } from "../store/checks.ts";
import type { Job } from "./schedule.ts";

/** Receivers that are looked at together: each takes ten seconds at most. */
const AT_ONCE = 8;
/** Most of these groups in one run. */
const MAX_GROUPS = 50;

/**
 * Looks at each endpoint's receiver once an hour: DNS, addresses, TLS, and the days that its certificate is still
 * good for. Sends no request.
 */
export function receiverChecks(
  fleet: () => Pick<Fleet, "endpoints">,
  examine: (target: Endpoint["target"]) => Promise<Examination>,
): Job {
  return {
    name: "receiver checks",
    pattern: "25 * * * * *",
    async run({ db, clock }, stopping) {
      const look = async (no: number) => {
        const endpoint = fleet().endpoints.get(no);
        if (endpoint === undefined) return;
        await storeCheck(db.admin, no, judgeCheck(await examine(endpoint.target), clock.now()));
      };
      let checked = 0;
      for (let group = 0; group < MAX_GROUPS && !stopping.aborted; group++) {
        const nos = await takeChecks(db.admin, AT_ONCE);
        await Promise.all(nos.map(look));
        checked += nos.length;
        if (nos.length < AT_ONCE) break;
      }
      return checked;
    },
  };
}
