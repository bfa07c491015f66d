/** Reads the shell commands of the documentation. */

const ROOT = new URL("../../", import.meta.url);

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** The heading above it, without `#`. */
  readonly heading: string;
  readonly language: string;
  readonly text: string;
}

/** Every page: those at the top, of `docs`, and of the bench. */
export function pages(): readonly string[] {
  const within = (folder: string): string[] =>
    [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory, isFile }) =>
      isDirectory && folder !== "./"
        ? within(`${folder}${name}/`)
        : isFile && name.endsWith(".md")
        ? [`${folder}${name}`.replace(/^\.\//, "")]
        : []
    );
  return [...within("./"), ...within("docs/"), "bench/README.md"].toSorted();
}

/** The text of a page. */
export function textOf(page: string): string {
  return Deno.readTextFileSync(new URL(page, ROOT));
}

/** The fenced blocks of a page, in their order. */
export function blocksOf(page: string): readonly Block[] {
  const found: Block[] = [];
  let heading = "";
  for (
    const [, title, language, text] of textOf(page).matchAll(
      /^#+ (.+)$|^ *```(\w*)\n([\s\S]*?)^ *```$/gm,
    )
  ) {
    if (title !== undefined) heading = title;
    else found.push({ page, heading, language: language ?? "", text: text ?? "" });
  }
  return found;
}

/** The commands of a shell text, each with its continuation lines, without comments. */
export function commandsOf(text: string): readonly string[] {
  const commands: string[] = [];
  let command = "";
  let quote = "";
  let is_comment = false;
  for (const [token] of text.matchAll(/\\[\s\S]|[\s\S]/g)) {
    if (is_comment && token !== "\n") continue;
    is_comment = quote === "" && token === "#" && !/\S$/.test(command);
    if (is_comment) continue;
    if (token === "\n" && quote === "") {
      commands.push(command);
      command = "";
      continue;
    }
    if (token === "'" || token === '"') {
      if (quote === "") quote = token;
      else if (quote === token) quote = "";
    }
    command += token;
  }
  return [...commands, command].map((one) => one.trim()).filter((one) => one !== "");
}

/**
 * The arguments of each call of `program` in a command: after variables, `$(`, a pipe or another command. Words
 * are without their quotes.
 */
export function callsOf(command: string, program: string): readonly (readonly string[])[] {
  const calls: string[][] = [];
  let begins = true;
  let call: string[] | undefined;
  for (const word of wordsOf(command)) {
    if (/^(?:[|&;()]+|\$\()$/.test(word)) {
      [begins, call] = [true, undefined];
    } else if (/^\d?[<>]/.test(word)) {
      call = undefined;
    } else if (call !== undefined) {
      call.push(word);
    } else if (begins && /^\w+=/.test(word)) {
      continue;
    } else {
      if (begins && word === program) calls.push(call = []);
      begins = false;
    }
  }
  return calls;
}

function wordsOf(command: string): readonly string[] {
  const spaced = command.replace(/\\\n/g, " ");
  const token =
    /"\$\(|\$\(|\)"|[|&;()]+|\d?[<>]+[&\d]*|(?:'[^']*'|"(?:[^"\\$]|\\.|\$(?!\())*"|\\.|[^\s|&;()<>'"])+/g;
  return [...spaced.matchAll(token)].map(([word]) => {
    if (word === '"$(') return "$(";
    if (word === ')"') return ")";
    return /^['"]|=['"]/.test(word) ? word.replace(/["']/g, "") : word;
  });
}
