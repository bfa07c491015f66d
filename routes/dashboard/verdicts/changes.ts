import type * as shown from "../../../lib/admin/shown.ts";
import { isObject } from "../../../lib/core/json.ts";
import { OPERATOR, PORTAL_ACTOR } from "../../../lib/core/scope.ts";
import { formatDuration, formatRate } from "../../../lib/core/units.ts";
import type { Audience } from "../visit.ts";
import { together } from "./verdict.ts";

/** A change in words: who, and what they did. */
export interface ChangeWords {
  readonly who: string;
  readonly text: string;
}

/** A change as a sentence goes: `anna` `rotated the secret of crm`. `of` is the name of what changed, or null. */
export function changeWords(
  entry: Pick<shown.AuditEntry, "actor" | "action" | "object" | "before" | "after">,
  audience: Audience,
  of: string | null,
): ChangeWords {
  return { who: actorWords(entry.actor, audience), text: actionWords(entry, audience, of) };
}

/** An actor as the audience calls it. */
export function actorWords(actor: string, audience: Audience): string {
  if (actor.startsWith(PORTAL_ACTOR)) {
    return audience === "business" ? "Somebody with your link" : "The business";
  }
  if (audience === "business" && actor === OPERATOR) return "BookMe";
  return actor.replace(/^the /, "The ");
}

type Entry = Pick<shown.AuditEntry, "action" | "object" | "before" | "after">;

function actionWords(
  { action, object, before, after }: Entry,
  audience: Audience,
  of: string | null,
): string {
  const ofIt = of === null ? "" : ` of ${of}`;
  const it = of ?? "it";
  switch (action) {
    case "endpoint.created":
      return `made ${it}`;
    case "endpoint.updated":
      return updateWords(before, after, of);
    case "endpoint.retired":
      return `deleted ${it}`;
    case "endpoint.paused":
      return `paused ${it}${reasonOf(after)}`;
    case "endpoint.resumed":
      return `resumed ${it}`;
    case "endpoint.rotated":
      return `rotated the secret${ofIt}`;
    case "endpoint.overlap_moved":
      return after === null || !isObject(after)
        ? `ended the overlap${ofIt}`
        : `moved the end of the overlap${ofIt}`;
    case "endpoint.tested":
      return of === null ? "sent it a test" : `sent ${of} a test`;
    case "config.reloaded":
      return `reloaded the configuration${reloadWords(after)}`;
    case "delivery.retried":
      return "retried a delivery";
    case "delivery.cancelled":
      return "cancelled a delivery";
    case "replay.created":
      return "began a replay";
    case "replay.cancelled":
      return "cancelled a replay";
    case "portal_link.created":
      return `made a portal link${businessOf(after)}`;
    case "portal_link.revoked":
      return "revoked a portal link";
    case "erasure.created":
      return "began an erasure";
    case "erasure.done":
      return "finished an erasure";
    case "alert.acknowledged":
      return `acknowledged ${of === null ? "an alert" : `“${of}”`}`;
    case "alert.snoozed":
      return `snoozed ${of === null ? "an alert" : `“${of}”`}${timeOf(after)}`;
    case "alerts.tested":
      return `sent a test of alerts${targetsOf(after)}`;
    case "alert_contact.updated":
      return `changed where ${audience === "business" ? "your alerts" : `alerts of ${object}`} go`;
    default:
      return `${action} ${object}`;
  }
}

function memberOf(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}

function reasonOf(after: unknown): string {
  const reason = memberOf(after, "reason");
  return typeof reason === "string" ? `: “${reason}”` : "";
}

function businessOf(after: unknown): string {
  const business = memberOf(after, "business");
  return typeof business === "string" ? ` for ${business}` : "";
}

function timeOf(after: unknown): string {
  const for_ms = memberOf(after, "for_ms");
  return typeof for_ms === "number" ? ` for ${formatDuration(for_ms)}` : "";
}

function targetsOf(after: unknown): string {
  const targets = namesIn(memberOf(after, "targets"));
  return targets.length === 0 ? "" : ` to ${together(targets)}`;
}

function reloadWords(after: unknown): string {
  const changed = memberOf(after, "changed");
  if (!Array.isArray(changed) || changed.length === 0) return "";
  const [first] = changed;
  return changed.length === 1 ? `: ${first}` : `: ${first} and ${changed.length - 1} more`;
}

// --- what an update changed -------------------------------------------------------------------------------

