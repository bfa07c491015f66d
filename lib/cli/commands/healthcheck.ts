import { AppError } from "../../core/errors.ts";
import { isObject } from "../../core/json.ts";
import { command } from "../command.ts";
import { API_OPTIONS, placeOfDaemon } from "../daemon_api/client.ts";
import { type Answer, readJson, send } from "../daemon_api/request.ts";
import { printable } from "../terminal.ts";

/** The daemon asks its database for up to 4 seconds before it answers. */
const PATIENCE_MS = 5_000;

export const healthcheck = command({
  name: "healthcheck",
  summary: "Exits with 0 if the daemon is ready, for containers without curl",
  about: `Asks GET /readyz of the daemon and waits 5 seconds at most. Exits with 1 and prints the
failing checks if it is not ready, does not answer or is stopping. Needs no token.`,
  options: { config: API_OPTIONS.config, url: API_OPTIONS.url },
  examples: [
    ["bookme-webhooks healthcheck --config /etc/bookme-webhooks/config.yaml", "In a container"],
    ["bookme-webhooks healthcheck --url http://127.0.0.1:8080", "Without the configuration"],
  ],
  async run({ io, values }) {
    const { url, cert } = placeOfDaemon(io, values);
    const answer = await send(`${url}/readyz`, { patience_ms: PATIENCE_MS, cert });
    if (answer.status === 200) {
      io.out(`${url} is ready`);
      return 0;
    }
    for (const [check, cause] of failingChecks(answer, url)) {
      io.err(printable(`${check}: ${cause}`));
    }
    return 1;
  },
});

/** Throws an `AppError` if the answer is not a daemon's. */
function failingChecks({ status, body }: Answer, url: string): [check: string, cause: unknown][] {
  const read = status === 503 ? readJson(body) : undefined;
  const checks = isObject(read) && isObject(read["checks"]) ? read["checks"] : undefined;
  if (checks !== undefined) return Object.entries(checks).filter(([, cause]) => cause !== "ok");
  throw new AppError(
    "unavailable",
    `${url}/readyz answered ${status} without any checks; is it a bookme-webhooks daemon?`,
  );
}
