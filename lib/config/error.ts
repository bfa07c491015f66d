/** One mistake in the configuration file. */
export interface ConfigMistake {
  /** From 1; 0 where it is about the file as a whole. */
  readonly line: number;
  /** From 1, in UTF-16 units; 0 where `line` is. */
  readonly column: number;
  /** `endpoints[0].url`; empty where no key is meant. */
  readonly path: string;
  /** What is wrong and what to do about it. Never a secret. */
  readonly message: string;
}

/** How many mistakes are looked for: more than anybody mends before the next try. */
export const MAX_MISTAKES = 1000;

/** How many mistakes the message spells out. `mistakes` has all that were found. */
const MAX_SHOWN = 50;

/** Everything that is wrong with a configuration file, in the file's order. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The file, as its reader called it. */
  readonly file: string;
  readonly mistakes: readonly ConfigMistake[];

  constructor(file: string, mistakes: readonly ConfigMistake[]) {
    const sorted = mistakes.toSorted((a, b) => a.line - b.line || a.column - b.column);
    super(render(file, sorted));
    this.file = file;
    this.mistakes = Object.freeze(sorted);
  }
}

/** One line, `config.yaml:12:5: endpoints[0].url: …`. */
export function formatMistake(file: string, mistake: ConfigMistake): string {
  const place = mistake.line === 0 ? file : `${file}:${mistake.line}:${mistake.column}`;
  return mistake.path === ""
    ? `${place}: ${mistake.message}`
    : `${place}: ${mistake.path}: ${mistake.message}`;
}

function render(file: string, mistakes: readonly ConfigMistake[]): string {
  const lines = mistakes.slice(0, MAX_SHOWN).map((mistake) => formatMistake(file, mistake));
  const more = mistakes.length - lines.length;
  return (more > 0 ? [...lines, `${file}: and ${more} more`] : lines).join("\n");
}
