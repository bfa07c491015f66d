import type { Config } from "../../config/config.ts";
import { ConfigError, formatMistake } from "../../config/error.ts";
import { loadConfig } from "../../config/load.ts";
import { hostPort } from "../../core/address.ts";
import { describeAddress } from "../../core/database_address.ts";
import { EVENT_TYPES } from "../../core/event_types.ts";
import { command, CONFIG } from "../command.ts";

export const check = command({
  name: "check",
  summary: "Reports every mistake in the configuration; changes nothing",
  about: `Reads the configuration and the files it names (secrets, schemas, certificates), and
prints each mistake with its line and column. Exits with 2 if there is one.`,
  options: { config: CONFIG },
  examples: [
    ["bookme-webhooks check", "Check config.yaml in this directory"],
    ["bookme-webhooks check -c new.yaml && mv new.yaml config.yaml", "Check before replacing"],
  ],
  run({ io, values }) {
    try {
      for (const line of summary(values.config, loadConfig(values.config, io.env))) io.out(line);
      return Promise.resolve(0);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const mistake of error.mistakes) io.err(formatMistake(error.file, mistake));
      return Promise.resolve(2);
    }
  },
});

function summary(path: string, config: Config): string[] {
  const { database, ingest, admin, endpoints, event_types, environment } = config;
  const { host, port } = config.server.listen;
  const ranges = config.ip_ranges[environment].map((cidr) => cidr.text);
  const rows: [string, string][] = [
    ["environment", environment],
    ["listens on", hostPort(host, port)],
    [
      "database",
      database.kind === "embedded"
        ? `embedded, in ${database.directory}`
        : `PostgreSQL server ${describeAddress(database.address)}`,
    ],
    [
      "events from",
      [...ranges, ...(environment === "development" ? ["loopback"] : [])].join(", ") +
      (ingest.secrets.length === 0 ? ", not signed" : ", signed"),
    ],
    [
      "admin tokens",
      admin.tokens.map(({ name, role }) => `${name} (${role})`).join(", ") ||
      (database.kind === "embedded"
        ? "none; one is made at the first start, in the database's directory"
        : "none: nobody can use the admin API"),
    ],
    ["event types", String(EVENT_TYPES.length + event_types.length)],
    ["endpoints", `${endpoints.length}`],
  ];
  const width = Math.max(0, ...endpoints.map(({ id }) => id.length));
  return [
    `${path} is valid`,
    ...rows.map(([name, value]) => `  ${name.padEnd(14)}${value}`),
    ...endpoints.map(({ id, url, events, unsigned }) =>
      // Only the host: a path or query may hold what lets one in.
      `    ${id.padEnd(width)}  ${new URL(url).host}  ${events.join(" ")}` +
      (unsigned ? "  (unsigned)" : "")
    ),
  ];
}
