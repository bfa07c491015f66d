import type { OwedNow, TestDraft } from "../../../lib/admin/tests.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { prettyJson } from "../../../lib/core/pretty_json.ts";
import {
  Actions,
  Ago,
  AreaField,
  AttemptDetails,
  type Column,
  Form,
  FormMessage,
  FormRow,
  Moment,
  Name,
  Rows,
  Section,
  SelectField,
  State,
  Submit,
  TypeName,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { deliveryState, whyWords } from "../verdicts/attempts.ts";
import { owedWords, testVerdict } from "../verdicts/test.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { Sentence, VerdictHead } from "./verdict.tsx";

interface Props {
  readonly visit: Visit;
  readonly draft: TestDraft;
  /** The endpoint of the test that is shown; null for none. */
  readonly endpoint: shown.Endpoint | null;
  readonly state: FormState;
}

/** The test tool: the result of a test that was sent, the next one, and whether real events would be owed. */
export function TestPage({ visit, draft, endpoint, state }: Props) {
  const { test } = draft;
  const has_form = draft.endpoints.length > 0;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={testVerdict({ draft, endpoint }, visit)}
        crumbs={endpoint === null ? "Test" : `Test of ${endpoint.description ?? endpoint.id}`}
        aside={test === null ? undefined : <Ago at={test.delivery.created_at} />}
      />
      {test === null ? null : <Attempts visit={visit} delivery={test.delivery} />}
      {has_form ? <Send visit={visit} draft={draft} state={state} /> : null}
      {has_form ? <Owed visit={visit} draft={draft} /> : null}
      {draft.earlier.length < (test === null ? 1 : 2)
        ? null
        : <Earlier visit={visit} draft={draft} />}
    </>
  );
}

function Attempts(
  { visit, delivery }: { readonly visit: Visit; readonly delivery: shown.DeliveryDetail },
) {
  const { attempts, status } = delivery;
  return (
    <Section
      id="attempts"
      live="swap"
      title={attempts.length === 1 ? "The attempt" : "The attempts"}
      aside={
        <>
          {status === "pending" ? <a href={visit.here}>Reload</a> : null}
          {status === "pending" ? " · " : null}
          <a href={`${visit.house.base}/deliveries/${delivery.id}`}>Open this test</a>
        </>
      }
    >
      {attempts.length === 0 ? <p class="note">No attempt has ended yet.</p> : null}
      {attempts.toReversed().slice(0, 3).map((attempt, index) => (
        <AttemptDetails attempt={attempt} open={index === 0} visit={visit} />
      ))}
    </Section>
  );
}

function Send({ visit, draft, state }: Omit<Props, "endpoint">) {
  const { house, may_write } = visit;
  const is_business = house.audience === "business";
  if (!may_write) {
    return (
      <Section title="Send a test" id="send">
        <p class="note">
          {is_business ? "Your link may only look." : "Only an admin token sends tests."}
        </p>
      </Section>
    );
  }
  const value = (name: string, by_default: string) => state.values[name]?.[0] ?? by_default;
  const { test } = draft;
  // The same again, as long as it is of the type that is chosen.
  const sent = test?.delivery.event_type === draft.type ? test.payload : null;
  const body = sent === null ? draft.sample : prettyJson(sent) ?? sent;
  const error = (name: string) => ({ error: state.errors.get(name) });
  return (
    <Section title={test === null ? "Send a test" : "Send another"} id="send">
      <FormMessage state={state} />
      <Form visit={visit} action={`${house.base}/test`}>
        <SelectField
          name="endpoint"
          label="Endpoint"
          value={value("endpoint", draft.endpoint ?? "")}
          options={draft.endpoints.map(({ id, name }) => ({ value: id, label: name }))}
          note={draft.is_all ? undefined : "The newest ones. The page of an endpoint tests others."}
          {...error("endpoint")}
        />
        <SelectField
          name="type"
          label={is_business ? "What happens" : "Event type"}
          value={value("type", draft.type)}
          options={draft.types.map((name) => ({
            value: name,
            label: typeWords(name, house.audience),
          }))}
          {...error("type")}
        />
        <AreaField
          name="body"
          label="Body"
          value={value("body", body)}
          rows={18}
          note={is_business
            ? "Signed like a real one and marked as a test."
            : "Signed like a real one and marked X-BookMe-Test: true."}
          {...error("body")}
        />
        <FormRow>
          <Actions>
            <Submit label={test === null ? "Send the test" : "Send again"} />
            <Submit label="Load the sample" kind="plain" name="sample" value="1" />
          </Actions>
        </FormRow>
      </Form>
    </Section>
  );
}

