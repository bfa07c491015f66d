import type * as shown from "../../../lib/admin/shown.ts";
import { matchesType } from "../../../lib/core/matching.ts";
import { Code, CopyFrom, Facts, Fold, LinkButton, Section, Verdict } from "../components/all.ts";
import { nameOf } from "../verdicts/health.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";

/** The event types with their samples, and who selects each. */
export function EventTypesPage({ visit, types, endpoints, more }: {
  readonly visit: Visit;
  readonly types: readonly shown.EventType[];
  readonly endpoints: readonly shown.Endpoint[];
  /** Whether there are more endpoints than these. */
  readonly more: boolean;
}) {
  const { house } = visit;
  const is_operator = house.audience === "operator";
  const unselected = types.filter(({ name }) =>
    !endpoints.some(({ events }) => matchesType(events, name))
  );
  return (
    <>
      <Verdict
        tone="calm"
        crumbs="Event types"
        headline={headlineOf(types.length, unselected.length, endpoints.length, more)}
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
      {types.map((type) => <TypeSection visit={visit} type={type} endpoints={endpoints} />)}
    </>
  );
}

function headlineOf(types: number, unselected: number, endpoints: number, more: boolean): string {
  const all = `There are ${types} event types`;
  if (endpoints === 0) return `${all}, and no endpoint to select them yet`;
  if (more || unselected === 0) return more ? all : `All ${types} event types are selected`;
  const rest = unselected === 1 ? "1 is" : `${unselected} are`;
  return `${all}; ${rest} selected by no endpoint`;
}

function TypeSection({ visit, type, endpoints }: {
  readonly visit: Visit;
  readonly type: shown.EventType;
  readonly endpoints: readonly shown.Endpoint[];
}) {
  const { base, audience } = visit.house;
  const { name, description, schema, sample } = type;
  const selecting = endpoints.filter(({ events }) => matchesType(events, name));
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
          selecting.length === 0 ? "No endpoint" : selecting.map((endpoint, index) => (
            <>
              {index === 0 ? "" : ", "}
              <a href={`${base}/endpoints/${encodeURIComponent(endpoint.id)}`}>
                {nameOf(endpoint)}
              </a>
            </>
          )),
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
