import { type Command, command, type Option, UsageError } from "../command.ts";
import { didYouMean, PROGRAM } from "../usage.ts";

const SHELLS = { bash, zsh, fish } as const;
const NAMES = Object.keys(SHELLS);

/** The command that prints shell completions for `commands`. */
export function makeCompletions(commands: () => readonly Command[]): Command {
  return command({
    name: "completions",
    summary: "Prints shell completions for commands, options and values",
    about: "Completions match this version's commands: print them again after an upgrade.",
    positionals: { usage: NAMES.join("|"), min: 1, max: 1 },
    options: {},
    examples: [
      [`source <(${PROGRAM} completions bash)`, "In ~/.bashrc"],
      [`${PROGRAM} completions zsh > "\${fpath[1]}/_${PROGRAM}"`, "Once, for zsh"],
      [
        `${PROGRAM} completions fish > ~/.config/fish/completions/${PROGRAM}.fish`,
        "Once, for fish",
      ],
    ],
    run({ io, positionals: [name = ""] }) {
      const print = Object.hasOwn(SHELLS, name) ? SHELLS[name as keyof typeof SHELLS] : undefined;
      if (print === undefined) {
        throw new UsageError(
          `Completions exist for ${NAMES.join(", ")}, not for ${JSON.stringify(name)}` +
            didYouMean(name, NAMES),
        );
      }
      io.out(print(commands()).join("\n"));
      return Promise.resolve(0);
    },
  });
}

/** Options of a command with the help that every one has. */
function optionsOf({ options }: Command): [string, Option][] {
  return [...Object.entries(options), ["help", {
    type: "boolean",
    short: "h",
    about: "Shows this help",
  }]];
}

function bash(commands: readonly Command[]): string[] {
  const valued = commands.flatMap((command) =>
    optionsOf(command)
      .filter(([, option]) => option.type === "string")
      .map(([name, { choices, short }]) => {
        const words = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]
          .map((word) => `${command.name}:${word}`).join("|");
        return choices === undefined
          ? `    ${words}) compopt -o default; return ;;`
          : `    ${words}) COMPREPLY=($(compgen -W '${
            choices.join(" ")
          }' -- "$current")); return ;;`;
      })
  );
  return [
    "_bookme_webhooks() {",
    '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command= word',
    "  COMPREPLY=()",
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    case "$word" in',
    `      ${commands.map(({ name }) => name).join("|")}) command="$word"; break ;;`,
    "    esac",
    "  done",
    '  case "$command:$before" in',
    "    :--config|:-c) compopt -o default; return ;;",
    ...valued,
    "  esac",
    '  case "$command" in',
    `    '') COMPREPLY=($(compgen -W '${
      [...commands.map(({ name }) => name), "--config", "--help", "--version"].join(" ")
    }' -- "$current")) ;;`,
    ...commands.map((command) =>
      `    ${command.name}) COMPREPLY=($(compgen -W '${
        [...optionsOf(command).map(([name]) => `--${name}`), ...wordsOf(command)].join(" ")
      }' -- "$current")) ;;`
    ),
    "  esac",
    "}",
    `complete -F _bookme_webhooks ${PROGRAM}`,
  ];
}

/** Arguments without a name that are known beforehand. */
function wordsOf({ positionals }: Command): string[] {
  const usage = positionals?.usage ?? "";
  return usage.includes("|") ? usage.split("|") : [];
}

function zsh(commands: readonly Command[]): string[] {
  const escape = (text: string) =>
    text.replace(/['[\]:\\]/g, (char) => char === "'" ? "'\\''" : `\\${char}`);
  return [
    `#compdef ${PROGRAM}`,
    "_bookme_webhooks() {",
    "  local -a commands",
    "  commands=(",
    ...commands.map(({ name, summary }) => `    '${name}:${escape(summary)}'`),
    "  )",
    "  if (( CURRENT == 2 )); then",
    "    _describe command commands",
    "    return",
    "  fi",
    '  local command="$words[2]"',
    "  shift words",
    "  (( CURRENT-- ))",
    '  case "$command" in',
    ...commands.flatMap((command) => [
      `    ${command.name}) _arguments -s \\`,
      ...optionsOf(command).map(([name, option]) => {
        const value = option.type === "boolean"
          ? ""
          : `:${escape(option.value ?? "value")}:${
            option.choices === undefined ? "_files" : `(${option.choices.join(" ")})`
          }`;
        return `      '${option.multiple ? "*" : ""}--${name}[${escape(option.about)}]${value}' \\`;
      }),
      `      '*:argument:${
        wordsOf(command).length === 0 ? "_files" : `(${wordsOf(command).join(" ")})`
      }' ;;`,
    ]),
    "  esac",
    "}",
    // From a file of $fpath it is called right away, sourced it is only made known.
    `if [[ "$funcstack[1]" == "_${PROGRAM}" ]]; then _bookme_webhooks "$@"; else compdef _bookme_webhooks ${PROGRAM}; fi`,
  ];
}

function fish(commands: readonly Command[]): string[] {
  const quote = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  return [
    `complete -c ${PROGRAM} -f`,
    ...commands.flatMap((command) => {
      const within = `complete -c ${PROGRAM} -n '__fish_seen_subcommand_from ${command.name}'`;
      return [
        `complete -c ${PROGRAM} -n __fish_use_subcommand -a ${command.name} -d ${
          quote(command.summary)
        }`,
        ...optionsOf(command).map(([name, option]) => {
          const short = option.short === undefined ? "" : ` -s ${option.short}`;
          const value = option.type === "boolean"
            ? ""
            : option.choices === undefined
            ? " -r -F"
            : ` -x -a ${quote(option.choices.join(" "))}`;
          return `${within} -l ${name}${short}${value} -d ${quote(option.about)}`;
        }),
        ...wordsOf(command).map((word) => `${within} -a ${word}`),
      ];
    }),
  ];
}
