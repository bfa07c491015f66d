import type { Config } from "./config/config.ts";
import { requestFailure } from "./core/alerting/undelivered.ts";
import { messageOf } from "./core/errors.ts";
import { USER_AGENT } from "./core/version.ts";
import type { HttpClient } from "./http/client.ts";
import { makeTarget } from "./http/flight.ts";
import type { Log } from "./observe/log.ts";

/** A GET from time to time while all is well, so that its absence is noticed where this program is not. */
export interface Heartbeat {
  stop(): void;
}

const TICK_MS = 1_000;
const TIMEOUT_MS = 10_000;

/**
 * Asks `alerts.heartbeat.url` as often as the configuration says. `illness` is asked before each: the reason why this
 * program is not well, or undefined.
 */
export function startHeartbeat(
  config: () => Pick<Config, "alerts">,
  client: Pick<HttpClient, "post">,
  illness: () => Promise<string | undefined>,
  log: Log,
): Heartbeat {
  let last = { url: "", at: -Infinity };
  let beating = false;
  let stopped = false;
  /** Complaints with their causes since the last that arrived: each is logged once. */
  const said = new Set<string>();
  const ticker = setInterval(tick, TICK_MS);
  tick();

  function tick(): void {
    const { heartbeat } = config().alerts;
    if (heartbeat === null || beating) return;
    const [url, at] = [heartbeat.url.reveal(), performance.now()];
    // A new URL is asked at once: whoever made it waits for the first.
    if (url === last.url && at - last.at < heartbeat.every_ms) return;
    last = { url, at };
    beating = true;
    void beat(url).finally(() => beating = false);
  }

  async function beat(url: string): Promise<void> {
    const ill = await illness().catch(messageOf);
    if (ill !== undefined) return complain("No heartbeat is sent: this daemon is not well", ill);
    const target = { ...makeTarget(url), method: "GET" as const };
    const exchange = await client.post(target, {
      headers: `User-Agent: ${USER_AGENT}\r\n`,
      body: "",
      timeout_ms: TIMEOUT_MS,
    });
    if (exchange.answered && exchange.status >= 200 && exchange.status < 300) return rejoice();
    const { host } = target.url;
    const cause = exchange.answered
      ? `${host} answered ${exchange.status}`
      : requestFailure(host, exchange).cause;
    complain("A heartbeat did not arrive", cause);
  }

  function complain(what: string, cause: string): void {
    const complaint = `${what}: ${cause}`;
    // A stop ends the one under way, and that is no fault.
    if (said.has(complaint) || stopped) return;
    said.add(complaint);
    log.warn(what, { cause });
  }

  function rejoice(): void {
    if (said.size > 0) log.info("Heartbeats arrive again");
    said.clear();
  }

  return {
    stop() {
      stopped = true;
      clearInterval(ticker);
    },
  };
}
