import type * as shown from "../../../lib/admin/shown.ts";
import { DELIVERY_REASONS } from "../../../lib/core/cancellation.ts";
import { formatRate } from "../../../lib/core/units.ts";
import {
  Ago,
  Bars,
  type Column,
  type Content,
  Count,
  Empty,
  Facts,
  Filter,
  Form,
  FormMessage,
  FormRow,
  Id,
  Moment,
  Name,
  Notice,
  Pager,
  Rows,
  Section,
  SelectField,
  State,
  Submit,
  TextField,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { FIELDS, KINDS, type Typed, withDefaults } from "../replay_form.ts";
import {
  MUCH,
  newReplayVerdict,
  rateWords,
  type ReplayCounted,
  replayState,
  replaysVerdict,
  replayVerdict,
  selectionWords,
} from "../verdicts/replay.ts";
import { number } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { Sentence, VerdictHead } from "./verdict.tsx";

type Names = ReadonlyMap<string, string>;

// --- the list ---------------------------------------------------------------------------------------------

/** All replays, those under way first. */
export function ReplaysPage({ visit, replays, names, is_first }: {
  readonly visit: Visit;
  readonly replays: shown.Page<shown.Replay>;
  readonly names: Names;
  readonly is_first: boolean;
}) {
  const here = `${visit.house.base}/replays`;
  const rows = replays.data.toSorted((a, b) => Number(isRunning(b)) - Number(isRunning(a)));
  const [first] = rows;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={replaysVerdict(rows, names, visit)}
        crumbs="Replays"
        aside={first === undefined ? undefined : <Ago at={first.created_at} />}
      />
      {rows.length === 0 ? null : (
        <Section id="replays" live="list">
          <Rows
            label="Replays"
            rows={rows}
            columns={columnsOf(visit, names)}
            href={({ id }) => `${here}/${id}`}
            id={({ id }) => id}
          />
          <Pager
            newest_href={is_first ? null : here}
            older_href={replays.next_cursor === null
              ? null
              : `${here}?cursor=${replays.next_cursor}`}
            note={`${rows.length} replays, newest first`}
          />
        </Section>
      )}
    </>
  );
}

function isRunning({ state }: shown.Replay): boolean {
  return state === "running";
}

function columnsOf(visit: Visit, names: Names): readonly Column<shown.Replay>[] {
  return [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: (replay) => <State {...replayState(replay)} />,
    },
    {
      name: "what",
      label: "Selection",
      phone: "subject",
      wrap: true,
      cell: (replay) => <Sentence words={selectionWords(replay, names, visit)} />,
    },
    {
      name: "sent",
      label: "Sent",
      align: "right",
      phone: "under",
      cell: ({ replayed, matched, matched_exact }) =>
        `${number(replayed)} of ${number(matched, matched_exact)}`,
    },
    { name: "by", label: "By", cell: ({ created_by }) => created_by },
    {
      name: "at",
      label: "Started",
      align: "right",
      phone: "time",
      cell: ({ created_at }) => <Ago at={created_at} />,
    },
  ];
}

// --- one --------------------------------------------------------------------------------------------------

/** A replay and how far it is. */
export function ReplayPage({ visit, replay, names, said }: {
  readonly visit: Visit;
  readonly replay: shown.Replay;
  readonly names: Names;
  /** The result of the form before. */
  readonly said: string | null;
}) {
  const { matched, matched_exact, replayed, without_payload } = replay;
  const of = `${number(replayed)} of ${number(matched, matched_exact)} sent`;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={replayVerdict(replay, names, visit)}
        crumbs={<a href={`${visit.house.base}/replays`}>Replays</a>}
        aside={<Ago at={replay.created_at} />}
      />
      {said === null ? null : <Notice>{said}</Notice>}
      {!isRunning(replay) && replayed === 0
        ? null
        : (
          <Section title="Progress" id="progress" live="swap">
            <Bars
              label={of}
              total={Math.max(matched, replayed + without_payload)}
              parts={[{ kind: "delivered", value: replayed }]}
            />
            {isRunning(replay)
              ? (
                <p class="note">
                  It continues when you close this page. <a href={visit.here}>Reload</a>
                </p>
              )
              : null}
          </Section>
        )}
      <Section title="Details" id="details" live="swap">
        <Facts items={factsOf(replay, names, visit)} />
      </Section>
    </>
  );
}

