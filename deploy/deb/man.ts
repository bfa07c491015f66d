/** The man page, made from what the program's own `--help` is made from. */

import type { Command, Option } from "../../lib/cli/command.ts";
import { HELP, PROGRAM, usageLine } from "../../lib/cli/usage.ts";

/** What the page says besides the commands. */
const FILES: readonly (readonly [path: string, about: string])[] = [
  ["/etc/bookme-webhooks/config.yaml", "The configuration of the service."],
  [
    "/etc/bookme-webhooks/environment",
    "NAME=value lines for env:NAME in the configuration. Optional; for root alone.",
  ],
  ["/var/lib/bookme-webhooks", "The embedded database, with admin.token and encryption.key."],
  ["/usr/share/doc/bookme-webhooks/docs", "Every page of the documentation."],
];

const EXIT_STATUS: readonly (readonly [code: string, about: string])[] = [
  ["0", "Done."],
  ["1", "Failed."],
  ["2", "Wrong usage, or a mistake in the configuration."],
];

/** The page `bookme-webhooks(1)`. `date` is shown at its foot, `2026-11-29`. */
export function manPage(version: string, date: string, commands: readonly Command[]): string {
  return [
    `.TH ${PROGRAM.toUpperCase()} 1 "${date}" "${PROGRAM} ${version}" "User Commands"`,
    ".SH NAME",
    roff(`${PROGRAM} - deliver BookMe's events to the endpoints that want them`),
    ".SH SYNOPSIS",
    `.B ${roff(PROGRAM)}`,
    roff("[COMMAND] [options]"),
    ".SH DESCRIPTION",
    roff(
      "Accepts events over HTTP, stores them durably, and delivers each one, signed, to every endpoint " +
        "that selects it. Without a command it runs the daemon with config.yaml in this directory.",
    ),
    ".SH COMMANDS",
    ...commands.flatMap(section),
    ".SH EXIT STATUS",
    ...EXIT_STATUS.flatMap(([code, about]) => entry(code, about)),
    ".SH FILES",
    ...FILES.flatMap(([path, about]) => entry(path, about)),
    ".SH SEE ALSO",
    ".BR systemctl (1),",
    ".BR journalctl (1)",
    "",
  ].join("\n");
}

function section(command: Command): string[] {
  const options = Object.entries<Option>({ ...command.options, help: HELP });
  return [
    `.SS ${roff(command.name)}`,
    roff(`${command.summary}.`),
    ".PP",
    roff(usageLine(command)),
    ".PP",
    roff(command.about.replaceAll("\n", " ")),
    ".PP",
    "Options:",
    ...options.flatMap(([name, option]) => entry(optionTitle(name, option), aboutOption(option))),
    ".PP",
    "Examples:",
    ".PP",
    ".nf",
    ".RS",
    ...command.examples.flatMap(([line, does]) => [roff(`# ${does}`), roff(line)]),
    ".RE",
    ".fi",
  ];
}

function optionTitle(name: string, { type, short, value }: Option): string {
  const both = short === undefined ? `--${name}` : `-${short}, --${name}`;
  return type === "boolean" ? both : `${both} ${value ?? "TEXT"}`;
}

function aboutOption({ about, default: preset }: Option): string {
  return preset === undefined ? `${about}.` : `${about} (default: ${preset}).`;
}

function entry(title: string, about: string): string[] {
  return [".TP", `.B ${roff(title)}`, roff(about)];
}

/** Text of one line, with nothing that roff would read as its own. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}
