import { inWords } from "../../core/explain.ts";
import type { Endpoint } from "../../admin/shown.ts";
import { allEndpoints, type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, UsageError } from "../command.ts";
import { ANSWERS_JSON, changeEach, MAX_IDS } from "./change.ts";

export const pause = command({
  name: "pause",
  summary: "Pauses endpoints: they are still owed deliveries, which wait",
  about: `Attempts under way are finished. Exits with 1 if one of them could not be paused.`,
  positionals: { usage: "ID…", min: 1, max: MAX_IDS, completes: "endpoints" },
  options: {
    reason: { type: "string", value: "TEXT", about: "Why, for those who find it paused" },
    json: ANSWERS_JSON,
    ...API_OPTIONS,
  },
  examples: [
    ['bookme-webhooks pause crm --reason "Maintenance until noon"', "One endpoint"],
    ["bookme-webhooks endpoints --ids | xargs bookme-webhooks pause", "All of them"],
  ],
  async run({ io, values, positionals }) {
    const { reason } = values;
    const api = await openApi(io, values);
    return await changeEach(io, positionals, values.json, async (id) => {
      const before = await api.get<Endpoint>(`endpoints/${pathPart(id)}`);
      const answer = await api.post<Endpoint>(
        `endpoints/${pathPart(id)}/pause`,
        reason === undefined ? {} : { reason },
      );
      const was = before.paused ? "was paused already" : "paused";
      return { answer, text: `${was}: ${answer.pause_reason}; ${waiting(answer)}` };
    });
  },
});

export const resume = command({
  name: "resume",
  summary: "Ends the pause of endpoints, and sends what waited",
  about:
    `Prints why each was paused and how many deliveries are sent. One that answered 410 Gone pauses again
if it still does. Exits with 1 if one of them could not be resumed.`,
  positionals: { usage: "[ID…]", min: 0, max: MAX_IDS, completes: "endpoints" },
  options: {
    all: { type: "boolean", about: "Resume every endpoint that is paused" },
    json: ANSWERS_JSON,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks resume crm", "One endpoint"],
    ["bookme-webhooks resume --all", "Every paused endpoint, after an outage of your network"],
  ],
  async run({ io, values, positionals }) {
    if (values.all === (positionals.length > 0)) {
      throw new UsageError(
        values.all ? "--all takes no ID" : "ID… is missing; --all resumes every paused endpoint",
      );
    }
    const api = await openApi(io, values);
    const ids = values.all ? await pausedIds(api) : positionals;
    if (ids.length === 0 && !values.json) io.out("No endpoint is paused");
    return await changeEach(io, ids, values.json, async (id) => {
      const before = await api.get<Endpoint>(`endpoints/${pathPart(id)}`);
      const answer = await api.post<Endpoint>(`endpoints/${pathPart(id)}/resume`);
      const text = before.paused ? resumed(before, answer.unsendable_reason) : "was not paused";
      return { answer, text };
    });
  },
});

async function pausedIds(api: Api): Promise<string[]> {
  const endpoints = await allEndpoints(api);
  return endpoints.filter(({ paused }) => paused).map(({ id }) => id).toSorted();
}

function waiting({ pending, pending_exact }: Endpoint): string {
  if (pending === 0) return "no delivery waits";
  const verb = pending === 1 ? "delivery waits" : "deliveries wait";
  return `${pending_exact ? "" : "at least "}${pending} ${verb}`;
}

function resumed(before: Endpoint, unsendable_reason: string | null): string {
  const { pause_reason, paused_at, pending, pending_exact, overdue } = before;
  const paused_ms = paused_at === null ? 0 : Date.now() - Date.parse(paused_at);
  const why = `resumed; it was paused for ${inWords(paused_ms)}: ${pause_reason}`;
  if (unsendable_reason !== null) {
    return `${why}; ${waiting(before)}, because it cannot be sent to: ${unsendable_reason}`;
  }
  if (pending === 0) return `${why}; nothing waited`;
  if (overdue === 0) return `${why}; ${waiting(before)} for the next attempt`;
  const least = pending_exact ? "" : "at least ";
  const are = overdue === 1 ? "delivery is" : "deliveries are";
  const later = pending - overdue;
  const rest = later === 0
    ? ""
    : `, ${later} more ${later === 1 ? "waits" : "wait"} for the next attempt`;
  return `${why}; ${least}${overdue} ${are} sent now${rest}`;
}
