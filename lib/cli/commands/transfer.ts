import { dirname, resolve } from "node:path";
import { loadConfig } from "../../config/load.ts";
import { readDatabaseUrl } from "../../config/database.ts";
import { type DatabaseAddress, mayHavePassword } from "../../core/database_address.ts";
import { AppError } from "../../core/errors.ts";
import { command, CONFIG, readSecret, UsageError } from "../command.ts";
import { type Io, makeProgress, paletteOf } from "../terminal.ts";

export const transfer = command({
  name: "transfer",
  summary: "Moves everything from the embedded database to a PostgreSQL server",
  about:
    `Stop the daemon first. The target must be an empty database; the tables are created. If it is
interrupted, run the same command again to continue. At the end it compares every table by row count
and checksum; only then can the target be used. While a transfer is unfinished, no daemon opens the
embedded database, so that nothing is delivered from both; --abandon gives it back.`,
  options: {
    to: {
      type: "string",
      value: "env:NAME|file:PATH|URL",
      about: "The server's postgres:// URL; literal only without a password",
    },
    abandon: {
      type: "boolean",
      about: "Give the embedded database back; do not use the target then",
    },
    config: CONFIG,
  },
  examples: [
    ["bookme-webhooks transfer --to env:DATABASE_URL", "Then set database.url: env:DATABASE_URL"],
    ["bookme-webhooks transfer --to postgres:///bookme?host=…", "If no password is needed"],
  ],
  async run({ io, values }) {
    const { database, admin, encryption_keys } = loadConfig(values.config, io.env);
    if (database.kind === "server") {
      throw new UsageError(
        `${values.config} names a server already; transfer moves from an embedded database`,
      );
    }
    const { directory } = database;
    if (values.abandon) {
      if (values.to !== undefined) throw new UsageError("--abandon takes no --to");
      return await abandon(io, directory);
    }
    if (values.to === undefined) {
      throw new UsageError("--to is missing: env:NAME, file:PATH or a URL");
    }
    const address = await readTarget(io, values.to, values.config);
    const store = await import("../../store/transfer.ts");
    using progress = makeProgress(io);
    const { tables, resumed } = await store.transfer(
      directory,
      address,
      ({ phase, table, rows, total }) =>
        progress.show(`${phase} ${table}: ${rows} of ${total} rows`),
    );
    const { green } = paletteOf(io);
    if (resumed) io.out("Finished an earlier transfer");
    for (const { table, rows } of tables) io.out(`${green("✓")} ${table}: ${rows} rows`);
    io.out("\nAll of it is there, compared by number and checksum. Now change the configuration:");
    io.out(
      `  database: { url: ${
        values.to.startsWith("postgres") ? JSON.stringify(values.to) : values.to
      } }`,
    );
    if (encryption_keys.length === 0) {
      io.out(`  encryption_key: "file:${directory}/encryption.key"`);
    }
    if (admin.tokens.length === 0) {
      io.out(
        `  admin: { tokens: [{ name: admin, token: "file:${directory}/admin.token", role: admin }] }`,
      );
    }
    io.out(`and start the daemon. Keep ${directory} until you have seen it work.`);
    return 0;
  },
});

async function abandon(io: Io, directory: string): Promise<number> {
  const { abandonTransfer } = await import("../../store/transfer.ts");
  const was = await abandonTransfer(directory);
  io.out(
    was
      ? `The embedded database in ${directory} can be used again; drop the tables of the target`
      : "No transfer to abandon",
  );
  return 0;
}

/** The target's address; mistakes never show the URL, as it may hold a password. */
async function readTarget(io: Io, given: string, config: string): Promise<DatabaseAddress> {
  const is_reference = /^(env|file):|^-$/.test(given);
  const url = is_reference ? await readSecret(io, "--to", given) : given;
  const around = { directory: dirname(resolve(config)), env: io.env, production: false };
  try {
    const address = readDatabaseUrl(url, around);
    if (is_reference || !mayHavePassword(url)) return address;
  } catch (error) {
    if (error instanceof AppError) throw new UsageError(`--to: ${error.message}`);
    throw error;
  }
  throw new UsageError(
    "--to takes no URL with a password: every user of this machine can see the arguments, and the " +
      "shell keeps them in its history; name it with env:NAME or file:PATH",
  );
}
