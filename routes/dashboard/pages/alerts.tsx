import type { AlertInWords, ContactShown } from "../../../lib/admin/alerts.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { headline, particulars } from "../../../lib/core/alerting/words.ts";
import {
  ActionButton,
  Actions,
  Code,
  Empty,
  Form,
  FormMessage,
  FormRow,
  Moment,
  Notice,
  Pager,
  Rows,
  Section,
  Select,
  SelectField,
  Submit,
  TextField,
  TimedText,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { nameOf } from "../verdicts/health.ts";
import { actorWords } from "../verdicts/changes.ts";
import { number, together, told, type Verdict } from "../verdicts/verdict.ts";
import type { Audience, Visit } from "../visit.ts";
import { VerdictHead } from "./verdict.tsx";

const HOUR_MS = 3_600_000;

/** For how long an alert can be kept quiet here. */
export const SNOOZES = [
  { value: "1h", label: "1 hour", ms: HOUR_MS },
  { value: "8h", label: "8 hours", ms: 8 * HOUR_MS },
  { value: "1d", label: "1 day", ms: 24 * HOUR_MS },
] as const;

/** Content of the page of alerts. */
export interface AlertsPageProps {
  readonly visit: Visit;
  /** The worst first. */
  readonly open: readonly AlertInWords[];
  /** Whether there are no more. */
  readonly is_all: boolean;
  readonly ended: shown.Page<AlertInWords>;
  /** Names of those who get alerts; none in a portal. */
  readonly targets: readonly string[];
  /** Where a business wants its own; null for operators. */
  readonly contact: ContactShown & { readonly endpoints: readonly shown.Endpoint[] } | null;
  readonly state: FormState;
  /** Id of the alert whose form was refused; null for another form, or none. */
  readonly refused: string | null;
  readonly note: string | null;
  /** Whether the latest that ended are shown. */
  readonly is_first: boolean;
}

/** Conditions that are announced when they begin and when they end. */
export function AlertsPage(props: AlertsPageProps) {
  const { visit, open, note, contact, state, refused } = props;
  return (
    <>
      <VerdictHead visit={visit} verdict={verdictOf(props)} crumbs="Alerts" />
      {note === null ? null : <Notice>{note}</Notice>}
      {contact === null ? <FormMessage state={state} /> : null}
      {open.length === 0 ? null : (
        <Section title="Open" id="open" live="swap">
          {open.map((one) => (
            <OpenAlert
              visit={visit}
              one={one}
              error={one.alert.id === refused ? state.errors.get("for") : undefined}
            />
          ))}
        </Section>
      )}
      {contact === null
        ? <Targets {...props} />
        : <Contact visit={visit} state={state} contact={contact} />}
      <History {...props} />
    </>
  );
}

function verdictOf({ visit, open, is_all }: AlertsPageProps): Verdict {
  const { audience } = visit.house;
  const [worst, ...others] = open;
  if (worst === undefined) {
    return {
      tone: "calm",
      state: { kind: "delivered", word: "Quiet" },
      headline: ["No alert is open"],
      sentences: [[
        audience === "operator"
          ? "An alert begins once something has gone wrong for a while, and ends by itself."
          : "An alert begins once one of your systems has not answered for a while, and ends by itself.",
      ]],
      actions: [],
    };
  }
  const count = number(open.length, is_all);
  return {
    ...(worst.is_quiet
      ? { tone: "waiting", state: { kind: "waiting", word: `${count} open, quiet` } }
      : { tone: "failing", state: { kind: "failed", word: `${count} open` } }),
    headline: told(headline(worst.spoken, audience), "minute"),
    sentences: others.length === 0 ? [] : [[
      others.length === 1
        ? "One more alert is open."
        : `${number(others.length, is_all)} more alerts are open.`,
    ]],
    actions: [],
  };
}

function OpenAlert({ visit, one, error }: {
  readonly visit: Visit;
  readonly one: AlertInWords;
  /** A mistake in the time to snooze. */
  readonly error: string | undefined;
}) {
  const { alert, spoken } = one;
  const { audience, base } = visit.house;
  const { acknowledged_by, snoozed_until } = alert;
  const is_quiet = snoozed_until !== null && Date.parse(snoozed_until) > visit.now;
  const at = `${base}/alerts/${alert.id}`;
  return (
    <article class="alert" id={alert.id}>
      <h3>
        <TimedText text={headline(spoken, audience)} />
      </h3>
      {particulars(spoken, audience).map((text) => (
        <p>
          <TimedText text={text} />.
        </p>
      ))}
      <p class="note">
        Noticed <Moment at={alert.opened_at} style="minute" />
        {acknowledged_by === null
          ? null
          : `; ${actorWords(acknowledged_by, audience)} looks after it`}
        {is_quiet
          ? (
            <>
              ; quiet until <Moment at={snoozed_until} style="minute" />
            </>
          )
          : null}
        {toldTo(alert, audience)}.
      </p>
      <Actions>
        {alert.endpoint_id === null ? null : (
          <a
            class="button plain"
            href={`${base}/endpoints/${encodeURIComponent(alert.endpoint_id)}`}
          >
            Open {spoken.endpoint?.description ?? alert.endpoint_id}
          </a>
        )}
        {alert.example_delivery_id === null
          ? null
          : (
            <a class="button plain" href={`${base}/deliveries/${alert.example_delivery_id}`}>
              See an example
            </a>
          )}
        {audience === "business" || !visit.may_write ? null : (
          <>
            {acknowledged_by === null
              ? <ActionButton visit={visit} action={`${at}/acknowledge`} label="Acknowledge" />
              : null}
            <Form visit={visit} action={`${at}/snooze`} inline>
              <Select
                name="for"
                label="Quiet for"
                options={SNOOZES}
                value="1h"
                aria-describedby={error === undefined ? undefined : `${alert.id}-error`}
                aria-invalid={error === undefined ? undefined : "true"}
              />
              <Submit label="Snooze" kind="plain" />
              {error === undefined ? null : <p class="error" id={`${alert.id}-error`}>{error}</p>}
            </Form>
          </>
        )}
      </Actions>
    </article>
  );
}

/** To whom it went, the latest announcement only. */
function toldTo({ notices }: shown.Alert, audience: Audience): string {
  const [latest] = notices;
  if (latest === undefined) return "";
  const same = notices.filter(({ what }) => what === latest.what);
  const names = (which: (notice: shown.Alert["notices"][number]) => boolean) =>
    same.filter(which).map(({ target }) => targetWords(target, audience));
  const parts = [
    ["announced", names(({ ok }) => ok === true)],
    ["not yet", names(({ ok, cause }) => ok === null && cause !== null)],
    ["not announced", names(({ ok }) => ok === false)],
  ] as const;
  return parts.filter(([, to]) => to.length > 0)
    .map(([verb, to]) => `; ${verb} to ${together(to)}`).join("");
}

/** Somebody who gets alerts, in words. */
function targetWords(target: string, audience: Audience): string {
  if (target !== "business-mail") return target;
  return audience === "business" ? "your mail address" : "its business by mail";
}

function Targets({ visit, targets }: AlertsPageProps) {
  return (
    <Section
      title="Who gets them"
      id="targets"
      aside={targets.length === 0 ? null : (
        <ActionButton
          visit={visit}
          action={`${visit.house.base}/alerts/test`}
          label="Send a test"
        />
      )}
    >
      {targets.length === 0
        ? (
          <>
            <Empty cause="Nobody but this page and the log">
              Name a channel, a mail address or an endpoint in the configuration, and reload it:
            </Empty>
            <Code
              text={`alerts:\n  chat: [{ kind: slack, url: env:SLACK_URL }]\n  to: [ops-alerts]`}
            />
          </>
        )
        : <p>{targets.join(", ")}</p>}
    </Section>
  );
}

function Contact({ visit, state, contact }: {
  readonly visit: Visit;
  readonly state: FormState;
  readonly contact: NonNullable<AlertsPageProps["contact"]>;
}) {
  const { endpoints, can_mail } = contact;
  const typed = (name: string, stored: string | null) => state.values[name]?.[0] ?? stored ?? "";
  if (!visit.may_write) return null;
  return (
    <Section title="Where they go" id="contact">
      <Form visit={visit} action={`${visit.house.base}/alerts/contact`}>
        <FormMessage state={state} />
        <SelectField
          name="endpoint"
          label="Endpoint"
          options={[
            { value: "", label: "None" },
            ...endpoints.map((one) => ({ value: one.id, label: nameOf(one) })),
          ]}
          value={typed("endpoint", contact.endpoint)}
          error={state.errors.get("endpoint")}
          note="It gets an event for each alert about your other systems, never about itself."
        />
        {can_mail
          ? (
            <TextField
              name="mail"
              label="Mail address"
              value={typed("mail", contact.mail)}
              error={state.errors.get("mail")}
              note="Empty: no mail."
            />
          )
          : null}
        <FormRow>
          <Submit label="Save" />
          {can_mail ? null : <p class="note">BookMe has not set up mail here.</p>}
        </FormRow>
      </Form>
    </Section>
  );
}

function History({ visit, ended, is_first }: AlertsPageProps) {
  const { base, audience } = visit.house;
  if (ended.data.length === 0 && is_first) return null;
  return (
    <Section title="Ended" id="ended">
      <Rows
        label="Alerts that ended"
        rows={ended.data}
        id={({ alert }) => alert.id}
        columns={[
          {
            name: "what",
            label: "Alert",
            phone: "subject",
            wrap: true,
            cell: ({ spoken }) => <TimedText text={headline(spoken, audience)} />,
          },
          {
            name: "began",
            label: "Began",
            align: "right",
            cell: ({ alert }) => <Moment at={alert.began_at} style="minute" />,
          },
          {
            name: "ended",
            label: "Ended",
            phone: "time",
            align: "right",
            cell: ({ alert }) => <Moment at={alert.ended_at ?? alert.opened_at} style="minute" />,
          },
        ]}
      />
      <Pager
        older_href={ended.next_cursor === null
          ? null
          : `${base}/alerts?cursor=${ended.next_cursor}`}
        newest_href={is_first ? null : `${base}/alerts`}
      />
    </Section>
  );
}
