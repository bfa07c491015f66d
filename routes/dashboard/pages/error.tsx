import type { JSX } from "hono/jsx/jsx-runtime";
import { titleOf } from "../../../lib/core/problem.ts";
import { LinkButton, Verdict } from "../components/all.ts";
import type { House } from "../visit.ts";

/** Says what went wrong and leads back. */
export function ErrorPage(
  { house, status, detail, is_inside }: {
    readonly house: House;
    readonly status: number;
    readonly detail: string;
    /** Whether the visitor is signed in. */
    readonly is_inside: boolean;
  },
): JSX.Element {
  return (
    <Verdict
      tone={status >= 500 ? "failing" : "calm"}
      crumbs={`${status} ${titleOf(status)}`}
      headline={HEADLINES[status] ?? "This cannot be done"}
      actions={is_inside || status === 404
        ? <LinkButton href={house.base} label="Overview" />
        : <LinkButton href={house.base} label="Try again" />}
    >
      <p>{asSentence(detail)}</p>
    </Verdict>
  );
}

const HEADLINES: Readonly<Record<number, string>> = {
  400: "This request is not complete",
  403: "This is not allowed",
  404: "Nothing is here",
  405: "This address takes no such request",
  409: "This cannot be done now",
  413: "This is too much at once",
  415: "This is not a form of these pages",
  421: "This address belongs to something else",
  429: "This is too often",
  500: "Something broke in the daemon",
  503: "This cannot be done now",
};

function asSentence(detail: string): string {
  return /[.!?]$/.test(detail) ? detail : `${detail}.`;
}
