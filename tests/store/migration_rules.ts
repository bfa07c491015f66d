/** The rules of migrations from the first release on, as far as a reader of SQL can judge them. */

import { createHash } from "node:crypto";

/** A file of `migrations/`, by its name without `.sql`. */
export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/** The file `migrations/released.json`: of each version, oldest first, SHA-256 of its migrations by name. */
export type Released = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** SHA-256 of a migration's bytes, in hexadecimal digits. */
export function digestOf(sql: string): string {
  return createHash("sha256").update(sql).digest("hex");
}

/** Sentences about migrations that were released and are not what they were, in the order of releases. */
export function changedMistakes(
  migrations: readonly Migration[],
  released: Released,
): readonly string[] {
  return Object.entries(released).flatMap(([version, digests]) =>
    Object.entries(digests).flatMap(([name, digest], index) => {
      const found = migrations[index];
      if (found?.name !== name) {
        return [`${name} is number ${index + 1} of release ${version}, and not of this program`];
      }
      return digestOf(found.sql) === digest
        ? []
        : [`${name} was released with ${version} and has changed; add a new migration instead`];
    })
  );
}

/** Sentences about migrations whose numbers leave a gap, in the order of the files. */
export function numberMistakes(migrations: readonly Migration[]): readonly string[] {
  return migrations.flatMap(({ name }, index) =>
    new RegExp(`^${String(index + 1).padStart(4, "0")}_[a-z][a-z0-9_]*$`).test(name)
      ? []
      : [`${name} must begin with ${String(index + 1).padStart(4, "0")}_`]
  );
}

/**
 * Sentences about statements that a released program, which still delivers while a migration runs and after
 * it, may not survive. Judged are migrations after those of the first release. A statement that takes
 * something away is allowed below a comment `-- Unread since VERSION`, if that version was released: programs
 * from then on do without it. One that goes over a table needs `-- Holds up writers`, and a word about it in
 * docs/upgrade.md.
 */
export function additiveMistakes(
  migrations: readonly Migration[],
  released: Released,
): readonly string[] {
  const [first] = Object.values(released);
  const later = migrations.slice(first === undefined ? 1 : Object.keys(first).length);
  return later.flatMap(({ name, sql }) => {
    const made = new Set<string>();
    return statementsOf(sql).flatMap(({ text, comment }) => {
      const [, table] = /^create (?:unlogged )?table (?:if not exists )?([\w."]+)/.exec(text) ?? [];
      if (table !== undefined) made.add(table);
      const harm = harmOf(text);
      if (harm === undefined || made.has(tableOf(text))) return [];
      const [, since] = /^unread since (\d+\.\d+\.\d+)/im.exec(comment) ?? [];
      if (since !== undefined && Object.hasOwn(released, since)) return [];
      if (harm === HOLDS_UP && /^holds up writers\b/im.test(comment)) return [];
      return [`${name}: ${show(text)}: ${harm}`];
    });
  });
}

const TAKES_AWAY = "takes away what an older daemon may use";
const RENAMES = "renames or moves what an older daemon may use";
const REFUSES = "may refuse rows that an older daemon writes";
const HOLDS_UP = "holds up older daemons while it goes over a table";

/** What to look for at the beginning of a statement in lower case, and what it does to an older daemon. */
const STATEMENTS: readonly (readonly [RegExp, string])[] = [
  [/^drop /, TAKES_AWAY],
  [/^(?:truncate|delete from) /, "removes rows that an older daemon may need"],
  [/^alter (?!table ).*\brename\b/, RENAMES],
  [/^alter .*\bset schema\b/, RENAMES],
  [/^create unique index /, REFUSES],
  [/^create index /, HOLDS_UP],
  [/^(?:lock|cluster|reindex|vacuum)\b/, HOLDS_UP],
];

/** The same for each action of an `alter table`. */
const ACTIONS: readonly (readonly [RegExp, string])[] = [
  [/^rename /, RENAMES],
  [/^drop /, TAKES_AWAY],
  [/^alter .* drop not null$/, "lets in nulls that an older daemon does not expect"],
  [/^alter .* drop /, TAKES_AWAY],
  [/^alter .* type /, "rewrites the table, and changes what an older daemon reads"],
  [/^alter .* set not null$/, REFUSES],
  [/^add .*\bgenerated always as \(/, HOLDS_UP],
  [/^add (?:constraint|check|unique|primary key|foreign key|exclude)\b/, REFUSES],
  [/^add (?!.*\b(?:default|generated)\b).*\b(?:not null|primary key)\b/, REFUSES],
  [/^(?:attach|detach) partition /, "moves rows that an older daemon uses"],
];

/** What a statement does to an older daemon that it may not survive; undefined if nothing. */
function harmOf(text: string): string | undefined {
  const [, actions] = /^alter table (?:if exists )?(?:only )?[\w."]+ (.*)$/.exec(text) ?? [];
  const whole = STATEMENTS.find(([form]) => form.test(text));
  if (whole !== undefined) return whole[1];
  for (const action of splitActions(actions ?? "")) {
    const part = ACTIONS.find(([form]) => form.test(action));
    if (part !== undefined) return part[1];
  }
  return undefined;
}

/** Parts of a text between commas that are in no brackets. */
function splitActions(text: string): readonly string[] {
  let depth = 0;
  const parts = [""];
  for (const letter of text) {
    if (letter === "(") depth++;
    if (letter === ")") depth--;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}

/** The table that a statement is about; empty if it names none. */
function tableOf(text: string): string {
  const [, altered] = /^alter table (?:if exists )?(?:only )?([\w."]+)/.exec(text) ?? [];
  const [, indexed] = /^create (?:unique )?index .*?\bon (?:only )?([\w."]+)/.exec(text) ?? [];
  return altered ?? indexed ?? "";
}

interface Statement {
  /** In lower case, without comments; white space is one space, and quoted texts are empty. */
  readonly text: string;
  /** The comments in it and right before it. */
  readonly comment: string;
}

const TOKEN = new RegExp(
  [
    /--([^\n]*)/,
    /\/\*([^]*?)\*\//,
    /\$(?<tag>\w*)\$[^]*?\$\k<tag>\$/,
    /'(?:[^']|'')*'/,
    /"[^"]*"/,
    /[^]/,
  ].map(({ source }) => source).join("|"),
  "g",
);

/** The statements of a migration, in their order. */
export function statementsOf(sql: string): readonly Statement[] {
  const statements: Statement[] = [];
  let text = "";
  let comment = "";
  const end = () => {
    const tidy = text.replace(/\s+/g, " ").trim().toLowerCase();
    if (tidy !== "") statements.push({ text: tidy, comment });
    [text, comment] = ["", ""];
  };
  for (const [token, line, block] of sql.matchAll(TOKEN)) {
    if (line !== undefined || block !== undefined) comment += `${(line ?? block ?? "").trim()}\n`;
    else if (token === ";") end();
    else if (token.startsWith("'") && token.length > 1) text += "''";
    else if (token.startsWith("$") && token.length > 1) text += "$$ $$";
    else text += token;
  }
  end();
  return statements;
}

function show(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
