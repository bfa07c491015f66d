/** One mistake in the configuration file. */
export interface ConfigMistake {
  /** From 1; 0 for a mistake of the file as a whole. */
  readonly line: number;
  /** From 1, in UTF-16 units; 0 if `line` is 0. */
  readonly column: number;
  /** `endpoints[0].url`; empty for the file as a whole. */
  readonly path: string;
  /** The mistake and its remedy. Never contains a secret. */
  readonly message: string;
}

/** Most mistakes that are collected: more than anybody fixes before the next try. */
export const MAX_MISTAKES = 1000;

/** Most mistakes that the message lists. */
const MAX_SHOWN = 50;

/** The mistakes in a configuration file, in the file's order. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** Path of the file, as given. */
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
