import { type Command, command, type Completes, type Option, UsageError } from "../command.ts";
import { didYouMean, HELP, PROGRAM } from "../usage.ts";

const SHELLS = { bash, zsh, fish } as const;
const NAMES = Object.keys(SHELLS);

/** The completions of a shell for `commands`: a script, without a line break at its end. */
export function completionsOf(shell: keyof typeof SHELLS, commands: readonly Command[]): string {
  return SHELLS[shell](commands).join("\n");
}

/** The command that prints shell completions for `commands`. */
export function makeCompletions(commands: () => Promise<readonly Command[]>): Command {
  return command({
    name: "completions",
    summary: "Prints shell completions for commands, options and values",
    about:
      `Completions match this version's commands: print them again after an upgrade. Ids of endpoints come
from the running daemon that --config names, or else ./config.yaml.`,
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
    async run({ io, positionals: [name = ""] }) {
      const print = Object.hasOwn(SHELLS, name) ? SHELLS[name as keyof typeof SHELLS] : undefined;
      if (print === undefined) {
        throw new UsageError(
          `Completions exist for ${NAMES.join(", ")}, not for ${JSON.stringify(name)}` +
            didYouMean(name, NAMES),
        );
      }
      io.out(print(await commands()).join("\n"));
      return 0;
    },
  });
}

/** Options of a command with the help that every one has. */
function optionsOf({ options }: Command): [string, Option][] {
  return [...Object.entries(options), ["help", HELP]];
}

/** The shell functions, in each of the scripts, that print names which only a running daemon knows. */
const ASK: Readonly<Record<Completes, string>> = { endpoints: "_bookme_webhooks_endpoints" };

function bash(commands: readonly Command[]): string[] {
  const valued = commands.flatMap((command) =>
    optionsOf(command)
      .filter(([, option]) => option.type === "string")
      .map(([name, { choices, completes, short }]) => {
        const words = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]
          .map((word) => `${command.name}:${word}`).join("|");
        const reply = completes !== undefined
          ? bashReply(`"$(${ASK[completes]})"`)
          : choices === undefined
          ? "compopt -o default"
          : bashReply(`'${choices.join(" ")}'`);
        return `    ${words}) ${reply}; return ;;`;
      })
  );
  return [
    `${ASK.endpoints}() {`,
    "  local at value",
    "  local -a config=()",
    "  for ((at = 1; at < COMP_CWORD - 1; at++)); do",
    '    case "${COMP_WORDS[at]}" in --config|-c) ;; *) continue ;; esac',
    '    value="${COMP_WORDS[at + 1]}"',
    '    if [[ "$value" == = ]]; then value="${COMP_WORDS[at + 2]}"; fi',
    '    config=(--config "${value/#\\~/$HOME}")',
    "  done",
    '  "${COMP_WORDS[0]/#\\~/$HOME}" endpoints --ids "${config[@]}" 2>/dev/null',
    "}",
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
    ...commands.map((command) => {
      const options = optionsOf(command).map(([name]) => `--${name}`);
      const words = bashReply(`'${[...options, ...wordsOf(command)].join(" ")}'`);
      const { completes } = command.positionals ?? {};
      // The daemon is not asked about options.
      const reply = completes === undefined
        ? words
        : `if [[ "$current" == -* ]]; then ${words}; else ${
          bashReply(`"$(${ASK[completes]})"`)
        }; fi`;
      return `    ${command.name}) ${reply} ;;`;
    }),
    "  esac",
    "}",
    `complete -F _bookme_webhooks ${PROGRAM}`,
  ];
}

function bashReply(words: string): string {
  return `COMPREPLY=($(compgen -W ${words} -- "$current"))`;
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
    `${ASK.endpoints}() {`,
    "  local -a config",
    "  local at=${typed[(I)(--config|-c)]}",
    "  (( at > 0 )) && config=(--config ${~typed[at + 1]})",
    '  compadd "$@" -- ${(f)"$(${~typed[1]} endpoints --ids $config 2>/dev/null)"}',
    "}",
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
    '  local -a typed=("${(@)words[1,CURRENT - 1]}")',
    "  shift words",
    "  (( CURRENT-- ))",
    '  case "$command" in',
    ...commands.flatMap((command) => [
      `    ${command.name}) _arguments -s \\`,
      ...optionsOf(command).map(([name, option]) => {
        const value = option.type === "boolean"
          ? ""
          : `:${escape(option.value ?? "value")}:${zshAction(option.completes, option.choices)}`;
        return `      '${option.multiple ? "*" : ""}--${name}[${escape(option.about)}]${value}' \\`;
      }),
      `      '*:argument:${zshAction(command.positionals?.completes, wordsOf(command))}' ;;`,
    ]),
    "  esac",
    "}",
    // From a file of $fpath it is called right away, sourced it is only made known.
    `if [[ "$funcstack[1]" == "_${PROGRAM}" ]]; then _bookme_webhooks "$@"; else compdef _bookme_webhooks ${PROGRAM}; fi`,
  ];
}

function zshAction(completes: Completes | undefined, words: readonly string[] = []): string {
  if (completes !== undefined) return ASK[completes];
  return words.length === 0 ? "_files" : `(${words.join(" ")})`;
}

function fish(commands: readonly Command[]): string[] {
  const quote = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  return [
    `function ${ASK.endpoints}`,
    "    set -l line (commandline -opc)",
    "    set -l config (string match -r -- '^--config=.*' $line)",
    "    for at in (seq 2 (math (count $line) - 1))",
    "        contains -- $line[$at] --config -c; and set config --config=$line[(math $at + 1)]",
    "    end",
    "    set -l program (string replace -r '^~' $HOME $line[1])",
    "    $program endpoints --ids (string replace -- '=~' =$HOME $config) 2>/dev/null",
    "end",
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
            : option.completes !== undefined
            ? ` -x -a '(${ASK[option.completes]})'`
            : option.choices === undefined
            ? " -r -F"
            : ` -x -a ${quote(option.choices.join(" "))}`;
          return `${within} -l ${name}${short}${value} -d ${quote(option.about)}`;
        }),
        ...wordsOf(command).map((word) => `${within} -a ${word}`),
        ...(command.positionals?.completes === undefined
          ? []
          : [`${within} -a '(${ASK[command.positionals.completes]})'`]),
      ];
    }),
  ];
}
