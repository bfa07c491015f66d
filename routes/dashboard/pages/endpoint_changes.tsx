import type * as shown from "../../../lib/admin/shown.ts";
import {
  Actions,
  type ButtonKind,
  type Content,
  Form,
  FormMessage,
  FormRow,
  LinkButton,
  Moment,
  Section,
  Submit,
  TextField,
  Verdict,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import type { Visit } from "../visit.ts";
import { nameOf } from "../verdicts/health.ts";
import { many } from "../verdicts/verdict.ts";

/** Small pages that ask once more, each with one form. */

interface Props {
  readonly visit: Visit;
  readonly endpoint: shown.Endpoint;
  readonly state: FormState;
}

function pathOf({ visit, endpoint }: Pick<Props, "visit" | "endpoint">): string {
  return `${visit.house.base}/endpoints/${encodeURIComponent(endpoint.id)}`;
}

/** A headline, what follows in words, and the form. */
function Frame(
  { visit, endpoint, title, words, children }: Pick<Props, "visit" | "endpoint"> & {
    readonly title: string;
    readonly words: Content;
    readonly children: Content;
  },
) {
  return (
    <>
      <Verdict
        tone="calm"
        crumbs={
          <>
            <a href={`${visit.house.base}/endpoints`}>Endpoints</a> ›{" "}
            <a href={pathOf({ visit, endpoint })}>{nameOf(endpoint)}</a>
          </>
        }
        headline={title}
      >
        {words}
      </Verdict>
      <Section>{children}</Section>
    </>
  );
}

function fieldOf({ values, errors }: FormState, name: string, value = "") {
  const error = errors.get(name);
  return {
    name,
    value: values[name]?.join("") ?? value,
    ...(error === undefined ? {} : { error }),
  };
}

function End(
  { label, kind, back }: {
    readonly label: string;
    readonly kind: ButtonKind;
    readonly back: string;
  },
) {
  return (
    <FormRow>
      <Actions>
        <Submit label={label} kind={kind} />
        <LinkButton href={back} label="Back" />
      </Actions>
    </FormRow>
  );
}

/** Asks why an endpoint is paused. */
export function PausePage(props: Props) {
  const { visit, endpoint, state } = props;
  const name = nameOf(endpoint);
  const is_business = visit.house.audience === "business";
  return (
    <Frame
      {...props}
      title={`Pause ${name}`}
      words={
        <>
          {is_business
            ? `Nothing is sent to ${name} until you resume it. News of your bookings waits, and goes out then.`
            : `Nothing is sent to ${name} until it is resumed. New deliveries wait.`}
          {endpoint.pending === 0
            ? null
            : ` ${many(endpoint.pending, "is", "are", endpoint.pending_exact)} waiting now.`}
        </>
      }
    >
      <Form visit={visit} action={`${pathOf(props)}/pause`}>
        <FormMessage state={state} />
        <TextField
          {...fieldOf(state, "reason")}
          label="Reason"
          note="For whoever finds it paused. Optional."
        />
        <End label={`Pause ${name}`} kind="primary" back={pathOf(props)} />
      </Form>
    </Frame>
  );
}

/** Asks for how and when a secret is rotated. */
export function RotatePage(props: Props) {
  const { visit, endpoint, state } = props;
  const name = nameOf(endpoint);
  return (
    <Frame
      {...props}
      title={endpoint.unsigned ? `Make a secret for ${name}` : `Rotate the secret of ${name}`}
      words={
        <>
          {endpoint.unsigned
            ? `Everything sent to ${name} is signed from then on. The secret is shown once, on the next page.`
            : `A new secret is made and shown once, on the next page. It signs X-BookMe-Signature from the moment you ` +
              "choose; the old one stays in webhook-signature until the overlap ends."}
        </>
      }
    >
      <Form visit={visit} action={`${pathOf(props)}/rotate`}>
        <FormMessage state={state} />
        <TextField
          {...fieldOf(state, "activate")}
          label="Active from"
          note="Empty: now. A wait like 2h, or a time like 2026-11-24T10:00:00Z."
          narrow
        />
        {endpoint.unsigned ? null : (
          <TextField
            {...fieldOf(state, "overlap", "24h")}
            label="Overlap"
            note="How long after that the old secret still works, at most 30d."
            narrow
          />
        )}
        <TextField
          {...fieldOf(state, "secret")}
          label="Secret"
          note="Empty: a strong one is made."
          type="password"
          mono
        />
        <End
          label={endpoint.unsigned ? "Make a secret" : "Rotate the secret"}
          kind="primary"
          back={pathOf(props)}
        />
      </Form>
    </Frame>
  );
}

/** Asks until when the old secret works. */
export function OverlapPage({ ends_now, ...props }: Props & { readonly ends_now: boolean }) {
  const { visit, endpoint, state } = props;
  const name = nameOf(endpoint);
  const ends = endpoint.rotation?.overlap_ends_at ?? null;
  return (
    <Frame
      {...props}
      title={ends_now ? `End the overlap of ${name} now` : `Extend the overlap of ${name}`}
      words={
        <>
          {ends === null ? "No rotation is under way." : (
            <>
              The old secret works until <Moment at={ends} style="minute" />.{" "}
            </>
          )}
          {ends_now
            ? `From now on only the new secret signs: if ${name} still checks with the old one, it rejects everything.`
            : "It goes on signing in webhook-signature until the time that you choose."}
        </>
      }
    >
      <Form visit={visit} action={`${pathOf(props)}/overlap`}>
        <FormMessage state={state} />
        {ends_now ? <input type="hidden" name="ends_at" value="now" /> : (
          <TextField
            {...fieldOf(state, "ends_at", "24h")}
            label="Works for another"
            note="From now, like 24h or 7d, at most 30d; or a time like 2026-11-24T10:00:00Z."
            narrow
          />
        )}
        <End
          label={ends_now ? "End the overlap now" : "Extend the overlap"}
          kind={ends_now ? "danger" : "primary"}
          back={pathOf(props)}
        />
      </Form>
    </Frame>
  );
}
