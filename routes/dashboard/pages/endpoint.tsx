import type { HealthBar } from "../../../lib/admin/health.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { capitalised } from "../../../lib/core/words.ts";
import {
  Actions,
  AttemptLegend,
  Bars,
  Chart,
  Danger,
  Figures,
  Form,
  FormMessage,
  FormRow,
  LinkButton,
  Moment,
  Notice,
  Once,
  Pins,
  Section,
  State,
  Submit,
  TextField,
  TimedText,
  Url,
} from "../components/all.ts";
import type { FormState, Note } from "../forms.ts";
import type { Visit } from "../visit.ts";
import { type EndpointPageFacts, endpointVerdict, milliseconds } from "../verdicts/endpoint.ts";
import { nameOf } from "../verdicts/health.ts";
import { button, link, many, number, type Verdict } from "../verdicts/verdict.ts";
import { chartBars, endpointPath } from "./endpoints.tsx";
import { SettingsFacts, SettingsForm, type SettingsProps } from "./endpoint_settings.tsx";
import { ActionStep, VerdictHead } from "./verdict.tsx";

/** A change of the endpoint on the axis of its health. */
export interface Pin {
  readonly at: string;
  readonly who: string;
  readonly text: string;
  /** The first failure of the present run, if it followed this change. */
  readonly failed_at: string | null;
  /** If it is an alert, which may have begun before the axis does; `ended_at` is null while it is open. */
  readonly alert: { readonly began_at: string; readonly ended_at: string | null } | null;
}

/** Content of an endpoint's page. */
export interface EndpointPageProps {
  readonly visit: Visit;
  readonly facts: EndpointPageFacts;
  /** Of the last 72 hours. */
  readonly bars: readonly HealthBar[];
  /** Oldest first. */
  readonly pins: readonly Pin[];
  readonly note: Note | null;
  /** Whether the note says why a button was refused. */
  readonly is_refused: boolean;
  readonly check: shown.EndpointCheck | null;
  readonly settings: FormState;
  readonly removal: FormState;
  readonly types: SettingsProps["types"];
  readonly defaults: SettingsProps["defaults"];
  /** Where the configuration file has it; null if it is not in this daemon's. */
  readonly place: { readonly file: string; readonly line: number } | null;
  /** How long what was sent is kept. */
  readonly kept_days: number;
}

/** One endpoint: how it does, its changes, and its settings. */
export function EndpointPage(props: EndpointPageProps) {
  const { visit, facts, note, check } = props;
  const { endpoint } = facts;
  const base = `${visit.house.base}/endpoints`;
  const may_edit = visit.may_write && endpoint.source === "api" && endpoint.state !== "retired";
  const verdict = note?.values?.secret === undefined
    ? endpointVerdict(facts, visit)
    : withTestFirst(endpointVerdict(facts, visit), endpoint, visit);
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={verdict}
        crumbs={
          <>
            <a href={base}>Endpoints</a> › {nameOf(endpoint)}
          </>
        }
        aside={
          <code>
            <Url text={endpoint.url} />
          </code>
        }
      />
      <Refusals {...props} />
      {note === null ? null : (
        <NoteShown
          note={note}
          endpoint={endpoint}
          tone={props.is_refused ? "failing" : "calm"}
        />
      )}
      <LastLook asked={check} endpoint={endpoint} />
      <Health {...props} />
      <Numbers {...props} />
      <MoreActions visit={visit} endpoint={endpoint} verdict={verdict} />
      <SecretSection visit={visit} endpoint={endpoint} />
      <Settings {...props} may_edit={may_edit} />
      {may_edit ? <Removal {...props} /> : null}
    </>
  );
}

/** Leads to a form further down that was refused. */
function Refusals({ settings, removal }: EndpointPageProps) {
  const isWrong = ({ message, errors }: FormState) => message !== null || errors.size > 0;
  if (isWrong(settings)) {
    return (
      <Notice tone="failing">
        Nothing was saved. <a href="#settings">See the settings</a> for the reason.
      </Notice>
    );
  }
  return isWrong(removal)
    ? (
      <Notice tone="failing">
        Nothing was deleted. <a href="#f-name">See the field</a> for the reason.
      </Notice>
    )
    : null;
}