function factsOf(replay: shown.Replay, names: Names, visit: Visit) {
  const { endpoint, missing, status, type, reason, code, since, until, rate_per_s, meanwhile } =
    replay;
  const { house } = visit;
  const target = endpoint === null
    ? "All"
    : (
      <a href={`${house.base}/endpoints/${encodeURIComponent(endpoint)}`}>
        {names.get(endpoint) ?? endpoint}
      </a>
    );
  const items: (readonly [Content, Content])[] = [
    ["Endpoint", target],
    ["Status", missing ? "missing" : status.join(", ")],
    ...(type === null ? [] : [["Event type", typeWords(type, house.audience)] as const]),
    ...(reason === null ? [] : [["Reason", reason] as const]),
    ...(code === null ? [] : [["Last answer", code] as const]),
    ["From", Date.parse(since) === 0 ? "The beginning" : <Moment at={since} />],
    ["Before", <Moment at={until} />],
    ["Rate limit", rate_per_s === null ? "None" : rateWords(formatRate(rate_per_s) ?? "")],
    ...(replay.without_payload === 0
      ? []
      : [["Left out", `${number(replay.without_payload)} without a payload`] as const]),
    ...(meanwhile === null || meanwhile === 0 ? [] : [
      [
        "Left out",
        `${number(meanwhile)} delivered, retried or cancelled in the meantime`,
      ] as const,
    ]),
    ["Started", <>{<Moment at={replay.created_at} />} by {replay.created_by}</>],
    ...(replay.ended_at === null ? [] : [["Ended", <Moment at={replay.ended_at} />] as const]),
    ["Id", <Id text={replay.id} what="the id of the replay" />],
  ];
  return items;
}

// --- a new one --------------------------------------------------------------------------------------------

interface NewProps {
  readonly visit: Visit;
  readonly typed: Typed;
  /** Null before it was counted. */
  readonly counted: ReplayCounted | null;
  readonly state: FormState;
  readonly names: Names;
  readonly types: readonly string[];
}

/** Chooses what a replay sends, counts it, and asks before it starts. */
export function NewReplayPage(props: NewProps) {
  const { visit, counted, names, state } = props;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={newReplayVerdict(counted, names, visit)}
        crumbs={<a href={`${visit.house.base}/replays`}>Replays</a>}
      />
      <FormMessage state={state} />
      {counted === null || counted.count.matched === 0
        ? null
        : <Confirm {...props} counted={counted} />}
      <Selection {...props} />
    </>
  );
}

function Confirm(
  { visit, counted, state, names }: NewProps & { readonly counted: ReplayCounted },
) {
  const { count, groups, typed, depth } = counted;
  const { matched, matched_exact } = count;
  const verb = typed.status === "pending" ? "Send" : "Replay";
  const label = `${verb} ${number(matched, matched_exact)}${
    typed.status === "pending" ? " now" : ""
  }`;
  return (
    <Section title="Still to be confirmed" id="count">
      {groups === null ? null : <Groups groups={groups} visit={visit} names={names} />}
      {visit.may_write
        ? (
          <Form visit={visit} action={`${visit.house.base}/replays`}>
            {FIELDS.map((name) => <input type="hidden" name={name} value={typed[name]} />)}
            <input type="hidden" name="matched" value={String(matched)} />
            {depth === "whole" ? <input type="hidden" name="count" value="all" /> : null}
            {matched > MUCH
              ? (
                <TextField
                  name="confirm"
                  label={`Type ${matched} to confirm`}
                  value={state.values.confirm?.[0] ?? ""}
                  narrow
                  {...{ error: state.errors.get("confirm") }}
                />
              )
              : null}
            <FormRow>
              <Submit label={label} />
            </FormRow>
          </Form>
        )
        : <p class="note">You may look, but not send.</p>}
    </Section>
  );
}

