import { AppError } from "../core/errors.ts";
import { denoMistake, VERSION } from "../core/version.ts";
import { type Command, UsageError } from "./command.ts";
import { report } from "./fault.ts";
import { startTracing } from "../observe/traces.ts";
import { type Io, standardIo } from "./terminal.ts";
import { commandHelp, didYouMean, parseCommand, PROGRAM, programHelp } from "./usage.ts";

/**
 * Loads a command, by its name, in the order of the help. Each is loaded when it is asked for: a start must not
 * wait for the others.
 */
const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import("./commands/serve.ts")).serve,
  demo: async () => (await import("./demo/demo.ts")).demo,
  check: async () => (await import("./commands/check.ts")).check,
  doctor: async () => (await import("./doctor/doctor.ts")).doctor,
  healthcheck: async () => (await import("./commands/healthcheck.ts")).healthcheck,
  reload: async () => (await import("./commands/reload.ts")).reload,
  migrate: async () => (await import("./commands/migrate.ts")).migrate,
  endpoints: async () => (await import("./commands/endpoints.ts")).endpoints,
  event: async () => (await import("./commands/event.ts")).event,
  stats: async () => (await import("./commands/stats.ts")).stats,
  deliveries: async () => (await import("./commands/deliveries.ts")).deliveries,
  delivery: async () => (await import("./commands/delivery.ts")).delivery,
  retry: async () => (await import("./commands/change.ts")).retry,
  cancel: async () => (await import("./commands/change.ts")).cancel,
  replay: async () => (await import("./commands/replay.ts")).replay,
  replays: async () => (await import("./commands/replays.ts")).replays,
  erase: async () => (await import("./commands/erase.ts")).erase,
  pause: async () => (await import("./commands/pause.ts")).pause,
  resume: async () => (await import("./commands/pause.ts")).resume,
  rotate: async () => (await import("./commands/rotate.ts")).rotate,
  "portal-link": async () => (await import("./commands/portal_links.ts")).portalLink,
  "portal-links": async () => (await import("./commands/portal_links.ts")).portalLinks,
  alerts: async () => (await import("./commands/alerts.ts")).alerts,
  audit: async () => (await import("./commands/audit.ts")).audit,
  daemons: async () => (await import("./commands/daemons.ts")).daemons,
  send: async () => (await import("./commands/send.ts")).send,
  "event-types": async () => (await import("./commands/event_types.ts")).eventTypes,
  listen: async () => (await import("./commands/listen.ts")).listen,
  forward: async () => (await import("./commands/forward.ts")).forward,
  verify: async () => (await import("./commands/verify.ts")).verify,
  secret: async () => (await import("./commands/secret.ts")).secret,
  rekey: async () => (await import("./commands/rekey.ts")).rekey,
  backup: async () => (await import("./commands/backup.ts")).backup,
  restore: async () => (await import("./commands/restore.ts")).restore,
  transfer: async () => (await import("./commands/transfer.ts")).transfer,
  completions: async () =>
    (await import("./commands/completions.ts")).makeCompletions(loadCommands),
};

/** Every command, in the order of the help. */
export function loadCommands(): Promise<readonly Command[]> {
  return Promise.all(Object.values(LOADERS).map((load) => load()));
}

/**
 * Runs a command line and answers its exit code: 0 done, 1 failed, 2 wrong usage or configuration. Calls `begun`
 * once the command is loaded and listens to the signals that it wants.
 */
export async function run(
  args: readonly string[],
  io: Io = standardIo(),
  begun: () => void = () => {},
): Promise<number> {
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
          ? programHelp(await loadCommands())
          : commandHelp(await find(rest[0])),
      );
      return 0;
    }
    command = await find(name ?? "serve");
    const parsed = parseCommand(command, rest);
    if (parsed.help) {
      io.out(commandHelp(command));
      return 0;
    }
    const too_old = denoMistake(Deno.version.deno);
    if (too_old !== undefined) throw new AppError("unavailable", too_old);
    // Before the first request: commands send searches and ids to the daemon.
    const tracing = await startTracing(io.env);
    const running = command.run({ io, tracing, ...parsed });
    begun();
    return await running;
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

async function find(name: string): Promise<Command> {
  const load = Object.hasOwn(LOADERS, name) ? LOADERS[name] : undefined;
  if (load !== undefined) return await load();
  const commands = await loadCommands();
  const command = commands.find((one) => one.alias === name);
  if (command !== undefined) return command;
  const near = didYouMean(name, commands.map((one) => one.name));
  throw new UsageError(`Unknown command ${JSON.stringify(name)}${near}`);
}
