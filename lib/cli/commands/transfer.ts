import { dirname, resolve } from "node:path";
import { loadConfig } from "../../config/load.ts";
import { readDatabaseUrl } from "../../config/database.ts";
import { type DatabaseAddress, mayHavePassword } from "../../core/database_address.ts";
import { AppError } from "../../core/errors.ts";
import { counted } from "../../core/units.ts";
import { command, CONFIG, readSecret, UsageError } from "../command.ts";
import { type Io, makeProgress, paletteOf } from "../terminal.ts";

export const transfer = command({
  name: "transfer",
  summary: "Moves everything from the embedded database to a PostgreSQL server",
  about:
    `Stop the daemon first. The target must be an empty database; the tables are created. If it is
interrupted, run the same command again to continue. At the end it compares every table by row count
and checksum; only then can the target be used. From the start no daemon opens the embedded
database, and no other target is accepted. --abandon gives it back: the rows copied so far stay in
the target, which no daemon opens then. Once the transfer is complete, --abandon asks for the name
of the target, on the terminal or as a line of standard input, because both databases would deliver.`,
  options: {
    to: {
      type: "string",
      value: "env:NAME|file:PATH|URL",
      about: "The server's postgres:// URL; literal only without a password",
    },
    abandon: { type: "boolean", about: "Give the embedded database back to the daemon" },
    json: { type: "boolean", about: "Print the result as JSON" },
    config: CONFIG,
  },
  examples: [
    ["bookme-webhooks transfer --to env:DATABASE_URL", "Then set database.url: env:DATABASE_URL"],
    ["bookme-webhooks transfer --to postgres:///bookme?host=…", "If no password is needed"],
    ["bookme-webhooks transfer --abandon", "Go on with the embedded database instead"],
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
      return await abandon(io, directory, values.json);
    }
    if (values.to === undefined) {
      throw new UsageError("--to is missing: env:NAME, file:PATH or a URL");
    }
    const address = await readTarget(io, values.to, values.config);
    const store = await import("../../store/transfer.ts");
    using progress = makeProgress(io);
    const done = await store.transfer(
      directory,
      address,
      ({ phase, table, rows, total }) =>
        progress.show(`${phase} ${table}: ${rows} of ${total} rows`),
    );
    if (values.json) {
      io.out(JSON.stringify(done, null, 2));
      return 0;
    }
    const { green } = paletteOf(io);
    if (done.resumed) io.out("Finished an earlier transfer");
    for (const { table, rows } of done.tables) {
      io.out(`${green("✓")} ${table}: ${counted(rows, "row")}`);
    }
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

async function abandon(io: Io, directory: string, json: boolean): Promise<number> {
  const { abandonTransfer } = await import("../../store/transfer.ts");
  const mark = await abandonTransfer(directory, ({ target }) => confirm(io, target));
  if (json) {
    const { target = null, seal = null } = mark ?? {};
    io.out(JSON.stringify({ abandoned: mark !== undefined, target, complete: seal !== null }));
    return 0;
  }
  if (mark === undefined) {
    io.out("No transfer to abandon");
    return 0;
  }
  io.out(`The embedded database in ${directory} can be used again`);
  io.out(
    mark.seal === null
      ? `The rows copied so far stay in ${mark.target}, which no daemon opens: drop its tables`
      : `${mark.target} is complete and delivers as well if a daemon uses it: drop its tables`,
  );
  return 0;
}

/** Has the name of a complete target typed. Throws an `AppError` for anything else. */
async function confirm(io: Io, target: string): Promise<void> {
  const question =
    `The transfer to ${target} is complete: two daemons would deliver the same events. ` +
    "Type the target's name to abandon it nevertheless:";
  const typed = io.ask(question) ?? new TextDecoder().decode(await io.stdin());
  if (typed.trim() === target) return;
  throw new AppError(
    "conflict",
    `The transfer to ${target} is complete: two daemons would deliver the same events. To abandon it ` +
      "nevertheless, type the target's name, or pass it as a line of standard input",
  );
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
