import type { Endpoint, EndpointCheck } from "../../admin/shown.ts";
import { addressRules, type Config, type EndpointConfig } from "../../config/config.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { type Finding, judgeExamination } from "../../core/examination.ts";
import { examineTarget } from "../../http/examine.ts";
import { makeTarget } from "../../http/flight.ts";
import { type Api, pathPart } from "../daemon_api/client.ts";
import type { Known } from "./configuration.ts";
import { bad, odd, type Verdict } from "./verdict.ts";

/** Examinations at once: each takes 10 seconds at most. */
const AT_ONCE = 32;

/** The verdicts on each endpoint, in order: as the daemon sees it, or from here if none runs. */
export async function* checkEndpoints(
  { config, isSound }: Known,
  api: Api | undefined,
  in_force: readonly Endpoint[],
): AsyncGenerator<Verdict> {
  const file = config?.endpoints ?? [];
  if (file.length + in_force.length === 0 && isSound("endpoints")) {
    yield odd("endpoints", "there are none", "add one to endpoints, or make one through the API");
    return;
  }
  const fromHere = config === undefined ? undefined : examinerOf(config);
  if (api === undefined) {
    if (fromHere !== undefined) yield* inTurn(file, fromHere);
    return;
  }
  let refused: string | undefined;
  const byDaemon = async ({ id }: Endpoint): Promise<Verdict[]> => {
    try {
      const { findings } = await api.post<EndpointCheck>(`endpoints/${pathPart(id)}/check`);
      return label(id, findings);
    } catch (error) {
      if (!(error instanceof AppError) || error.code === "unavailable") throw error;
      refused ??= messageOf(error);
      const local = file.find((endpoint) => endpoint.id === id);
      return local === undefined || fromHere === undefined ? [] : await fromHere(local);
    }
  };
  yield* inTurn(in_force, byDaemon);
  if (refused !== undefined) {
    yield odd(
      "endpoints",
      `the daemon did not examine all of them: ${refused}`,
      "name an admin's token with --token; the file's were examined from here",
    );
  }
}

/** The deliveries that will soon be cancelled because nobody sends them. */
export function checkExpiring(in_force: readonly Endpoint[]): Verdict[] {
  return in_force.flatMap(({ id, expires, paused }) => {
    if (expires === null) return [];
    const more = expires.deliveries_exact ? "" : " or more";
    const text = `${expires.deliveries}${more} waiting deliveries will be cancelled from ` +
      `${expires.first_at} on: they have waited for as long as retention.events`;
    const remedy = paused
      ? `send them with \`bookme-webhooks resume ${id}\`, or cancel them`
      : "give the daemons what they need to send to it (see its line), or cancel them";
    return [odd(`endpoint ${id}`, text, remedy)];
  });
}

/**
 * The endpoints of `alerts.to` that alerts do not reach. `check` cannot find the unknown ones: the API may have made
 * them.
 */
export function checkAlerted(to: readonly string[], in_force: readonly Endpoint[]): Verdict[] {
  const known = new Map(in_force.map((one) => [one.id, one]));
  return to.flatMap((id) => {
    const found = known.get(id);
    if (found === undefined) {
      const text = `there is no endpoint ${id}, so it gets no alerts`;
      return [bad("alerts.to", text, "correct the id and reload, or make that endpoint")];
    }
    if (!found.paused) return [];
    const text = `the endpoint ${id} is paused, so alerts wait`;
    return [odd("alerts.to", text, `\`bookme-webhooks resume ${id}\` sends them`)];
  });
}

/** Whether the file's endpoints are those that the daemon has. */
export function checkInForce(config: Config, in_force: readonly Endpoint[]): Verdict[] {
  const known = new Map(
    in_force.filter(({ source }) => source === "file").map((one) => [one.id, one]),
  );
  const added = config.endpoints.filter(({ id }) => !known.has(id)).map(({ id }) => id);
  const changed = config.endpoints
    .filter(({ id, url }) => known.has(id) && known.get(id)?.url !== url).map(({ id }) => id);
  const named = new Set(config.endpoints.map(({ id }) => id));
  const gone = [...known.keys()].filter((id) => !named.has(id));
  const parts = [
    ...added.length > 0 ? [`it lacks ${added.join(", ")}`] : [],
    ...changed.length > 0 ? [`it has another url for ${changed.join(", ")}`] : [],
    ...gone.length > 0 ? [`it still has ${gone.join(", ")}`] : [],
  ];
  if (parts.length === 0) return [];
  const text = `the daemon has other endpoints than the file: ${parts.join("; ")}`;
  return [
    odd(
      "endpoints",
      text,
      "`bookme-webhooks reload` puts the file in force; `check --diff` shows first what it changes",
    ),
  ];
}

function examinerOf(config: Config): (endpoint: EndpointConfig) => Promise<Verdict[]> {
  const { source_address } = config.delivery;
  const options = {
    rules: () => addressRules(config),
    ...(source_address === null ? {} : { source_address }),
  };
  return async ({ id, url, tls }) => {
    const texts = { ...tls, key: tls?.key?.reveal() };
    const found = await examineTarget(makeTarget(url, texts), options);
    return label(id, judgeExamination(found, Date.now()));
  };
}

function label(id: string, findings: readonly Finding[]): Verdict[] {
  return findings.map((finding) => ({ subject: `endpoint ${id}`, ...finding }));
}

/** The results of `work` on each of `all`, in their order, some at once. */
async function* inTurn<T>(
  all: readonly T[],
  work: (one: T) => Promise<readonly Verdict[]>,
): AsyncGenerator<Verdict> {
  const begun: Promise<readonly Verdict[]>[] = [];
  for (const at of all.keys()) {
    while (begun.length < Math.min(all.length, at + AT_ONCE)) {
      const next = work(all[begun.length] as T);
      next.catch(() => {}); // heard when its turn comes
      begun.push(next);
    }
    yield* await (begun[at] ?? []);
  }
}
