import type { Stats } from "../../admin/shown.ts";
import { refusalRemedy, summariseRefusals } from "../../core/refusals.ts";
import type { Api } from "../daemon_api/client.ts";
import { good, odd, type Verdict } from "./verdict.ts";

/** Whether posts of the last hour were refused, and why most of them were. */
export async function checkRefused(api: Api): Promise<Verdict> {
  const subject = "ingest";
  const { refused } = await api.get<Stats>("stats", { window: "1h" });
  const text = summariseRefusals(refused, "the last hour");
  const [most] = refused.toSorted((a, b) => b.posts - a.posts);
  return text === undefined || most === undefined
    ? good(subject, "no post was refused in the last hour")
    : odd(subject, text, refusalRemedy(most.refusal));
}