function Owed({ visit, draft }: { readonly visit: Visit; readonly draft: TestDraft }) {
  const { real, is_all } = draft;
  const { base, audience } = visit.house;
  const is_business = audience === "business";
  const columns: readonly Column<OwedNow>[] = [
    {
      name: "state",
      label: "A real one",
      phone: "state",
      cell: (row) => <State {...owedWords(row, real, visit).state} />,
    },
    {
      name: "endpoint",
      label: "Endpoint",
      phone: "subject",
      cell: ({ name }) => <Name name={name} />,
    },
    {
      name: "why",
      label: "Because",
      phone: "reason",
      cell: (row) => <Sentence words={owedWords(row, real, visit).why} />,
    },
  ];
  const type = typeWords(real.type, audience);
  const tested = draft.test?.delivery.endpoint_id ?? draft.endpoint ?? undefined;
  return (
    <Section
      title={is_business ? `Who would receive a real “${type}”?` : `Would a real ${type} be owed?`}
      id="owed"
      live="swap"
      aside={is_business
        ? "A test that arrives does not prove that real bookings are sent."
        : "A green test does not prove that an endpoint’s events match."}
    >
      <Rows
        label="Endpoints"
        rows={real.owed.toSorted((a, b) => rank(a, tested) - rank(b, tested))}
        columns={columns}
        href={({ endpoint_id }) => `${base}/endpoints/${encodeURIComponent(endpoint_id)}`}
        id={({ endpoint_id }) => endpoint_id}
      />
      {is_all ? null : <p class="note">The {real.owed.length} newest endpoints.</p>}
    </Section>
  );
}

/** The one that was tested comes first, then those that would get it now, then later. */
function rank(
  { endpoint_id, owed, paused_at, unsendable_reason }: OwedNow,
  tested: string | undefined,
): number {
  if (endpoint_id === tested) return -1;
  return !owed ? 2 : paused_at === null && unsendable_reason === null ? 0 : 1;
}

function Earlier({ visit, draft }: { readonly visit: Visit; readonly draft: TestDraft }) {
  const { house } = visit;
  const names = new Map(draft.endpoints.map(({ id, name }) => [id, name]));
  const columns: readonly Column<shown.Delivery>[] = [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: (row) => <State {...deliveryState(row, house.audience)} />,
    },
    {
      name: "test",
      label: "Test",
      phone: "subject",
      cell: (row) => (
        <Name
          name={names.get(row.endpoint_id) ?? row.endpoint_id}
          rest={house.audience === "operator"
            ? <TypeName type={row.event_type} />
            : typeWords(row.event_type, house.audience)}
        />
      ),
    },
    {
      name: "why",
      label: "Result",
      phone: "reason",
      cell: (row) => (
        <Sentence
          words={row.last_status !== null && row.status === "delivered"
            ? [String(row.last_status)]
            : whyWords(row, { audience: house.audience, now: visit.now })}
        />
      ),
    },
    {
      name: "at",
      label: "Sent",
      align: "right",
      phone: "time",
      cell: ({ created_at }) => <Moment at={created_at} style="relative" />,
    },
  ];
  return (
    <Section
      title="Latest tests"
      id="tests"
      live="swap"
      aside={<a href={`${house.base}/deliveries?status=tests`}>All tests</a>}
    >
      <Rows
        label="Tests"
        rows={draft.earlier}
        columns={columns}
        href={({ event_id }) => `${house.base}/test?sent=${event_id}`}
        id={({ id }) => id}
      />
    </Section>
  );
}
