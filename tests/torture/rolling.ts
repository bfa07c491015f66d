import { createHmac } from "node:crypto";
import { messageOf } from "../../lib/core/errors.ts";
import { sleep, until } from "../support/wait.ts";
import { allReady, type Arena, type EndpointId, SECRETS, type Setting } from "./arena.ts";
import { originOf, type Place } from "./client.ts";
import { clockFor, type Fault, pickUp, terminateOne } from "./fault.ts";
import type { Incoming } from "./receivers.ts";

/** The files that daemons are started with, in the order in which they are first seen. */
const FILES = ["a", "b", "c"] as const;

/**
 * An endpoint's entry in a file; null if the file does not name it. The path names the secret and the header
 * that a request must have. Files whose names begin alike name the same endpoints, secrets and events.
 */
function inFile(file: string, id: EndpointId, receiver: Place): Record<string, unknown> | null {
  const [kind] = file;
  const url = (path: string) => `${originOf(receiver)}/${path}`;
  if (id === "doomed") return kind === "c" ? null : {};
  if (id === "steady" && kind !== "a") return { url: url("second"), secret: "second" };
  if (id === "moody") return { url: url(`file-${file}`), headers: { "X-File": file } };
  return {};
}

/** Brings other files to daemons for so long. `files` has the name of each daemon's. */
type Roll = (arena: Arena, seconds: number, files: Map<string, string>) => Promise<void>;

/**
 * Daemons that are restarted and reloaded with newer and older files, at random.
 *
 * A daemon that starts with an older file must change nothing, and none may send with what belongs to
 * another file. Last, an operator goes back to the first one.
 */
export const rollingFiles: Fault = rolling("rolling-files", async (arena, seconds, files) => {
  await rollAtRandom(arena, seconds / 2, files, ["a", "b"]);
  arena.retirable.set("doomed", Date.now());
  await rollAtRandom(arena, seconds / 2, files, FILES);
  for (const { name } of arena.daemons) files.set(name, "a");
  await until("every daemon has the first file again", async () => {
    for (const daemon of arena.daemons) if (daemon.up) daemon.reload();
    await sleep(500);
    // The last life of each.
    const rows = await arena.sql`
      select from (
        select distinct on (listeners) file from daemons order by listeners, started_at desc
      ) d where file <> (select digest from file_in_force)`;
    return arena.daemons.every(({ up }) => up) && rows.length === 0;
  }).catch((error) => arena.find({ invariant: "G", text: messageOf(error) }));
});

/** Files that are rolled out as a careful operator does it, on this ground: nothing may be late. */
export function rollingOut(
  name: string,
  ground: () => Promise<Setting & Partial<AsyncDisposable>>,
): Fault {
  return rolling(name, rollOut, ground);
}

function rolling(
  name: string,
  roll: Roll,
  ground: () => Promise<Setting & Partial<AsyncDisposable>> = () => Promise.resolve({}),
): Fault {
  const files = new Map<string, string>();
  return {
    name,
    seconds: 40,
    async setting() {
      files.clear();
      const endpoint = (id: EndpointId, receiver: Place, daemon: string) =>
        inFile(files.get(daemon) ?? "a", id, receiver);
      return { ...await ground(), daemons: 3, endpoint };
    },
    async inject(arena, seconds) {
      for (const receiver of Object.values(arena.receivers)) {
        receiver.onRead = (request) => checkFile(arena, request);
      }
      await roll(arena, seconds, files);
    },
  };
}

async function rollAtRandom(
  arena: Arena,
  seconds: number,
  files: Map<string, string>,
  from: readonly string[],
): Promise<void> {
  const { random } = arena;
  for (const goes_on = clockFor(seconds); goes_on(); await sleep(random.int(100, 1_000))) {
    const daemon = pickUp(arena);
    if (daemon === undefined) continue;
    arena.strikes++;
    files.set(daemon.name, random.pick(from));
    const how = random.pick(["kill", "terminate", "terminate", "reload"] as const);
    const { holder } = daemon;
    if (how === "kill") {
      arena.kill(daemon.name);
      await until("it is dead", () => daemon.dead.includes(holder));
    } else if (how === "reload") daemon.reload();
    else await terminateOne(arena, daemon, 1);
  }
}

// A new file each time, to one daemon after the other, the next one once the last is ready.
async function rollOut(arena: Arena, seconds: number, files: Map<string, string>): Promise<void> {
  const { random } = arena;
  arena.outages = [];
  const goes_on = clockFor(seconds);
  for (let nth = 1; goes_on(); nth++) {
    const kind = FILES[nth % FILES.length] ?? "a";
    if (kind === "c" && !arena.retirable.has("doomed")) arena.retirable.set("doomed", Date.now());
    for (const daemon of arena.daemons) {
      arena.strikes++;
      files.set(daemon.name, `${kind}${nth}`);
      if (random.chance(0.5)) daemon.reload();
      else await terminateOne(arena, daemon, 1);
      await allReady(arena, `the file ${kind}${nth}`);
      await sleep(random.int(300, 1_000));
    }
  }
}

function checkFile(arena: Arena, { path, headers, body, seen }: Incoming): void {
  const secret = SECRETS[path === "/second" ? "second" : "main"];
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const file = /^\/file-(\w+)$/.exec(path)?.[1];
  if (headers.get("x-bookme-signature") !== `sha256=${signature}`) {
    arena.find({ invariant: "A", text: `${seen.delivery_id} has a wrong signature at ${path}` });
  }
  if (headers.get("x-file") !== file) {
    arena.find({
      invariant: "A",
      text: `${seen.delivery_id} has another file's header at ${path}`,
    });
  }
}
