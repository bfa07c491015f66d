import { createHash } from "node:crypto";
import { type Database, openDatabase } from "../../lib/store/database.ts";
import { serverConfig } from "./config.ts";
import { cached, freshDatabase, sharedPostgres } from "./postgres.ts";

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
export function onBoth(name: string, test: (database: TestDatabase) => Promise<void>): void {
  for (
    const [kind, make] of [["embedded", embeddedDatabase], ["server", serverDatabase]] as const
  ) {
    Deno.test(`${name} (${kind})`, async () => {
      await using database = await make();
      await test(database);
    });
  }
}

/** Declares a test with a database on a server, for everything that is the same on both kinds. */
export function onServer(name: string, test: (database: TestDatabase) => Promise<void>): void {
  Deno.test(name, async () => {
    await using database = await serverDatabase();
    await test(database);
  });
}

/** A database on the shared server. */
export async function serverDatabase(): Promise<TestDatabase> {
  const fresh = await freshDatabase(server);
  return {
    kind: "server",
    section: { url: fresh.url },
    open: () => openUrl(fresh.url),
    [Symbol.asyncDispose]: fresh.drop,
  };
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

// Made by the program itself, and again when what makes it has changed.
function initialised(): Promise<string> {
  const hash = createHash("sha256");
  for (const folder of ["lib/store", "migrations", ""]) {
    const url = new URL(`../../${folder}/`, import.meta.url);
    const files = [...Deno.readDirSync(url)]
      .filter(({ name, isFile }) => isFile && (folder !== "" || name === "deno.lock"))
      .map(({ name }) => name);
    for (const name of files.sort()) hash.update(Deno.readTextFileSync(new URL(name, url)));
  }
  return cached(`embedded-${hash.digest("hex").slice(0, 12)}`, async (directory) => {
    const db = await openDatabase({ database: { kind: "embedded", directory } });
    await db.close();
  });
}
