import {
  ActionButton,
  type Content,
  LinkButton,
  Moment,
  unbroken,
  Verdict as VerdictBox,
} from "../components/all.ts";
import type { Action, Part, Verdict, Words } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";

/** A sentence in pieces, with times in the reader's zone. */
export function Sentence({ words }: { readonly words: Words }) {
  return <>{words.map(pieceOf)}</>;
}

function pieceOf(part: Part) {
  if (typeof part === "string") return <>{unbroken(part)}</>;
  if ("strong" in part) return <strong>{unbroken(part.strong)}</strong>;
  if ("code" in part) return <code>{part.code}</code>;
  if ("text" in part) return <a href={part.href}>{part.text}</a>;
  return <Moment at={part.at} style={part.style} />;
}

/** A step that may help; the first one of a verdict is the primary one. */
export function ActionStep(
  { visit, action, primary = false }: {
    readonly visit: Visit;
    readonly action: Action;
    readonly primary?: boolean;
  },
) {
  const kind = action.danger ? "danger" : primary ? "primary" : "plain";
  const { label, href } = action;
  return action.method === "get"
    ? <LinkButton href={href} label={label} kind={kind} />
    : (
      <ActionButton
        visit={visit}
        action={href}
        label={label}
        kind={kind}
        fields={action.fields ?? {}}
      />
    );
}

/** Renders the verdict of a page. */
export function VerdictHead(
  { visit, verdict, crumbs, aside, bar = false, is_list = false, has_primary = true }: {
    readonly visit: Visit;
    readonly verdict: Verdict;
    readonly crumbs?: Content;
    readonly aside?: Content;
    /** Whether the first two actions stay at the bottom of a phone's screen. */
    readonly bar?: boolean;
    /** Whether it is about many things: then it has no state of its own. */
    readonly is_list?: boolean;
    /** Whether its first action is the primary one; false where a form of the page has that. */
    readonly has_primary?: boolean;
  },
) {
  const { tone, state, headline, sentences, actions } = verdict;
  return (
    <VerdictBox
      tone={tone}
      {...(is_list ? {} : { state })}
      crumbs={crumbs}
      aside={aside}
      bar={bar}
      headline={<Sentence words={headline} />}
      actions={actions.map((action, index) => (
        <ActionStep visit={visit} action={action} primary={has_primary && index === 0} />
      ))}
    >
      {sentences.length === 0 ? null : (
        <p>
          {sentences.map((words, index) => (
            <>
              {index === 0 ? "" : " "}
              <Sentence words={words} />
            </>
          ))}
        </p>
      )}
    </VerdictBox>
  );
}
