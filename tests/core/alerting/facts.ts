import type {
  Change,
  EndpointFacts,
  Facts,
  OpenAlert,
  Settings,
} from "../../../lib/core/alerting/kinds.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** A Sunday. */
export const NOW = Date.parse("2026-11-29T14:00:00Z");

export const SETTINGS: Settings = {
  failure_rate: 0.2,
  window_ms: 15 * MINUTE,
  min_attempts: 20,
  auto_pause_ms: 5 * DAY,
};

/** An endpoint that delivers. */
export const HEALTHY: EndpointFacts = {
  no: 1,
  id: "crm",
  owner: null,
  paused_by: null,
  paused_at: null,
  resumed_at: null,
  retired_at: null,
  window: { delivered: 30 },
  last_third: { delivered: 10 },
  recent: { delivered: 4 },
  run: { success_at: NOW - 1_000, failing_since: null, failure_at: null, failures: 0 },
  overdue_ms: null,
  check: null,
};

/** One that fails. */
export const FAILING: EndpointFacts = {
  ...HEALTHY,
  window: { http_4xx: 24 },
  last_third: { http_4xx: 8 },
  recent: { http_4xx: 3 },
  run: {
    success_at: NOW - 20 * MINUTE,
    failing_since: NOW - 10 * MINUTE,
    failure_at: NOW - 1_000,
    failures: 24,
  },
};

/** Everything is well at `now`. */
export function calm(endpoints: readonly EndpointFacts[] = [HEALTHY], now = NOW): Facts {
  return {
    now,
    since: { window: now - 15 * MINUTE, last_third: now - 5 * MINUTE, recent: now - 2 * MINUTE },
    endpoints,
    posts: {
      window: { accepted: 40, refused: {} },
      last_third: { accepted: 12, refused: {} },
    },
    ingest: {
      last_event_at: now - MINUTE,
      counted_since: now - 60 * DAY,
      open_since: now - 30 * DAY,
      hours: [],
    },
    daemons: [{ id: "dmn_1", file: "f1", version: "1.0.0", started_at: now - DAY, troubles: [] }],
    file: { digest: "f1", seen_at: now - DAY },
    targets: [],
    egress_ended_at: null,
  };
}

/** The alerts that are open after these changes, as the database keeps them. */
export function after(open: readonly OpenAlert[], changes: readonly Change[], now: number) {
  const left = open.filter((alert) =>
    !changes.some((change) => change.what === "ended" && change.alert.id === alert.id)
  ).map((alert): OpenAlert => {
    const reminded = changes.find((change) =>
      change.what === "reminded" && change.alert.id === alert.id
    );
    return reminded?.what !== "reminded" ? alert : {
      ...alert,
      details: reminded.details,
      remind_at: reminded.remind_at,
      occasions: alert.occasions + 1,
    };
  });
  const began = changes.filter((change) => change.what === "began");
  return [
    ...left,
    ...began.map(({ what: _, ...change }): OpenAlert => ({
      ...change,
      id: `${change.kind} ${change.subject} ${now}`,
      opened_at: now,
      occasions: 1,
      acknowledged_at: null,
      snoozed_until: null,
    })),
  ];
}

/** An open alert. */
export function opened(kind: OpenAlert["kind"], more: Partial<OpenAlert> = {}): OpenAlert {
  return {
    id: "1",
    kind,
    subject: "crm",
    endpoint_no: 1,
    business: null,
    began_at: NOW - 30 * MINUTE,
    opened_at: NOW - 20 * MINUTE,
    details: {},
    occasions: 1,
    remind_at: NOW + 40 * MINUTE,
    acknowledged_at: null,
    snoozed_until: null,
    ...more,
  };
}

/** Changes in short: `began endpoint_failing crm`. */
export function inShort(changes: readonly Change[]): string[] {
  return changes.map((change) =>
    [change.what, change.kind, change.subject, change.what === "ended" ? change.end_reason : ""]
      .filter((word) => word !== "").join(" ")
  );
}