interface Change {
  /** `timeout`, as one of several. */
  readonly field: string;
  /** `changed the timeout from 5s to 10s`, where it is the only one. */
  readonly alone: string;
  /** The word before the endpoint's name: `of` or `for`. */
  readonly joint: string;
}

function updateWords(before: unknown, after: unknown, of: string | null): string {
  const changes = changesOf(before, after);
  const [only] = changes;
  if (only === undefined) return of === null ? "changed its settings" : `changed ${of}`;
  if (changes.length === 1) return only.alone + (of === null ? "" : ` ${only.joint} ${of}`);
  return `changed ${together(changes.map(({ field }) => field))}${of === null ? "" : ` of ${of}`}`;
}

function changesOf(before: unknown, after: unknown): Change[] {
  const settings = [memberOf(before, "settings"), memberOf(after, "settings")] as const;
  const setting = (name: string) =>
    [memberOf(settings[0], name), memberOf(settings[1], name)] as const;
  const changes = [
    fromTo("URL", [memberOf(before, "url"), memberOf(after, "url")], () => null),
    eventsChange(memberOf(before, "events"), memberOf(after, "events")),
    fromTo(
      "businesses",
      [memberOf(before, "businesses"), memberOf(after, "businesses")],
      () => null,
    ),
    fromTo(
      "description",
      setting("description"),
      (value) => typeof value === "string" ? `“${value}”` : null,
    ),
    fromTo(
      "timeout",
      setting("timeout_ms"),
      (value) => typeof value === "number" ? formatDuration(value) : null,
    ),
    fromTo("retry policy", setting("retry_ms"), () => null),
    fromTo(
      "concurrency",
      setting("concurrency"),
      (value) => typeof value === "number" ? String(value) : null,
    ),
    fromTo(
      "rate limit",
      setting("rate_limit_per_s"),
      (value) => typeof value === "number" ? formatRate(value) : null,
    ),
    fromTo("tracing", setting("traceparent"), () => null),
    fromTo("signing", setting("unsigned"), () => null),
    headersChange(setting("headers"), memberOf(after, "header_values") !== undefined),
    tlsChange(setting("tls"), memberOf(after, "tls") !== undefined),
    memberOf(after, "credentials") === undefined
      ? null
      : { field: "credentials", alone: "changed the secret or header values", joint: "of" },
  ];
  return changes.filter((change) => change !== null);
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}

function fromTo(
  field: string,
  [from, to]: readonly [unknown, unknown],
  show: (value: unknown) => string | null,
): Change | null {
  if (isSame(from, to)) return null;
  const [was, is] = [show(from), show(to)];
  const alone = was !== null && is !== null
    ? `changed the ${field} from ${was} to ${is}`
    : is !== null
    ? `set the ${field} to ${is}`
    : was !== null
    ? `removed the ${field} of ${was}`
    : `changed the ${field}`;
  return { field, alone, joint: alone.startsWith("changed the") && was === null ? "of" : "for" };
}

function namesIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((name) => typeof name === "string") : [];
}

function eventsChange(from: unknown, to: unknown): Change | null {
  if (isSame(from, to)) return null;
  const [was, is] = [namesIn(from), namesIn(to)];
  const added = is.filter((name) => !was.includes(name));
  const removed = was.filter((name) => !is.includes(name));
  const alone = removed.length === 0 && added.length > 0
    ? `selected ${together(added)}`
    : added.length === 0 && removed.length > 0
    ? `deselected ${together(removed)}`
    : "changed the events";
  return { field: "events", alone, joint: "for" };
}

function headersChange([from, to]: readonly [unknown, unknown], values: boolean): Change | null {
  const [was, is] = [namesIn(from), namesIn(to)];
  const added = is.filter((name) => !was.includes(name));
  const removed = was.filter((name) => !is.includes(name));
  const noun = (names: readonly string[]) => names.length === 1 ? "header" : "headers";
  if (added.length > 0 && removed.length === 0) {
    return { field: "headers", alone: `added the ${noun(added)} ${together(added)}`, joint: "for" };
  }
  if (removed.length > 0 && added.length === 0) {
    return {
      field: "headers",
      alone: `removed the ${noun(removed)} ${together(removed)}`,
      joint: "of",
    };
  }
  return added.length + removed.length > 0 || values
    ? { field: "headers", alone: "changed the values of headers", joint: "of" }
    : null;
}

function tlsChange([from, to]: readonly [unknown, unknown], given: boolean): Change | null {
  return isSame(from, to) && !given
    ? null
    : { field: "certificates", alone: "changed the certificates", joint: "of" };
}