function Groups({ groups: { groups, exact }, visit, names }: {
  readonly groups: NonNullable<ReplayCounted["groups"]>;
  readonly visit: Visit;
  readonly names: Names;
}) {
  type Group = typeof groups[number];
  const columns: readonly Column<Group>[] = [
    {
      name: "endpoint",
      label: "Endpoint",
      phone: "subject",
      cell: ({ endpoint }) => <Name name={names.get(endpoint) ?? endpoint} />,
    },
    {
      name: "reason",
      label: "Last attempt",
      phone: "reason",
      cell: ({ last_outcome, last_status }) =>
        [last_outcome ?? "None yet", last_status].filter((one) => one !== null).join(", "),
    },
    {
      name: "deliveries",
      label: visit.house.audience === "operator" ? "Deliveries" : "Messages",
      align: "right",
      phone: "time",
      cell: ({ deliveries }) => <Count value={deliveries} />,
    },
  ];
  return (
    <>
      <Rows
        label="By endpoint and reason"
        rows={groups}
        columns={columns}
        empty={<Empty cause="None of the newest ones is among them" />}
      />
      {exact ? null : <p class="note">Of the newest 1,000.</p>}
    </>
  );
}

const KIND_LABELS: Readonly<Record<string, readonly [operator: string, business: string]>> = {
  failed: ["Failed", "Did not arrive"],
  cancelled: ["Cancelled", "Cancelled"],
  "failed,cancelled": ["Failed and cancelled", "Did not arrive, or cancelled"],
  delivered: ["Delivered: send them once more", "Arrived: send them once more"],
  pending: ["Waiting: send them now", "Waiting: send them now"],
  missing: ["Missing: never owed to the endpoint", "Missing: never sent to the system"],
};

function Selection({ visit, typed, state, names, types }: NewProps) {
  const { base, audience } = visit.house;
  const is_business = audience === "business";
  const values = withDefaults(typed);
  const error = (name: string) => ({ error: state.errors.get(name) });
  const kinds = KINDS.some((kind) => kind === values.status) || values.status === ""
    ? KINDS
    : [...KINDS, values.status];
  return (
    <Section title="Selection" id="selection">
      <Filter action={`${base}/replays/new`} wide>
        <SelectField
          name="status"
          label={is_business ? "What" : "Deliveries"}
          value={values.status}
          options={[
            ...(values.status === "" ? [{ value: "", label: "By reason" }] : []),
            ...kinds.map((value) => ({
              value,
              label: KIND_LABELS[value]?.[is_business ? 1 : 0] ?? value,
            })),
          ]}
          {...error("status")}
        />
        <SelectField
          name="endpoint"
          label="Endpoint"
          value={values.endpoint}
          options={endpointOptions(names, values.endpoint, is_business)}
          {...error("endpoint")}
        />
        <SelectField
          name="type"
          label={is_business ? "What happened" : "Event type"}
          value={values.type}
          options={typeOptions(types, values.type, visit)}
          {...error("type")}
        />
        <SelectField
          name="reason"
          label="Reason"
          value={values.reason}
          options={[
            { value: "", label: "Any" },
            ...DELIVERY_REASONS.filter((one) => one !== "any").map((value) => ({ value })),
          ]}
          {...error("reason")}
        />
        <TextField
          name="code"
          label="Last answer"
          value={values.code}
          placeholder="401 or 4xx"
          narrow
          {...error("code")}
        />
        <Times values={values} state={state} />
        <FormRow>
          <Submit label="Count them" kind="plain" />
        </FormRow>
      </Filter>
    </Section>
  );
}

function Times({ values, state }: { readonly values: Typed; readonly state: FormState }) {
  const error = (name: string) => ({ error: state.errors.get(name) });
  return (
    <>
      <TextField
        name="since"
        label="From"
        value={values.since}
        note="24h or 3d ago, 2026-11-26 14:00 (UTC), or all."
        {...error("since")}
      />
      <TextField
        name="until"
        label="Before"
        value={values.until}
        note="Like From. Empty: now."
        {...error("until")}
      />
      <TextField
        name="rate"
        label="Rate limit"
        value={values.rate}
        note="Like 50/s, 300/m or 1000/h. Empty: none."
        narrow
        {...error("rate")}
      />
    </>
  );
}

function endpointOptions(names: Names, chosen: string, is_business: boolean) {
  const known = [...names].map(([value, label]) => ({ value, label }));
  return [
    { value: "", label: is_business ? "All your systems" : "All" },
    ...(chosen === "" || names.has(chosen) ? [] : [{ value: chosen, label: chosen }]),
    ...known,
  ];
}

function typeOptions(types: readonly string[], chosen: string, { house }: Visit) {
  const all = chosen === "" || types.includes(chosen) ? types : [chosen, ...types];
  return [
    { value: "", label: "All" },
    ...all.map((value) => ({ value, label: typeWords(value, house.audience) })),
  ];
}
