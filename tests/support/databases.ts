import { createHash } from "node:crypto";
import { type Database, openDatabase } from "../../lib/store/database.ts";
import { serverConfig } from "./config.ts";
import {
  cached,
  connectTo,
  type FreshDatabase,
  freshDatabase,
  sharedPostgres,
} from "./postgres.ts";

/** A server with a database for each test. */
export const server = await sharedPostgres();

/** A database for one test, of one of the two kinds. */
export interface TestDatabase extends AsyncDisposable {
  readonly kind: "embedded" | "server";
  /** The section `database` of a configuration. */
  readonly section: { readonly directory: string; readonly min_free?: string } | {
    readonly url: string;
  };
  /** Opens it as the program does. Embedded, only while no daemon runs. */
  open(): Promise<Database & AsyncDisposable>;
}

/**
 * Declares a test twice: with an embedded database and with one on a real server. For what differs
 * between them: raw storage, claims, restarts, disks. An embedded test costs two to three times its twin.
 */
export function onBoth(
  name: string,
  test: (database: TestDatabase) => Promise<void>,
  onServer = serverDatabase,
): void {
  for (const [kind, make] of [["embedded", embeddedDatabase], ["server", onServer]] as const) {
    Deno.test(`${name} (${kind})`, async () => {
      await using database = await make();
      await test(database);
    });
  }
}

/** Declares a test with a database on a server, for everything that is the same on both kinds. */
export function onServer(
  name: string,
  test: (database: TestDatabase) => Promise<void>,
  make = serverDatabase,
): void {
  Deno.test(name, async () => {
    await using database = await make();
    await test(database);
  });
}

/** A database on the shared server, already initialised. */
export async function serverDatabase(): Promise<TestDatabase> {
  return of(await freshDatabase(server, await template()));
}

/** A database on the shared server in which nothing is yet. */
export async function emptyDatabase(): Promise<TestDatabase> {
  return of(await freshDatabase(server));
}

function of(fresh: FreshDatabase): TestDatabase {
  return {
    kind: "server",
    section: { url: fresh.url },
    open: () => openUrl(fresh.url),
    [Symbol.asyncDispose]: fresh.drop,
  };
}

const TEMPLATE = "bookme_template";
// A number that no other lock of the tests has.
const LOCK = 1;
let has_template = false;

// Made by the program itself, once for all files of this process: making a schema costs more than most tests.
async function template(): Promise<string> {
  if (has_template) return TEMPLATE;
  await using sql = connectTo(server.url("postgres"));
  await sql`select pg_advisory_lock(${LOCK})`;
  const made = await sql`select from pg_database where datname = ${TEMPLATE} and datistemplate`;
  if (made.length === 0) {
    await sql.unsafe(`drop database if exists ${TEMPLATE}`);
    await sql.unsafe(`create database ${TEMPLATE} template template0 locale 'C' encoding 'UTF8'`);
    await using _made = await openUrl(server.url(TEMPLATE));
  }
  // Not before it is whole, and closed.
  await sql.unsafe(`alter database ${TEMPLATE} is_template true`);
  has_template = true;
  return TEMPLATE;
}

/** Opens a database on a server as the program does. */
export function openUrl(url: string): Promise<Database & AsyncDisposable> {
  return open(serverConfig(url));
}

async function open(
  database: Parameters<typeof openDatabase>[0]["database"],
): Promise<Database & AsyncDisposable> {
  const db = await openDatabase({ database });
  return Object.assign(db, { [Symbol.asyncDispose]: () => db.close() });
}

/** An embedded database, already initialised. */
export async function embeddedDatabase(): Promise<TestDatabase> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-embedded-" });
  await initialise(directory);
  return {
    kind: "embedded",
    section: { directory },
    open: () => open({ kind: "embedded", directory }),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** Puts a new embedded database into a directory. Making one takes seconds and is tested elsewhere. */
export async function initialise(directory: string): Promise<void> {
  Deno.mkdirSync(directory, { recursive: true });
  const { success } = await new Deno.Command("cp", {
    args: ["-a", `${await initialised()}/postgres`, `${directory}/postgres`],
  }).output();
  if (!success) throw new Error("The embedded database could not be copied");
}

const WEEK_MS = 7 * 86_400_000;
/** A Monday, 00:00 UTC. */
const MONDAY = Date.UTC(1970, 0, 5);

// Made by the program itself, and again when what makes it has changed, or another week has begun: it has the
// partitions of the week in which it was made.
function initialised(): Promise<string> {
  const hash = createHash("sha256").update(`${Math.floor((Date.now() - MONDAY) / WEEK_MS)}`);
  for (const folder of ["lib/store", "migrations", ""]) {
    const url = new URL(`../../${folder}/`, import.meta.url);
    const files = [...Deno.readDirSync(url)]
      .filter(({ name, isFile }) => isFile && (folder !== "" || name === "deno.lock"))
      .map(({ name }) => name);
    for (const name of files.sort()) hash.update(Deno.readFileSync(new URL(name, url)));
  }
  return cached(`embedded-${hash.digest("hex").slice(0, 12)}`, async (directory) => {
    const db = await openDatabase({ database: { kind: "embedded", directory } });
    await db.close();
  });
}
