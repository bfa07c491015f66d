import type { StateWords, Tone } from "../verdicts/verdict.ts";
import { State } from "./state.tsx";
import type { Content } from "./text.tsx";

/**
 * The first thing on a page: state and path, one sentence, then cause, consequence and next step, and at most three
 * actions. With `bar`, the first two actions stay at the bottom of a phone's screen.
 */
export function Verdict({ tone, state, crumbs, aside, headline, children, actions, bar = false }: {
  readonly tone: Tone;
  readonly state?: StateWords;
  readonly crumbs?: Content;
  readonly aside?: Content;
  readonly headline: Content;
  readonly children?: Content;
  readonly actions?: Content;
  readonly bar?: boolean;
}) {
  const has_actions = Array.isArray(actions) ? actions.length > 0 : Boolean(actions);
  return (
    <header class={`verdict ${tone}${bar ? " with-bar" : ""}`} id="verdict" data-live="swap">
      <p class="where">
        {state === undefined ? null : <State {...state} />}
        {crumbs === undefined || crumbs === null ? null : <span class="crumbs">{crumbs}</span>}
        {aside === undefined || aside === null ? null : <span>{aside}</span>}
      </p>
      <h1>{headline}</h1>
      {children === undefined || children === null ? null : <div class="prose">{children}</div>}
      {has_actions ? <div class="actions">{actions}</div> : null}
    </header>
  );
}
