import { DAEMON_RULES } from "./daemon_rules.ts";
import { ENDPOINT_RULES } from "./endpoint_rules.ts";
import { egressBroken, egressFigures, HOUSE_RULES } from "./house_rules.ts";
import { type Change, type Facts, nextReminder, type OpenAlert, type Settings } from "./kinds.ts";
import type { Found, Judged, Rule } from "./rules.ts";

const RULES: readonly Rule[] = [egressBroken, ...ENDPOINT_RULES, ...HOUSE_RULES, ...DAEMON_RULES];

/**
 * Judges what is true now: which alerts begin, which end, and of which it is time to remind. While everything
 * fails at once, no receiver is blamed. The same facts never begin an alert and end it again.
 */
export function judge(facts: Facts, open: readonly OpenAlert[], settings: Settings): Change[] {
  const endpoints = new Map(facts.endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const judged: Judged = {
    facts,
    settings,
    endpoint: (id) => endpoints.get(id),
    isOpen: (kind, subject) =>
      open.some((alert) =>
        alert.kind === kind && (subject === undefined || alert.subject === subject)
      ),
    // The facts of the moment at which it ends still have its failures.
    is_egress_broken: open.some(({ kind }) => kind === "egress_broken") ||
      egressFigures(facts) !== undefined,
  };
  return RULES.flatMap((rule) =>
    changesOf(rule, open.filter(({ kind }) => kind === rule.kind), judged)
  );
}

function changesOf(rule: Rule, open: readonly OpenAlert[], judged: Judged): Change[] {
  const { now } = judged.facts;
  // Whatever would end at once does not begin, and whatever would begin at once does not end.
  const found = rule.finds(judged)
    .filter((one) => rule.endOf({ ...one, opened_at: now }, judged) === null);
  const isFound = ({ subject }: OpenAlert) => found.some((one) => one.subject === subject);
  const isNew = ({ subject }: Found) => !open.some((alert) => alert.subject === subject);
  const beginning = rule.isExplained(judged) ? [] : found.filter(isNew);
  return [
    ...open.flatMap((alert) => goesOn(rule, alert, isFound(alert), judged)),
    ...beginning.map((one): Change => ({
      ...one,
      what: "began",
      kind: rule.kind,
      remind_at: rule.is_reminded ? nextReminder(now, now) : null,
    })),
  ];
}

function goesOn(rule: Rule, alert: OpenAlert, is_found: boolean, judged: Judged): Change[] {
  const { facts: { now } } = judged;
  const { kind, subject, endpoint_no, business, began_at } = alert;
  const same = { kind, subject, endpoint_no, business, began_at, alert };
  const end_reason = is_found ? null : rule.endOf(alert, judged);
  if (end_reason !== null) {
    return [{ ...same, what: "ended", details: alert.details, end_reason }];
  }
  const figures = rule.figures(alert, judged);
  // All of them or none: a window or a reason of then does not go with the counts of now.
  const details = Object.keys(figures).length === 0 ? alert.details : figures;
  const is_further = (details.stage ?? 0) > (alert.details.stage ?? 0);
  if (!is_further && !isReminderDue(alert, now)) return [];
  const remind_at = alert.remind_at === null ? null : nextReminder(alert.opened_at, now);
  return [{ ...same, what: "reminded", details, remind_at }];
}

function isReminderDue({ remind_at, acknowledged_at, snoozed_until }: OpenAlert, now: number) {
  return remind_at !== null && remind_at <= now && acknowledged_at === null &&
    (snoozed_until === null || snoozed_until <= now);
}
