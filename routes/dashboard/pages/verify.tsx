import type * as shown from "../../../lib/admin/shown.ts";
import {
  AreaField,
  type Column,
  Form,
  FormMessage,
  FormRow,
  Rows,
  Section,
  SelectField,
  State,
  Submit,
  TextField,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { findingWords, signatureVerdict } from "../verdicts/signature.ts";
import type { Visit } from "../visit.ts";
import { VerdictHead } from "./verdict.tsx";

/** A form, and what came of it. */
export interface Checked {
  readonly state: FormState;
  /** Null before it was sent, and if it was refused. */
  readonly check: shown.SignatureCheck | null;
  /** The endpoint whose secret was used; null for one that was typed. */
  readonly endpoint: string | null;
}

interface Props {
  readonly visit: Visit;
  readonly names: ReadonlyMap<string, string>;
  readonly checked: Checked;
}

/** The signature checker. A secret that is typed is in no page. */
export function VerifyPage({ visit, names, checked }: Props) {
  const { check, endpoint } = checked;
  const name = endpoint === null ? null : names.get(endpoint) ?? endpoint;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={signatureVerdict(check === null ? null : { check, name }, visit)}
        crumbs="Signature checker"
        has_primary={check !== null}
      />
      {check === null ? null : <Findings check={check} />}
      <Request visit={visit} names={names} checked={checked} />
    </>
  );
}

type Finding = shown.SignatureCheck["findings"][number];

const COLUMNS: readonly Column<Finding>[] = [
  {
    name: "state",
    label: "State",
    phone: "state",
    cell: (finding) => <State {...findingWords(finding).state} />,
  },
  {
    name: "header",
    label: "Header",
    phone: "subject",
    cell: ({ header }) => <code>{header}</code>,
  },
  {
    name: "text",
    label: "Finding",
    phone: "reason",
    cell: (finding) => findingWords(finding).text,
  },
];

function Findings({ check }: { readonly check: shown.SignatureCheck }) {
  return (
    <Section title="By header" id="findings">
      <Rows
        label="Signatures"
        rows={check.findings}
        columns={COLUMNS}
        id={({ header }) => header}
      />
    </Section>
  );
}

function Request({ visit, names, checked: { state } }: Props) {
  const { base, audience } = visit.house;
  if (!visit.may_write) {
    return (
      <Section title="The request" id="request">
        <p class="note">
          {audience === "operator"
            ? "Only an admin token checks signatures here; the command verify checks them anywhere."
            : "Your link may only look."}
        </p>
      </Section>
    );
  }
  const value = (name: string) => state.values[name]?.[0] ?? "";
  const error = (name: string) => ({ error: state.errors.get(name) });
  const chosen = value("endpoint");
  return (
    <Section title="The request" id="request">
      <FormMessage state={state} />
      <Form visit={visit} action={`${base}/verify`}>
        <AreaField
          name="headers"
          label="Headers"
          rows={6}
          value={value("headers")}
          placeholder="X-BookMe-Signature: sha256=…"
          note="As your server logged them: header lines, JSON or curl. Only those of signatures are read."
          {...error("headers")}
        />
        <AreaField
          name="body"
          label="Body"
          rows={10}
          value={value("body")}
          note="Exactly as it was received, before any parsing."
          {...error("body")}
        />
        <SelectField
          name="endpoint"
          label="Endpoint"
          value={chosen}
          options={[
            { value: "", label: "None: a secret that I type" },
            ...(chosen === "" || names.has(chosen) ? [] : [{ value: chosen, label: chosen }]),
            ...[...names].map(([id, label]) => ({ value: id, label })),
          ]}
          note="Checks against its own secrets, which are not shown."
          {...error("endpoint")}
        />
        <TextField
          name="secret"
          label="Secret"
          type="password"
          value=""
          mono
          note="Instead of the endpoint’s own. It is neither stored nor logged, and has to be typed each time."
          {...error("secret")}
        />
        <FormRow>
          <Submit label="Check the signature" />
        </FormRow>
      </Form>
    </Section>
  );
}
