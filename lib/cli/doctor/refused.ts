import type { Stats } from "../../admin/shown.ts";
import { refusalRemedy, summariseRefusals } from "../../core/refusals.ts";
import type { Api } from "../daemon_api/client.ts";
import type { Verdict } from "./endpoints.ts";

/** Whether posts of the last hour were refused, and why most of them were. */
export async function checkRefused(api: Api): Promise<Verdict> {
  const subject = "ingest";
  const { refused } = await api.get<Stats>("stats", { window: "1h" });
  const text = summariseRefusals(refused, "the last hour");
  const [most] = refused.toSorted((a, b) => b.posts - a.posts);
  if (text === undefined || most === undefined) {
    return { mark: "✓", subject, text: "no post was refused in the last hour" };
  }
  return { mark: "!", subject, text, remedy: refusalRemedy(most.refusal) };
}
