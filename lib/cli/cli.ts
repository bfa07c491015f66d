import { AppError } from "../core/errors.ts";
import { denoMistake, VERSION } from "../core/version.ts";
import { cancel, retry } from "./commands/change.ts";
import { alerts } from "./commands/alerts.ts";
import { audit } from "./commands/audit.ts";
import { backup } from "./commands/backup.ts";
import { check } from "./commands/check.ts";
import { type Command, UsageError } from "./command.ts";
import { makeCompletions } from "./commands/completions.ts";
import { daemons } from "./commands/daemons.ts";
import { deliveries } from "./commands/deliveries.ts";
import { delivery } from "./commands/delivery.ts";
import { demo } from "./demo/demo.ts";
import { doctor } from "./doctor/doctor.ts";
import { endpoints } from "./commands/endpoints.ts";
import { erase } from "./commands/erase.ts";
import { event } from "./commands/event.ts";
import { eventTypes } from "./commands/event_types.ts";
import { report } from "./fault.ts";
import { forward } from "./commands/forward.ts";
import { healthcheck } from "./commands/healthcheck.ts";
import { listen } from "./commands/listen.ts";
import { migrate } from "./commands/migrate.ts";
import { pause, resume } from "./commands/pause.ts";
import { portalLink, portalLinks } from "./commands/portal_links.ts";
import { rekey } from "./commands/rekey.ts";
import { reload } from "./commands/reload.ts";
import { replay } from "./commands/replay.ts";
import { replays } from "./commands/replays.ts";
import { restore } from "./commands/restore.ts";
import { rotate } from "./commands/rotate.ts";
import { secret } from "./commands/secret.ts";
import { send } from "./commands/send.ts";
import { serve } from "./commands/serve.ts";
import { startTracing } from "../observe/traces.ts";
import { type Io, standardIo } from "./terminal.ts";
import { stats } from "./commands/stats.ts";
import { transfer } from "./commands/transfer.ts";
import { commandHelp, didYouMean, parseCommand, PROGRAM, programHelp } from "./usage.ts";
import { verify } from "./commands/verify.ts";

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  serve,
  demo,
  check,
  doctor,
  healthcheck,
  reload,
  migrate,
  endpoints,
  event,
  stats,
  deliveries,
  delivery,
  retry,
  cancel,
  replay,
  replays,
  erase,
  pause,
  resume,
  rotate,
  portalLink,
  portalLinks,
  alerts,
  audit,
  daemons,
  send,
  eventTypes,
  listen,
  forward,
  verify,
  secret,
  rekey,
  backup,
  restore,
  transfer,
  makeCompletions(() => COMMANDS),
];

/** Runs a command line and answers its exit code: 0 done, 1 failed, 2 wrong usage or configuration. */
export async function run(args: readonly string[], io: Io = standardIo()): Promise<number> {
  let command: Command | undefined;
  try {
    const { name, rest } = splitCommand(args);
    if (name === undefined && rest.some((arg) => arg === "--version" || arg === "-V")) {
      if (rest.includes("--json")) {
        const { about } = await import("./about.ts");
        io.out(JSON.stringify(about()));
      } else io.out(`${PROGRAM} ${VERSION}`);
      return 0;
    }
    if (name === "help" || (name === undefined && rest.some((arg) => /^(--help|-h)$/.test(arg)))) {
      io.out(
        rest[0] === undefined || name === undefined
          ? programHelp(COMMANDS)
          : commandHelp(find(rest[0])),
      );
      return 0;
    }
    command = find(name ?? "serve");
    const parsed = parseCommand(command, rest);
    if (parsed.help) {
      io.out(commandHelp(command));
      return 0;
    }
    const too_old = denoMistake(Deno.version.deno);
    if (too_old !== undefined) throw new AppError("unavailable", too_old);
    // Before the first request: commands send searches and ids to the daemon.
    const tracing = await startTracing(io.env);
    return await command.run({ io, tracing, ...parsed });
  } catch (error) {
    return await report(error, command, io);
  }
}

// `--config FILE` may also stand before the command.
function splitCommand(args: readonly string[]): { name?: string; rest: readonly string[] } {
  const at = /^(--config|-c)$/.test(args[0] ?? "") ? 2 : args[0]?.startsWith("--config=") ? 1 : 0;
  const name = args[at];
  if (name === undefined || name.startsWith("-")) return { rest: args };
  return { name, rest: [...args.slice(0, at), ...args.slice(at + 1)] };
}

function find(name: string): Command {
  const command = COMMANDS.find((one) => one.name === name || one.alias === name);
  if (command !== undefined) return command;
  const near = didYouMean(name, COMMANDS.map((one) => one.name));
  throw new UsageError(`Unknown command ${JSON.stringify(name)}${near}`);
}
