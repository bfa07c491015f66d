import type { Stats } from "../../admin/shown.ts";
import { summariseRefusals } from "../../core/refusals.ts";
import type { Api } from "../daemon_api/client.ts";
import { good, odd, type Verdict } from "./verdict.ts";

/** Whether posts of the last hour were refused, and why most of them were. */
export async function checkRefused(api: Api): Promise<Verdict> {
  const subject = "ingest";
  const { refused } = await api.get<Stats>("stats", { window: "1h" });
  const summary = summariseRefusals(refused, "the last hour");
  return summary === undefined
    ? good(subject, "no post was refused in the last hour")
    : odd(subject, summary.text, summary.remedy);
}
