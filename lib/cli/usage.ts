import { parseArgs } from "node:util";
import { nearest } from "../core/nearest.ts";
import { VERSION } from "../core/version.ts";
import { type Command, type Options, UsageError, type Values } from "./command.ts";

/** What the program is called in its help. */
export const PROGRAM = "bookme-webhooks";

/** `--help`, which every command has. */
export const HELP = { type: "boolean", short: "h", about: "Shows this help" } as const;

/** A command's arguments, understood; `help` where that was asked for. */
export type Parsed =
  | { readonly help: true }
  | {
    readonly help: false;
    readonly values: Values<Options>;
    readonly positionals: readonly string[];
  };

/** Reads the arguments of a command. Throws a `UsageError` that names the nearest option. */
export function parseCommand(command: Command, args: readonly string[]): Parsed {
  const options: Options = { ...command.options, help: HELP };
  // Not strict: its messages would not be ours. What it would refuse is refused here.
  const { tokens, values, positionals } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { type, short, multiple }]) => [
        name,
        { type, ...(short === undefined ? {} : { short }), multiple: multiple ?? false },
      ]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  if (values["help"] === true) return { help: true };
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    checkOption(options, token);
    // The last would silently win.
    if (
      seen.has(token.name) && options[token.name]?.type === "string" &&
      options[token.name]?.multiple !== true
    ) {
      throw new UsageError(`${token.rawName} is given more than once`);
    }
    seen.add(token.name);
  }
  const { min = 0, max = 0 } = command.positionals ?? {};
  if (positionals.length > max) {
    throw new UsageError(`Unexpected argument ${JSON.stringify(positionals[max])}`);
  }
  if (positionals.length < min) {
    throw new UsageError(`${command.positionals?.usage} is missing`);
  }
  const complete = Object.entries(command.options).map(([name, option]) => {
    const none = option.type === "boolean" ? false : option.multiple ? [] : option.default;
    return [name, values[name] ?? none] as const;
  });
  return { help: false, values: Object.fromEntries(complete) as Values<Options>, positionals };
}

function checkOption(
  options: Options,
  token: {
    name: string;
    rawName: string;
    value?: string | undefined;
    inlineValue?: boolean | undefined;
  },
): void {
  const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
  if (option === undefined) {
    const names = Object.keys(options).map((name) => `--${name}`);
    throw new UsageError(`Unknown option ${token.rawName}${didYouMean(token.rawName, names)}`);
  }
  const { value } = token;
  if (option.type === "boolean") {
    if (value !== undefined) throw new UsageError(`${token.rawName} takes no value`);
  } else if (value === undefined || (!token.inlineValue && /^-./.test(value))) {
    throw new UsageError(`${token.rawName} needs a value: ${option.value ?? "TEXT"}`);
  } else if (option.choices !== undefined && !option.choices.includes(value)) {
    const near = didYouMean(value, option.choices);
    throw new UsageError(`${token.rawName} must be ${either(option.choices)}${near}`);
  }
}

function either(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

/** `; did you mean listen?`, or nothing where no name is near. */
export function didYouMean(given: string, names: readonly string[]): string {
  const near = nearest(given, names);
  return near === undefined ? "" : `; did you mean ${near}?`;
}

/** One line, `Usage: bookme-webhooks event-types [NAME] [options]`. */
export function usageLine(command: Command | undefined): string {
  if (command === undefined) return `Usage: ${PROGRAM} [COMMAND] [options]`;
  const positionals = command.positionals === undefined ? "" : ` ${command.positionals.usage}`;
  return `Usage: ${PROGRAM} ${command.name}${positionals} [options]`;
}

/** The help of the program: its commands. */
export function programHelp(commands: readonly Command[]): string {
  return [
    `${PROGRAM} ${VERSION} delivers BookMe's events to the endpoints that want them.`,
    "",
    usageLine(undefined),
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    "Without a command it runs serve. Start here:",
    ...columns([
      [`${PROGRAM} demo`, "Show everything at work; leave nothing behind"],
      [`${PROGRAM} check`, "Report every mistake in config.yaml"],
      [`${PROGRAM}`, "Run the daemon with config.yaml"],
    ]),
    "",
    `${PROGRAM} COMMAND --help explains a command; --version prints the version, and with`,
    "--json also the commit, the runtime, the embedded PostgreSQL and the newest schema it knows.",
  ].join("\n");
}

/** The help of one command. */
export function commandHelp(command: Command): string {
  const options = Object.entries({ ...command.options, help: HELP } as Options);
  return [
    command.summary + ".",
    "",
    usageLine(command),
    "",
    command.about,
    "",
    "Options:",
    ...columns(options.map(([name, option]) => {
      const short = option.short === undefined ? "    " : `-${option.short}, `;
      const value = option.type === "boolean" ? "" : ` ${option.value ?? "TEXT"}`;
      const preset = option.default === undefined ? "" : ` (default: ${option.default})`;
      return [`${short}--${name}${value}`, option.about + preset];
    })),
    "",
    "Examples:",
    ...command.examples.flatMap(([line, does]) => [`  # ${does}`, `  ${line}`]),
  ].join("\n");
}

/** Lines of two aligned columns; a left one that is too wide has a line of its own. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(30, Math.max(...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) =>
    left.length > width
      ? [`  ${left}`, `  ${" ".repeat(width)}  ${right}`]
      : [`  ${left.padEnd(width)}  ${right}`]
  );
}
