import type { StateWords } from "../verdicts/verdict.ts";

/** A state: its shape and its word. The colour of both repeats what the word says. */
export function State({ kind, word }: StateWords) {
  return (
    <span class={`state ${kind}`}>
      <Shape kind={kind} />
      {word}
    </span>
  );
}

/** The shape of a state alone, next to words that say it. */
export function Shape({ kind }: Pick<StateWords, "kind">) {
  return <i class={`shape ${kind}`} aria-hidden="true"></i>;
}
