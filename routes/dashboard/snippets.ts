import guide from "../../docs/receivers.md" with { type: "text" };

/** How to verify a signature in one language. */
export interface Snippet {
  /** `Node` */
  readonly language: string;
  readonly code: string;
}

/** The snippets of docs/receivers.md, which the tests run: what pages show is what was tested. */
export const SNIPPETS: readonly Snippet[] = snippetsOf(guide);

/** The fenced code under "Verifying a signature", each after a line that names its language. */
export function snippetsOf(markdown: string): Snippet[] {
  const [, section = ""] = /\n## Verifying a signature\n(.*?)\n## /s.exec(markdown) ?? [];
  return [...section.matchAll(/\n\n([A-Z]\w*)\n\n```\w+\n(.*?)\n```/gs)].map((
    [, language = "", code = ""],
  ) => ({ language, code }));
}