/** Steps that the verdict has no room for. */
function MoreActions(
  { visit, endpoint, verdict }: {
    readonly visit: Visit;
    readonly endpoint: shown.Endpoint;
    readonly verdict: Verdict;
  },
) {
  if (!visit.may_write || endpoint.state === "retired") return null;
  const at = endpointPath(visit, endpoint.id);
  const more = [
    button("Check the connection", `${at}/check`),
    ...(endpoint.paused ? [] : [link("Pause…", `${at}/pause`)]),
  ].filter(({ href }) => !verdict.actions.some((action) => action.href === href));
  if (more.length === 0) return null;
  return <Actions>{more.map((action) => ActionStep({ visit, action }))}</Actions>;
}

/** After a new secret, the step most likely to help is a test with it. */
function withTestFirst(verdict: Verdict, { id }: shown.Endpoint, visit: Visit): Verdict {
  const href = `${visit.house.base}/test?endpoint=${encodeURIComponent(id)}`;
  const rest = verdict.actions.filter((action) => action.href !== href);
  return { ...verdict, actions: [link("Send a test", href), ...rest].slice(0, 3) };
}

function NoteShown({ note, endpoint, tone }: {
  readonly note: Note;
  readonly endpoint: shown.Endpoint;
  readonly tone: "calm" | "failing";
}) {
  const secret = note.values?.secret;
  return (
    <Notice tone={tone}>
      <p>{note.text}</p>
      {secret === undefined ? null : (
        <Once
          label="New secret"
          value={secret}
          note={`Shown this once. Store it at ${
            nameOf(endpoint)
          } now, which checks signatures with it.`}
        />
      )}
    </Notice>
  );
}

const MARKS = {
  "✓": { kind: "delivered", word: "Good" },
  "!": { kind: "waiting", word: "Worth a look" },
  "✗": { kind: "failed", word: "Fault" },
} as const;

/** The look at the connection that was just asked for; else the last one, if it found a fault. */
function LastLook({ asked, endpoint }: {
  readonly asked: shown.EndpointCheck | null;
  readonly endpoint: shown.Endpoint;
}) {
  if (asked !== null) return <Findings {...asked} since={null} />;
  const { check } = endpoint;
  if (check === null || check.ok || endpoint.state === "retired") return null;
  return <Findings {...check} certificate={null} since={check.failing_since} />;
}

/** Findings of a look at the connection, with remedies. */
function Findings({ ok, findings, certificate, since }:
  & Pick<shown.EndpointCheck, "ok" | "findings" | "certificate">
  & { readonly since: string | null }) {
  return (
    <Section title={ok ? "The connection is good" : "The connection has a fault"} id="check">
      {since === null ? null : (
        <p class="note">
          So since <Moment at={since} style="minute" />. It is looked at once an hour.
        </p>
      )}
      <ul class="findings">
        {findings.map(({ mark, text, remedy }) => (
          <li>
            <State {...MARKS[mark]} />
            <div>
              {capitalised(text)}.
              {remedy === null ? null : <p class="note">{capitalised(remedy)}.</p>}
            </div>
          </li>
        ))}
      </ul>
      {certificate === null ? null : (
        <p class="note">
          Its certificate is for {certificate.names.slice(0, 5).join(", ")}, from{" "}
          {certificate.issuer}
          , good until <Moment at={certificate.valid_to} style="date" />.
        </p>
      )}
    </Section>
  );
}

function Health(props: EndpointPageProps) {
  const { bars, pins } = props;
  return (
    <Section
      title="Health and changes, last 72 hours"
      id="health"
      live="swap"
      aside={<AttemptLegend />}
    >
      <Chart
        bars={chartBars(bars)}
        pins={pins.map(({ at }) => ({ at }))}
        top_label="in an hour"
        unit="attempts"
        label="Attempts of the last 72 hours by outcome, with changes of the endpoint"
      />
      {pins.length === 0 ? <p class="note">No changes in this time.</p> : (
        <Pins
          items={pins.map(({ at, who, text, failed_at, alert }) => ({
            text: (
              <>
                <strong>{who}</strong> <TimedText text={text} />
              </>
            ),
            note: alert !== null ? <Lasted {...alert} /> : (
              <>
                <Moment at={at} style="minute" />
                {failed_at === null ? null : (
                  <>
                    . {firstFailure(props)} <Moment at={failed_at} style="minute" />.
                  </>
                )}
              </>
            ),
          }))}
        />
      )}
    </Section>
  );
}

