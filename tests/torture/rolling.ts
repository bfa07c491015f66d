import { createHmac } from "node:crypto";
import { messageOf } from "../../lib/core/errors.ts";
import { sleep, until } from "../support/wait.ts";
import { type Arena, type EndpointId, originOf, SECRETS, type Setting } from "./arena.ts";
import type { Place } from "./client.ts";
import { clockFor, type Fault, pickUp, terminateOne } from "./fault.ts";
import type { Incoming } from "./receivers.ts";

/** The files that daemons are started with, in the order in which they are first seen. */
const FILES = ["a", "b", "c"] as const;
type FileName = typeof FILES[number];

/**
 * An endpoint's entry in a file; null if the file does not name it. The path names the secret and the header
 * that a request must have.
 */
function inFile(
  file: FileName,
  id: EndpointId,
  receiver: Place,
): Record<string, unknown> | null {
  const url = (path: string) => `${originOf(receiver)}/${path}`;
  if (id === "doomed") return file === "c" ? null : {};
  if (id === "steady" && file !== "a") return { url: url("second"), secret: "second" };
  if (id === "moody") return { url: url(file), headers: { "X-File": file } };
  return {};
}

/**
 * Daemons that are restarted and reloaded with newer and older files, on `ground`.
 *
 * A daemon that starts with an older file must change nothing, and none may send with what belongs to
 * another file. Last, an operator goes back to the first one.
 */
export function makeRollingFiles(
  name = "rolling-files",
  ground: () => Promise<Setting & Partial<AsyncDisposable>> = () => Promise.resolve({}),
): Fault {
  const files = new Map<string, FileName>();
  const fileOf = (daemon: string) => files.get(daemon) ?? "a";
  return {
    name,
    seconds: 40,
    async setting() {
      files.clear();
      const endpoint = (id: EndpointId, receiver: Place, daemon: string) =>
        inFile(fileOf(daemon), id, receiver);
      return { ...await ground(), daemons: 3, endpoint };
    },
    async inject(arena, seconds) {
      for (const receiver of Object.values(arena.receivers)) {
        receiver.onRead = (request) => checkFile(arena, request);
      }
      await rollFiles(arena, seconds / 2, files, ["a", "b"]);
      arena.retirable.set("doomed", Date.now());
      await rollFiles(arena, seconds / 2, files, FILES);
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
    },
  };
}

async function rollFiles(
  arena: Arena,
  seconds: number,
  files: Map<string, FileName>,
  from: readonly FileName[],
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

function checkFile(arena: Arena, { path, headers, body, seen }: Incoming): void {
  const secret = SECRETS[path === "/second" ? "second" : "main"];
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  const file = FILES.find((name) => path === `/${name}`);
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
