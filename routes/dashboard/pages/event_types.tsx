import type * as shown from "../../../lib/admin/shown.ts";
import type { NamedEndpoint } from "../../../lib/admin/names.ts";
import { Code, CopyFrom, Facts, Fold, LinkButton, Section, Verdict } from "../components/all.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";

/** The event types with their samples, and who selects each. */
export function EventTypesPage({ visit, types, selecting }: {
  readonly visit: Visit;
  readonly types: readonly shown.EventType[];
  /** The endpoints that select each type. */
  readonly selecting: ReadonlyMap<string, readonly NamedEndpoint[]>;
}) {
  const { house } = visit;
  const is_operator = house.audience === "operator";
  const selected = types.filter(({ name }) => (selecting.get(name) ?? []).length > 0);
  return (
    <>
      <Verdict
        tone="calm"
        crumbs="Event types"
        headline={headlineOf(types.length, selected.length)}
      >
        <p>
          {is_operator
            ? "BookMe posts events of these types. An endpoint is sent those that it selects."
            : "BookMe can tell your systems about each of these. Each endpoint selects some of them."}
        </p>
      </Verdict>
      <Section title="In short">
        <Facts
          items={types.map(({ name, description }) => [
            <a href={`#${name}`}>{typeWords(name, house.audience)}</a>,
            description,
          ])}
        />
      </Section>
      {types.map((type) => (
        <TypeSection visit={visit} type={type} selecting={selecting.get(type.name) ?? []} />
      ))}
    </>
  );
}

function headlineOf(types: number, selected: number): string {
  const all = `There are ${types} event types`;
  if (selected === 0) return `${all}, and no endpoint selects any yet`;
  if (selected === types) return `All ${types} event types are selected`;
  const rest = types - selected;
  return `${all}; ${rest === 1 ? "1 is" : `${rest} are`} selected by no endpoint`;
}

/** Endpoints that a type names. */
const MAX_NAMED = 20;

function TypeSection({ visit, type, selecting }: {
  readonly visit: Visit;
  readonly type: shown.EventType;
  readonly selecting: readonly NamedEndpoint[];
}) {
  const { base, audience } = visit.house;
  const { name, description, schema, sample } = type;
  return (
    <Section
      id={name}
      title={typeWords(name, audience)}
      aside={audience === "operator" ? undefined : <code>{name}</code>}
    >
      <p>{description}</p>
      <Facts
        items={[[
          "Selected by",
          selecting.length === 0 ? "No endpoint" : (
            <>
              {selecting.slice(0, MAX_NAMED).map(({ id, name }, index) => (
                <>
                  {index === 0 ? "" : ", "}
                  <a href={`${base}/endpoints/${encodeURIComponent(id)}`}>{name}</a>
                </>
              ))}
              {selecting.length > MAX_NAMED ? ` and ${selecting.length - MAX_NAMED} more` : ""}
            </>
          ),
        ]]}
      />
      <Fold label="Sample">
        <Code text={JSON.stringify(sample, null, 2)} id={`sample-${name}`} />
        <p class="note">
          <CopyFrom id={`sample-${name}`} what={`the sample of ${name}`} />
        </p>
      </Fold>
      <Fold label="JSON Schema of its data">
        <Code text={JSON.stringify(schema, null, 2)} />
      </Fold>
      {visit.may_write
        ? (
          <p>
            <LinkButton
              href={`${base}/test?event=${encodeURIComponent(name)}`}
              label="Send a test of it"
            />
          </p>
        )
        : null}
    </Section>
  );
}