/** From when to when an alert was open. */
function Lasted({ began_at, ended_at }: NonNullable<Pin["alert"]>) {
  return (
    <>
      Began <Moment at={began_at} style="minute" />; {ended_at === null ? "still open" : (
        <>
          ended <Moment at={ended_at} style="minute" />
        </>
      )}
    </>
  );
}

/** `First 401 at`; a business reads of failures where there is no status. */
function firstFailure({ visit, facts: { last_failure } }: EndpointPageProps): string {
  const reason = visit.house.audience === "operator" ? last_failure?.outcome : undefined;
  return `First ${last_failure?.status ?? reason ?? "failure"} at`;
}

function Numbers({ visit, facts }: EndpointPageProps) {
  const { endpoint, certificate_ends_at } = facts;
  const { last_success_at, duration_ms: { p50, p95 } } = endpoint;
  const days = certificate_ends_at === null
    ? null
    : Math.floor((Date.parse(certificate_ends_at) - visit.now) / 86_400_000);
  const is_plain = endpoint.url.startsWith("http:");
  return (
    <Figures
      id="figures"
      live="swap"
      items={[
        {
          label: "Last delivered",
          value: last_success_at === null
            ? "Never"
            : <Moment at={last_success_at} style="relative" />,
          ...(last_success_at === null
            ? {}
            : { note: <Moment at={last_success_at} style="minute" /> }),
        },
        {
          label: "Response time, last hour",
          value: p50 === null ? "–" : milliseconds(p50),
          note: p95 === null ? "nothing sent" : `median; p95 ${milliseconds(p95)}`,
        },
        {
          label: "Waiting",
          value: number(endpoint.pending, endpoint.pending_exact),
          note: endpoint.state === "paused"
            ? "until it is resumed"
            : endpoint.overdue === 0
            ? "none overdue"
            : `${number(endpoint.overdue, endpoint.pending_exact)} overdue`,
        },
        {
          label: "Certificate",
          value: is_plain
            ? "No TLS"
            : days === null
            ? "–"
            : days < 0
            ? "Expired"
            : many(days, "day", "days"),
          note: is_plain ? "plain http" : certificate_ends_at === null ? "not seen yet" : (
            <>
              until <Moment at={certificate_ends_at} style="date" />
            </>
          ),
        },
      ]}
    />
  );
}

// --- secret ------------------------------------------------------------------------------------------------

function SecretSection(
  { visit, endpoint }: { readonly visit: Visit; readonly endpoint: shown.Endpoint },
) {
  if (endpoint.state === "retired") return null;
  const { rotation, source, unsigned } = endpoint;
  const at = `${visit.house.base}/endpoints/${encodeURIComponent(endpoint.id)}`;
  const may = visit.may_write && source === "api";
  // `updated_at` is no answer: a pause moves it as well.
  const since = rotation?.activates_at ?? (endpoint.version === 1 ? endpoint.created_at : null);
  return (
    <Section
      title="Secret"
      id="secret"
      aside={
        <>
          Version {endpoint.version}
          {since === null ? null : (
            <>
              , since <Moment at={since} style="minute" />
            </>
          )}
        </>
      }
    >
      {unsigned
        ? <p>Nothing is signed: the receiver cannot check where it comes from.</p>
        : rotation === null
        ? <p>One secret signs everything that is sent there. It is never shown again.</p>
        : <Overlap endpoint={endpoint} now={visit.now} />}
      {source === "file" && visit.house.audience === "operator"
        ? (
          <p class="note">
            The secret belongs to the configuration file; for a rotation, write{" "}
            <code>secret: [new, old]</code> there and reload.
          </p>
        )
        : null}
      {may
        ? (
          <Actions>
            <LinkButton
              href={`${at}/rotate`}
              label={unsigned ? "Make a secret…" : rotation === null ? "Rotate…" : "Rotate again…"}
            />
            {rotation?.overlap_ends_at == null ? null : (
              <>
                <LinkButton href={`${at}/overlap`} label="Extend the overlap…" />
                <LinkButton
                  href={`${at}/overlap?end=now`}
                  label="End the overlap now…"
                  kind="danger"
                />
              </>
            )}
          </Actions>
        )
        : null}
    </Section>
  );
}

