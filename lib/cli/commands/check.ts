import { resolve } from "node:path";
import type { Reloaded } from "../../admin/shown.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError, formatMistake } from "../../config/error.ts";
import { digestOfFile, loadConfig } from "../../config/load.ts";
import { hostPort } from "../../core/address.ts";
import { describeAddress } from "../../core/database_address.ts";
import { EVENT_TYPES } from "../../core/event_types.ts";
import { expiryOf } from "../../core/examination.ts";
import { showTls } from "../../core/tls_settings.ts";
import { command } from "../command.ts";
import { API_OPTIONS, type ApiValues, openApi } from "../daemon_api/client.ts";
import { type Io, printable } from "../terminal.ts";
import { askReload, changeLines } from "./reload.ts";

export const check = command({
  name: "check",
  summary: "Reports every mistake in the configuration; changes nothing",
  about: `Reads the configuration and the files it names (secrets, schemas, certificates), and
prints each mistake with its line and column. Exits with 2 if there is one. With --diff, also asks
the running daemon what a reload would change, and how many pending deliveries that would cancel.`,
  options: {
    diff: { type: "boolean", about: "Print what a reload of the running daemon would change" },
    json: { type: "boolean", about: "Print mistakes and changes as JSON" },
    ...API_OPTIONS,
    config: { ...API_OPTIONS.config, about: "Configuration file" },
  },
  examples: [
    ["bookme-webhooks check", "Check config.yaml in this directory"],
    ["bookme-webhooks check --diff", "What would a reload change, and what would it cancel?"],
    ["bookme-webhooks check -c new.yaml && mv new.yaml config.yaml", "Check before replacing"],
  ],
  async run({ io, values }) {
    const { config: path, json } = values;
    let config: Config;
    try {
      config = loadConfig(path, io.env);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { mistakes } = error;
      if (json) io.out(JSON.stringify({ path, valid: false, mistakes }, null, 2));
      else for (const mistake of mistakes) io.err(formatMistake(error.file, mistake));
      return 2;
    }
    if (values.diff) return await showDiff(io, values, json);
    if (json) io.out(JSON.stringify({ path, valid: true, mistakes: [] }, null, 2));
    else for (const line of summary(path, config)) io.out(line);
    return 0;
  },
});

async function showDiff(io: Io, values: ApiValues, json: boolean): Promise<number> {
  const path = values.config;
  const planned = await askReload(io, await openApi(io, values, { may_be_newer: true }), true);
  if (planned === undefined) return 2;
  const warning = otherFile(path, planned);
  if (json) io.out(JSON.stringify({ path, valid: true, mistakes: [], diff: planned }, null, 2));
  else {
    io.out(
      `${path} is valid. A reload of the daemon, which reads ${printable(planned.file.path)}:`,
    );
    for (const line of changeLines(io, planned)) io.out(line);
  }
  if (warning !== undefined) io.err(warning);
  return 0;
}

/** A warning if the daemon reads a file with other bytes, or undefined. */
function otherFile(path: string, { file }: Reloaded): string | undefined {
  if (digestOfFile(path) === file.sha256) return undefined;
  return resolve(path) === file.path
    ? `The daemon reads another ${path}: on another machine, or it has just changed`
    : `The daemon reads another file, ${printable(file.path)}, whose content differs from ` +
      `${path}: the changes are those of the daemon's file`;
}

function noteExpiry(cert: string | undefined, whose: string): string {
  const shown = showTls({ cert });
  if (shown === null || shown.cert === null) return "";
  return `  (${whose} ${expiryOf(Date.parse(shown.cert.valid_to), Date.now())})`;
}

function summary(path: string, config: Config): string[] {
  const { database, ingest, admin, endpoints, event_types, environment } = config;
  const { listen: { host, port }, tls } = config.server;
  const ranges = config.ip_ranges[environment].map((cidr) => cidr.text);
  const rows: [string, string][] = [
    ["environment", environment],
    [
      "listens on",
      `${hostPort(host, port)}${
        tls === null ? "" : `, with TLS${noteExpiry(tls.cert, "certificate")}`
      }`,
    ],
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
    ...endpoints.map(({ id, url, events, unsigned, tls }) =>
      // Only the host: a path or query may hold what lets one in.
      `    ${id.padEnd(width)}  ${new URL(url).host}  ${events.join(" ")}` +
      (unsigned ? "  (unsigned)" : "") + noteExpiry(tls?.cert, "client certificate")
    ),
  ];
}
