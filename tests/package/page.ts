/** The commands of a page, in the order in which a reader meets them. */

const ROOT = new URL("../../", import.meta.url);

/** A fenced block. */
export interface Block {
  /** The page and the heading above it, `docs/install.md#Upgrading`. */
  readonly place: string;
  readonly language: string;
  readonly text: string;
}

/** The fenced blocks of a page, by its path in the repository. */
export function blocksOf(path: string): Block[] {
  const page = Deno.readTextFileSync(new URL(path, ROOT));
  let heading = "";
  return [...page.matchAll(/^#+ (.+)$|^```(\w+)\n([^]*?)^```$/gm)].flatMap((match) => {
    const [, title, language, text = ""] = match;
    // A comment of a shell looks like a heading, but only within a block, which is matched as a whole.
    if (title !== undefined) heading = title;
    return language === undefined ? [] : [{ place: `${path}#${heading}`, language, text }];
  });
}

/** Hands out blocks one after the other, and knows which nobody asked for. */
export function makeReader(path: string) {
  const left = blocksOf(path);
  return {
    /** The next block of that language below the heading. Throws if there is none. */
    next(heading: string, language = "bash"): Block {
      const at = left.findIndex((block) =>
        block.place === `${path}#${heading}` && block.language === language
      );
      const [block] = at === -1 ? [] : left.splice(at, 1);
      if (block !== undefined) return block;
      throw new Error(`${path} has no ${language} (any more) below "${heading}"`);
    },
    /** Blocks of that language that were not handed out. */
    left: (language: string) => left.filter((block) => block.language === language),
  };
}