/** How much of an overlap is over, as a bar, and both of its ends. */
function Overlap({ endpoint, now }: { readonly endpoint: shown.Endpoint; readonly now: number }) {
  const { activates_at, overlap_ends_at } = endpoint.rotation ?? {};
  if (activates_at == null || overlap_ends_at == null) {
    return <p>The new secret signs, and the old one as well until the file drops it.</p>;
  }
  const [from, to] = [Date.parse(activates_at), Date.parse(overlap_ends_at)];
  const is_ahead = from > now;
  return (
    <>
      <p>
        {is_ahead
          ? (
            <>
              <strong>The new secret signs from</strong> <Moment at={activates_at} style="minute" />
              {" "}
              on. Until then <code>X-BookMe-Signature</code> is made with the old one;{" "}
              <code>webhook-signature</code> has both.
            </>
          )
          : (
            <>
              <strong>The old secret works for another {lengthOf(to - now)}</strong>, until{" "}
              <Moment at={overlap_ends_at} style="minute" />, and only in{" "}
              <code>webhook-signature</code>. <code>X-BookMe-Signature</code>{" "}
              carries one signature and has used the new secret since{" "}
              <Moment at={activates_at} style="minute" />.
            </>
          )}
      </p>
      <Bars
        parts={[{ kind: "accent", value: Math.min(Math.max(0, now - from), to - from) }]}
        total={to - from}
        label="How much of the overlap is over"
      />
      <p class="ends note">
        <span>
          <Moment at={activates_at} style="minute" />, {is_ahead ? "new secret signs" : "rotated"}
        </span>{" "}
        <span>
          <Moment at={overlap_ends_at} style="minute" />, old secret ends
        </span>
      </p>
    </>
  );
}

/** `22 h 28 min`. */
function lengthOf(ms: number): string {
  const minutes = Math.max(1, Math.floor(ms / 60_000));
  const [days, hours] = [Math.floor(minutes / 1_440), Math.floor(minutes / 60) % 24];
  if (days > 0) return `${days} d ${hours} h`;
  return hours > 0 ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

// --- settings ----------------------------------------------------------------------------------------------

function Settings(props: EndpointPageProps & { readonly may_edit: boolean }) {
  const { visit, facts: { endpoint }, may_edit, place, settings, types, defaults } = props;
  return (
    <Section
      title="Settings"
      id="settings"
      aside={
        <>
          Made <Moment at={endpoint.created_at} style="date" />
        </>
      }
    >
      {may_edit
        ? (
          <SettingsForm
            visit={visit}
            state={settings}
            endpoint={endpoint}
            types={types}
            defaults={defaults}
          />
        )
        : (
          <>
            {endpoint.source === "file" && endpoint.state !== "retired"
              ? (
                <p>
                  Set in {place === null
                    ? "the configuration file of another daemon"
                    : `${place.file}, line ${place.line}`}. Change it there and reload.
                </p>
              )
              : null}
            <SettingsFacts visit={visit} endpoint={endpoint} />
          </>
        )}
    </Section>
  );
}

function Removal({ visit, facts: { endpoint }, removal, kept_days }: EndpointPageProps) {
  const name = nameOf(endpoint);
  const id = encodeURIComponent(endpoint.id);
  const error = removal.errors.get("name");
  const { pending, pending_exact } = endpoint;
  const noun = visit.house.audience === "operator"
    ? many(pending, "waiting delivery", "waiting deliveries", pending_exact)
    : many(pending, "waiting update", "waiting updates", pending_exact);
  const [those, past] = visit.house.audience === "operator"
    ? ["deliveries", "Past deliveries stay visible"]
    : ["updates", "What was sent stays visible"];
  return (
    <Danger title={`Delete ${name}`}>
      <p>
        {pending === 0
          ? `Nothing is waiting for ${name}; nothing new is sent to it.`
          : `Cancels ${name}’s ${noun} and creates no new ones.`} {past} for{" "}
        {many(kept_days, "day", "days")}. {endpoint.paused
          ? `To keep ${those} waiting instead, leave it paused.`
          : `To keep ${those} waiting instead, pause it.`}
      </p>
      <Form visit={visit} action={`${visit.house.base}/endpoints/${id}/delete`}>
        <FormMessage state={removal} />
        <TextField
          name="name"
          label={`Type ${name} to confirm`}
          value={removal.values.name?.join("") ?? ""}
          {...(error === undefined ? {} : { error })}
          narrow
        />
        <FormRow>
          <Submit
            kind="danger"
            label={pending === 0
              ? `Delete ${name}`
              : `Delete ${name} and cancel ${number(pending, pending_exact)}`}
          />
        </FormRow>
      </Form>
    </Danger>
  );
}
