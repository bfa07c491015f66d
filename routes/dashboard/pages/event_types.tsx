import type * as shown from "../../../lib/admin/shown.ts";
import type { NamedEndpoint } from "../../../lib/admin/names.ts";
import { Code, CopyFrom, Facts, Fold, LinkButton, Section, Verdict } from "../components/all.ts";
import { together } from "../verdicts/verdict.ts";
import type { Audience, Visit } from "../visit.ts";
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
  return (
    <>
      <Verdict
        tone="calm"
        crumbs="Event types"
        headline={headlineOf(
          types.filter(({ operational }) => !operational),
          selecting,
          house.audience,
        )}
      >
        <p>
          {is_operator
            ? "BookMe posts events of these types, and this program has some about itself (webhooks). Each endpoint gets those that it selects."
            : "BookMe can tell your systems about each of these. Each endpoint selects some of them."}
        </p>
      </Verdict>
      <Section title="In short">
        <Facts
          wide
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

/** Types that a headline names; of more, only their number. */
const MAX_UNSELECTED = 2;

function headlineOf(
  types: readonly shown.EventType[],
  selecting: ReadonlyMap<string, readonly NamedEndpoint[]>,
  audience: Audience,
): string {
  const rest = types.filter(({ name }) => (selecting.get(name) ?? []).length === 0);
  if (rest.length === types.length) {
    return `There are ${types.length} event types, and no endpoint selects any yet`;
  }
  if (rest.length === 0) return `All ${types.length} event types are selected`;
  const none = rest.length <= MAX_UNSELECTED
    ? together(rest.map(({ name }) => typeWords(name, audience)))
    : `${rest.length} of the ${types.length} event types`;
  return `No endpoint selects ${none}`;
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
