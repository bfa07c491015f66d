import { formatDuration } from "../../../lib/core/units.ts";
import { capitalised } from "../../../lib/core/words.ts";
import { Code, CopyFrom, Facts, Fold, LinkButton, Section, Verdict } from "../components/all.ts";
import { SNIPPETS } from "../snippets.ts";
import { inWord } from "../verdicts/attempts.ts";
import { age } from "../verdicts/endpoint.ts";
import { REASON_HELP } from "../verdicts/reasons.ts";
import type { Visit } from "../visit.ts";

interface Promised {
  readonly timeout_ms: number;
  /** The wait before each attempt. */
  readonly retry_ms: readonly number[];
  /** How long events are kept. */
  readonly kept_ms: number;
}

/** Help for the developer of a receiver. */
export function HelpPage({ visit, ip_ranges, ...promise }: Promised & {
  readonly visit: Visit;
  readonly ip_ranges: readonly string[];
}) {
  const { base, audience } = visit.house;
  return (
    <>
      <Verdict
        tone="calm"
        crumbs="Help"
        headline="Verify the signature, answer 2xx at once, expect an event twice"
        actions={[
          <LinkButton href={`${base}/verify`} label="Check a signature" kind="primary" />,
          ...(visit.may_write ? [<LinkButton href={`${base}/test`} label="Send a test" />] : []),
        ]}
      >
        <p>
          {audience === "operator"
            ? "For developers of receivers. Send them this page's sections, or a portal link."
            : "For your technician: how your system receives what BookMe sends, and what to do if it does not."}
        </p>
      </Verdict>
      <RequestHelp />
      <SignatureHelp />
      <AnswerHelp {...promise} />
      <ReasonsHelp />
      <Section title="Where requests come from" id="addresses">
        <p>
          Allow these addresses in a firewall, in addition to the signature and never instead of it.
        </p>
        <Code text={ip_ranges.join("\n")} id="ip-ranges" />
        <p class="note">
          <CopyFrom id="ip-ranges" what="the addresses" />
        </p>
      </Section>
    </>
  );
}

const HEADERS: readonly (readonly [name: string, what: string])[] = [
  [
    "X-BookMe-Signature",
    "sha256= and the hex HMAC-SHA-256 of the body, keyed with the whole secret",
  ],
  ["X-BookMe-Event", "The event type, such as booking.created"],
  [
    "X-BookMe-Event-Id",
    "evt_…: the same whenever this event comes; remember it to recognise repetitions",
  ],
  ["X-BookMe-Delivery-Id", "dlv_…: this event for this endpoint; search for it here"],
  ["X-BookMe-Attempt", "Which attempt this is, from 1"],
  ["X-BookMe-Test", "true on test events, and on nothing else"],
  [
    "webhook-id, webhook-timestamp, webhook-signature",
    "As Standard Webhooks libraries expect them",
  ],
];

function RequestHelp() {
  return (
    <Section title="The request" id="request">
      <p>A POST with the event as its body, as JSON, and these headers.</p>
      <Facts wide items={HEADERS.map(([name, what]) => [<code>{name}</code>, what])} />
    </Section>
  );
}

function SignatureHelp() {
  return (
    <Section title="Verifying the signature" id="signature">
      <p>
        Verify the bytes as received, before anything parses them, and compare in constant time. A
        body that was parsed and written again has other bytes.
      </p>
      {SNIPPETS.map(({ language, code }, index) => (
        <Fold label={language} open={index === 0}>
          <Code text={code} id={`snippet-${language}`} />
          <p class="note">
            <CopyFrom id={`snippet-${language}`} what={`the ${language} function`} />
          </p>
        </Fold>
      ))}
      <p>
        During a rotation <code>X-BookMe-Signature</code> is signed with the new secret, and{" "}
        <code>webhook-signature</code>{" "}
        has both signatures until the overlap ends: either secret verifies it.
      </p>
    </Section>
  );
}

function AnswerHelp({ timeout_ms, retry_ms, kept_ms }: Promised) {
  const attempts = retry_ms.length;
  const span_ms = retry_ms.reduce((sum, wait_ms) => sum + wait_ms, 0);
  return (
    <Section title="Answers and retries" id="answers">
      <Facts
        items={[
          ["2xx", `Accepted. It has to come within ${formatDuration(timeout_ms)}.`],
          ["429, 503", "With Retry-After: the next attempt waits at least that long."],
          ["410", "Nothing more is wanted: the delivery ends, and the endpoint is paused."],
          [
            "Anything else",
            "The attempt failed, and the next one follows. Redirects are not followed.",
          ],
          [
            "Retries",
            attempts === 1
              ? "One attempt."
              : `${capitalised(inWord(attempts))} attempts over ${
                age(span_ms)
              }, with these waits: ${
                retry_ms.slice(1).map(formatDuration).join(", ")
              }. An endpoint may have its own.`,
          ],
          ["Afterwards", `Failed deliveries stay for ${age(kept_ms)} and can be sent again.`],
          [
            "Order",
            "Not promised: order by timestamp. booking.confirmed may arrive before booking.created.",
          ],
        ]}
      />
    </Section>
  );
}

function ReasonsHelp() {
  return (
    <Section title="Why attempts fail" id="reasons">
      {REASON_HELP.map(({ reason, title, means, remedy }) => (
        <div class="reason" id={reason}>
          <h3>
            {title} <code>{reason}</code>
          </h3>
          <p>{means}</p>
          <p>{remedy}</p>
        </div>
      ))}
    </Section>
  );
}
