import type * as shown from "../../../lib/admin/shown.ts";
import { matchesType } from "../../../lib/core/matching.ts";
import { formatDuration } from "../../../lib/core/units.ts";
import {
  Actions,
  AreaField,
  CheckFields,
  Facts,
  Fold,
  Form,
  FormMessage,
  FormRow,
  Moment,
  Section,
  Submit,
  TextField,
  Verdict,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { entries } from "../endpoint_form.ts";
import type { Audience, Visit } from "../visit.ts";
import { age } from "../verdicts/endpoint.ts";
import { many, number } from "../verdicts/verdict.ts";
import { typeWords } from "../words.ts";

/** What fields of an endpoint's settings need to know. */
export interface SettingsProps {
  readonly visit: Visit;
  readonly state: FormState;
  /** Null for a new one. */
  readonly endpoint: shown.Endpoint | null;
  /** Event types that can be selected. */
  readonly types: readonly string[];
  /** What the configuration says, for settings that are left empty. */
  readonly defaults: { readonly timeout_ms: number; readonly retry_ms: readonly number[] };
}

function textOf({ values }: FormState, name: string): string {
  return values[name]?.join("") ?? "";
}

/** The properties of a field that come from the form's state. */
function field(state: FormState, name: string) {
  const error = state.errors.get(name);
  return { name, value: textOf(state, name), ...(error === undefined ? {} : { error }) };
}

/** The form of an endpoint's settings. */
export function SettingsForm(props: SettingsProps) {
  const { visit, state, endpoint } = props;
  const base = `${visit.house.base}/endpoints`;
  const action = endpoint === null ? base : `${base}/${encodeURIComponent(endpoint.id)}`;
  return (
    <Form visit={visit} action={action}>
      <FormMessage state={state} />
      {endpoint === null
        ? null
        : <input type="hidden" name="version" value={String(endpoint.version)} />}
      <Confirmation state={state} />
      <TextField
        {...field(state, "url")}
        label="URL"
        note={endpoint === null
          ? `Where ${nounOf(visit.house.audience)} are posted to, beginning with https://`
          : `Waiting ${nounOf(visit.house.audience)} go to the new URL as soon as you save.`}
        mono
      />
      <TextField
        {...field(state, "description")}
        label="Description"
        note="What the endpoint is called on these pages. Empty: its id."
      />
      <EventFields {...props} />
      {visit.house.audience === "operator" ? <MoreFields {...props} /> : (
        <Fold
          label="More settings, for whoever looks after the system"
          open={[...state.errors.keys()].some((name) => !SHOWN_TO_ALL.includes(name))}
        >
          <MoreFields {...props} />
        </Fold>
      )}
      <FormRow>
        <Actions>
          <Submit label={endpoint === null ? "Make the endpoint" : "Save settings"} />
          <span class="note">
            {endpoint === null
              ? "Its secret is shown once, on the next page."
              : "Takes effect with the next attempt."}
          </span>
        </Actions>
      </FormRow>
    </Form>
  );
}

/** Fields that a business sees at once. */
const SHOWN_TO_ALL = ["url", "description", "events", "confirm"];

function MoreFields(props: SettingsProps) {
  const { visit, state } = props;
  return (
    <>
      <PatternField {...props} />
      {visit.house.audience === "operator"
        ? (
          <TextField
            {...field(state, "businesses")}
            label="Businesses"
            note="Ids, separated by commas. Empty means all."
          />
        )
        : null}
      <PolicyFields {...props} />
      <ConnectionFields {...props} />
      <SecretFields {...props} />
    </>
  );
}

/** Asked for before a change that cancels what waits. */
function Confirmation({ state }: { readonly state: FormState }) {
  const error = state.errors.get("confirm");
  return (
    <>
      <input type="hidden" name="confirm" value="" />
      {error === undefined ? null : (
        <CheckFields
          name="confirmed"
          label="Cancel them"
          options={[{ value: "yes", label: "Save, and cancel those deliveries" }]}
          values={[]}
          error={error}
        />
      )}
    </>
  );
}

function EventFields({ visit, state, endpoint, types }: SettingsProps) {
  const { audience } = visit.house;
  const error = state.errors.get("events");
  const patterns = entries(textOf(state, "patterns"));
  const waits = endpoint === null || endpoint.pending === 0
    ? ""
    : ` ${many(endpoint.pending, "is", "are", endpoint.pending_exact)} waiting now.`;
  return (
    <>
      <input type="hidden" name="events" value="" />
      <CheckFields
        name="events"
        label="Events"
        options={types.map((type) => ({
          value: type,
          label: typeLabel(type, audience, patterns.find((one) => matchesType([one], type))),
        }))}
        values={state.values.events ?? []}
        note={endpoint === null
          ? null
          : `Deselecting a type cancels its waiting ${nounOf(audience)}.${waits}`}
        {...(error === undefined ? {} : { error })}
      />
    </>
  );
}

function PatternField({ visit, state }: SettingsProps) {
  const own = visit.house.audience === "operator"
    ? " webhooks.* are this program’s own events."
    : "";
  return (
    <TextField
      {...field(state, "patterns")}
      label="Patterns"
      note={"Besides the types above: booking.* for all that begin like that, also those to come; * for " +
        `everything.${own}`}
      mono
    />
  );
}

/** An event type, with its meaning for a business, and the pattern that selects it already. */
function typeLabel(type: string, audience: Audience, pattern: string | undefined) {
  const words = typeWords(type, audience);
  return (
    <>
      {words}
      {words === type ? null : <span class="note">{` ${type}`}</span>}
      {pattern === undefined ? null : <span class="note">{` in ${pattern}`}</span>}
    </>
  );
}

/** The plural of the things that are sent: a business reads of updates. */
function nounOf(audience: Audience): string {
  return audience === "operator" ? "deliveries" : "updates";
}

/** `seven attempts over 31 h 21 min`, in digits. */
export function policyWords(retry_ms: readonly number[]): string {
  const total = retry_ms.reduce((sum, wait) => sum + wait, 0);
  const attempts = many(retry_ms.length, "attempt", "attempts");
  return total === 0 ? attempts : `${attempts} over ${age(total)}`;
}

/** What a field says that follows the configuration while it is empty. */
function inheritance(
  endpoint: shown.Endpoint | null,
  member: "timeout_ms" | "retry_ms",
  standard: string,
): string {
  return endpoint?.inherited.includes(member)
    ? "Inherited; edit to override."
    : `Empty: ${standard}, inherited.`;
}

function PolicyFields({ state, endpoint, defaults }: SettingsProps) {
  const timeout = formatDuration(defaults.timeout_ms);
  const retry = endpoint?.retry_ms ?? defaults.retry_ms;
  return (
    <>
      <TextField
        {...field(state, "timeout")}
        label="Timeout"
        note={`Over DNS, connect, TLS and the answer’s headers. ${
          inheritance(endpoint, "timeout_ms", timeout)
        }`}
        narrow
      />
      <TextField
        {...field(state, "retry")}
        label="Retry policy"
        note={`The wait before each attempt: ${policyWords(retry)}. ${
          inheritance(endpoint, "retry_ms", defaults.retry_ms.map(formatDuration).join(", "))
        }`}
      />
      <TextField
        {...field(state, "rate_limit")}
        label="Rate limit"
        note="Like 50/s, 300/m or 1000/h. Empty: none."
        narrow
      />
      <TextField
        {...field(state, "concurrency")}
        label="Concurrency"
        note="Attempts at once. Empty: no limit of its own."
        narrow
      />
    </>
  );
}

function ConnectionFields({ state, endpoint }: SettingsProps) {
  const { tls = null } = endpoint ?? {};
  const removable = [
    ...(tls === null || tls.ca.length === 0
      ? []
      : [{ value: "ca", label: "Remove the authorities" }]),
    ...(tls?.cert == null
      ? []
      : [{ value: "client", label: "Remove the client certificate and its key" }]),
  ];
  return (
    <>
      <AreaField
        {...field(state, "headers")}
        label="Headers"
        rows={3}
        note={"Sent along, one “Name: value” on each line. Values are kept sealed and never shown again" +
          (endpoint === null ? "." : "; [redacted] keeps a value.")}
      />
      <CheckFields
        name="traceparent"
        label="Tracing"
        options={[{ value: "on", label: "Send a traceparent header" }]}
        values={state.values.traceparent ?? []}
        note="W3C Trace Context, for the receiver’s own traces."
      />
      <Fold
        label={tls === null ? "Certificates: none of its own" : "Certificates of its own"}
        open={["tls_ca", "tls_cert", "tls_key"].some((name) => state.errors.has(name))}
      >
        <AreaField
          {...field(state, "tls_ca")}
          label="Authorities"
          note={"Certificates in PEM to trust instead of the usual authorities. " +
            (tls === null || tls.ca.length === 0
              ? "None set."
              : `Set: ${tls.ca.map(({ subject }) => subject).join("; ")}. Empty keeps them.`)}
        />
        <AreaField
          {...field(state, "tls_cert")}
          label="Client certificate"
          note={"In PEM, for a receiver that demands one. " +
            (tls?.cert == null ? "None set." : `Set: ${tls.cert.subject}. Empty keeps it.`)}
        />
        <AreaField
          {...field(state, "tls_key")}
          label="Its private key"
          note="In PEM, not encrypted. Kept sealed and never shown again."
        />
        {removable.length === 0 ? null : (
          <CheckFields
            name="tls_remove"
            label="Remove"
            options={removable}
            values={state.values.tls_remove ?? []}
          />
        )}
      </Fold>
    </>
  );
}

function SecretFields({ visit, state, endpoint }: SettingsProps) {
  const error = state.errors.get("unsigned");
  return (
    <>
      {endpoint === null
        ? (
          <TextField
            {...field(state, "secret")}
            label="Secret"
            note="Empty: a strong one is made."
            type="password"
            mono
          />
        )
        : null}
      <CheckFields
        name="unsigned"
        label="Signing"
        options={[{
          value: "on",
          label: visit.house.audience === "operator" ? "Send unsigned" : "Send without a signature",
        }]}
        values={state.values.unsigned ?? []}
        note={endpoint?.unsigned
          ? "For a signature again, rotate the secret above."
          : endpoint === null
          ? `Nobody could check where ${nounOf(visit.house.audience)} come from.`
          : `Forgets the secret; nobody can check any more where ${
            nounOf(visit.house.audience)
          } come from.`}
        {...(error === undefined ? {} : { error })}
      />
    </>
  );
}

/** The settings of an endpoint that is not to be changed here. */
export function SettingsFacts(
  { visit, endpoint }: { readonly visit: Visit; readonly endpoint: shown.Endpoint },
) {
  const { audience } = visit.house;
  const { tls, headers } = endpoint;
  const url = <code>{endpoint.url}</code>;
  const inherited = (member: "timeout_ms" | "retry_ms") =>
    endpoint.inherited.includes(member) ? ", inherited" : "";
  return (
    <Facts
      items={[
        ["URL", url],
        ["Description", endpoint.description ?? "None"],
        ["Events", endpoint.events.map((type) => typeWords(type, audience)).join(", ")],
        ...(audience === "operator"
          ? [["Businesses", endpoint.businesses?.join(", ") ?? "All"] as [string, string]]
          : []),
        ["Timeout", formatDuration(endpoint.timeout_ms) + inherited("timeout_ms")],
        [
          "Retry policy",
          `${endpoint.retry_ms.map(formatDuration).join(", ")}: ${policyWords(endpoint.retry_ms)}${
            inherited("retry_ms")
          }`,
        ],
        ["Rate limit", endpoint.rate_limit ?? "None"],
        [
          "Concurrency",
          endpoint.concurrency === null ? "No limit of its own" : number(endpoint.concurrency),
        ],
        ["Headers", Object.keys(headers).length === 0 ? "None" : Object.keys(headers).join(", ")],
        [
          "Certificates",
          tls === null ? "None of its own" : (
            <>
              {tls.ca.length === 0
                ? null
                : `Trusts ${tls.ca.map(({ subject }) => subject).join("; ")}. `}
              {tls.cert === null ? null : (
                <>
                  Shows {tls.cert.subject}, good until{" "}
                  <Moment at={tls.cert.valid_to} style="date" />.
                </>
              )}
            </>
          ),
        ],
        ["Tracing", endpoint.traceparent ? "Sends a traceparent header" : "Sends no traceparent"],
        ["Signing", endpoint.unsigned ? "Unsigned" : "Signed"],
      ]}
    />
  );
}

/** The page on which an endpoint is made. */
export function NewEndpointPage(
  { room, ...props }: SettingsProps & {
    /** How many endpoints a business has, and may have; null for an operator. */
    readonly room: { readonly has: number; readonly most: number } | null;
  },
) {
  const { visit } = props;
  const is_full = room !== null && room.has >= room.most;
  return (
    <>
      <Verdict
        tone="calm"
        crumbs={
          <>
            <a href={`${visit.house.base}/endpoints`}>Endpoints</a> › New
          </>
        }
        headline="New endpoint"
      >
        {visit.house.audience === "operator"
          ? "A receiver: its URL, and the events that are sent there."
          : "The address of a system of yours, such as your website or till, and what is sent there."}
        {room === null
          ? null
          : ` You have ${room.has} of ${many(room.most, "endpoint", "endpoints")}.`}
      </Verdict>
      <Section title={is_full ? "No room for another one" : "Settings"}>
        {is_full
          ? (
            <p>
              {room.most === 0
                ? "BookMe makes the endpoints here; ask there for one."
                : `You may have ${room.most}. Delete one first, or ask BookMe for more.`}
            </p>
          )
          : <SettingsForm {...props} />}
      </Section>
    </>
  );
}
