/** Every component with invented data on one page, to look at and to test. */

import { Hono } from "hono";
import type { JSX } from "hono/jsx/jsx-runtime";
import type * as shown from "../../lib/admin/shown.ts";
import { ASSETS } from "../../routes/dashboard/assets.ts";
import * as ui from "../../routes/dashboard/components/all.ts";
import { page } from "../../routes/dashboard/layout.tsx";
import { DASHBOARD, type PageEnv, type Visit } from "../../routes/dashboard/visit.ts";

const NOW = "2026-11-26T14:31:07.000Z";

/** An administrator's visit at 14:31. */
export const VISIT: Visit = {
  house: DASHBOARD,
  by: { actor: { name: "ops", address: null }, scope: "everything", payloads: true },
  name: "ops",
  may_write: true,
  link_ends_at: null,
  csrf: "csrf-of-the-visit",
  here: "/dashboard",
  now: Date.parse(NOW),
  environment: "production",
};

/** A request that was rejected with 401. */
export const ATTEMPT: shown.Attempt = {
  id: "att_06yp7m3k0r5d2c00h8vw000007",
  number: 7,
  outcome: "http_4xx",
  status: 401,
  cause: null,
  address: "203.0.113.20:443",
  started_at: "2026-11-26T14:26:37.318Z",
  ended_at: "2026-11-26T14:26:37.402Z",
  duration_ms: 84,
  phases: { dns_ms: 1.8, connect_ms: 11.3, tls_ms: 24.2, waiting_ms: 46.7, reused: false },
  certificate_ends_at: "2027-01-26T00:00:00.000Z",
  request: {
    method: "POST",
    url: "https://crm.example.com/webhooks/bookme",
    headers: {
      "Content-Type": "application/json",
      "User-Agent": "BookMe-Webhooks/1.4.0",
      "X-BookMe-Signature":
        "sha256=5f0c9d61e2b8a7740c3ab1d9f2e64780be51c7a93d20f6e81b4497ac0d35e812",
      "X-BookMe-Event": "booking.created",
      "X-BookMe-Event-Id": "evt_06yp7m3k0r5d2c00h8vw",
    },
    body: '{"event":"booking.created","data":{"appointment":{"id":"apt_51877","price":7.50e1,' +
      '"notes":"<script>alert(1)</script>"}}}',
  },
  response: {
    status: 401,
    headers: [["Content-Type", "application/json"], ["Server", "nginx"]],
    body: '{"error":"invalid signature","key":"k-2025-03"}',
    body_encoding: "utf-8",
    truncated: false,
  },
  payload_hidden: false,
  advice: "crm got the request and rejected it, usually over the signature.",
};

/** 48 half hours with a failure in some, and the last three waiting. */
export const BARS: readonly ui.ChartBar[] = Array.from({ length: 48 }, (_, index) => {
  const from = Date.parse("2026-11-25T14:30:00Z") + index * 1_800_000;
  const day = Math.cos((index - 6) / 48 * 2 * Math.PI);
  return {
    from: new Date(from).toISOString(),
    to: new Date(from + 1_800_000).toISOString(),
    delivered: Math.max(12, Math.round(310 + 290 * day)),
    waiting: index > 44 ? 80 + index : 0,
    failed: index % 7 === 3 ? index % 3 + 1 : 0,
  };
});

interface Row {
  readonly id: string;
  readonly state: Parameters<typeof ui.State>[0];
  readonly name: string;
  readonly type: string;
  readonly endpoint: string;
  readonly why: string;
  readonly attempts: string;
  readonly at: string;
}

/** Rows of deliveries. */
export const ROWS: readonly Row[] = [
  [
    "sending",
    "Sending",
    "BK2H6W9P",
    "booking.confirmed",
    "loyalty",
    "Timed out after 30 s",
    2,
    "07",
  ],
  ["waiting", "Waiting", "BK8F3J0S", "booking.created", "crm", "401 twice; next in 3 min", 2, "06"],
  [
    "failed",
    "Failed",
    "Hair Color",
    "service.updated",
    "ledger",
    "422: “unknown service”",
    4,
    "01",
  ],
  ["paused", "Paused", "BK9W1T6G", "booking.completed", "waitlist", "Endpoint is paused", 0, "00"],
].map(([kind, word, name, type, endpoint, why, attempts, second], index) => ({
  id: `dlv_${index}`,
  state: { kind, word } as Row["state"],
  name: String(name),
  type: String(type),
  endpoint: String(endpoint),
  why: String(why),
  attempts: `${attempts} of 7`,
  at: `2026-11-26T14:31:${second}.000Z`,
}));

const COLUMNS: readonly ui.Column<Row>[] = [
  { name: "state", label: "State", phone: "state", cell: ({ state }) => <ui.State {...state} /> },
  {
    name: "event",
    label: "Event",
    phone: "subject",
    cell: ({ name, type }) => <ui.Name name={name} rest={<ui.TypeName type={type} />} />,
  },
  { name: "endpoint", label: "Endpoint", phone: "under", cell: ({ endpoint }) => endpoint },
  { name: "why", label: "Why", phone: "reason", cell: ({ why }) => why },
  { name: "attempts", label: "Attempts", align: "right", cell: ({ attempts }) => attempts },
  {
    name: "at",
    label: "Last attempt",
    align: "right",
    phone: "time",
    cell: ({ at }) => <ui.Ago at={at} />,
  },
];

const STATES = [
  ["delivered", "Delivered", "Ended with a 2xx. Endpoints: Delivering, Receiving."],
  ["waiting", "Waiting", "Pending, with a time for the next attempt. Endpoints: Retrying."],
  ["sending", "Sending", "Pending, an attempt is under way."],
  ["overdue", "Overdue", "Pending and due, but not sent yet."],
  ["failed", "Failed", "Attempts used up. Endpoints: Failing."],
  ["paused", "Paused", "The endpoint is paused; its deliveries wait."],
  ["cancelled", "Cancelled", "Ended by a person, a change or an erasure."],
  ["unused", "Not used yet", "No attempt so far."],
  ["owed", "Owed", "Would be sent to this endpoint."],
] as const;

/** The whole page. */
export function Patterns({ visit = VISIT }: { readonly visit?: Visit }): JSX.Element {
  return (
    <>
      <ui.Verdict
        tone="failing"
        state={{ kind: "failed", word: "Failed" }}
        crumbs={
          <>
            <a href="/dashboard/deliveries">Deliveries</a> › BK4T8Q1Z to crm
          </>
        }
        aside={
          <>
            ended <ui.Ago at="2026-11-26T14:27:00Z" />
          </>
        }
        headline="crm rejected this booking seven times with 401, and no attempts are left"
        bar
        actions={
          <>
            <ui.LinkButton
              kind="primary"
              href="/dashboard/test?endpoint=crm"
              label="Send crm a test"
            />
            <ui.ActionButton
              visit={visit}
              action="/dashboard/deliveries/dlv_1/retry"
              label="Retry this one"
            />
            <ui.LinkButton href="/dashboard/replays" label="Replay crm’s 214 failed…" />
          </>
        }
      >
        <p>
          The secret of crm was rotated three minutes before the first 401. crm answered 401 again 2
          minutes ago, so{" "}
          <strong>a retry now would probably fail too</strong>. Give crm the new secret, test it,
          then retry.
        </p>
      </ui.Verdict>
      <ui.Notice>crm is paused. Its deliveries wait until you resume it.</ui.Notice>
      <ui.Figures
        items={[
          { label: "Delivered within 30 s, today", value: "96.6 %", note: "99.7 % without crm" },
          { label: "Delivered in the last hour", value: "82.5 %", note: "699 of 847" },
          {
            label: "Waiting",
            value: <ui.Count value={1000} exact={false} />,
            note: "388 for waitlist",
          },
          { label: "Overdue", value: "None", note: "Everything due was sent on time" },
        ]}
      />
      <ui.Section
        title="Deliveries, last 24 hours"
        aside={
          <ui.Legend
            items={[
              { kind: "delivered", word: "Delivered" },
              { kind: "waiting", word: "Waiting for a retry" },
              { kind: "failed", word: "Failed" },
            ]}
          />
        }
      >
        <ui.Chart
          bars={BARS}
          top_label="in half an hour"
          marks={[{ at: "2026-11-26T12:59:00Z", label: "crm’s secret rotated" }]}
          pins={[
            { at: "2026-11-25T17:00:00Z" },
            { at: "2026-11-26T12:40:00Z" },
            { at: "2026-11-26T12:59:00Z" },
          ]}
        />
        <ui.Pins
          items={[
            {
              text: (
                <>
                  <strong>anna</strong> added the header X-Tenant
                </>
              ),
              note: <ui.Moment at="2026-11-25T17:00:00Z" />,
            },
            { text: "13 timeouts in two hours", note: "All delivered on the second attempt" },
            {
              text: (
                <>
                  <strong>anna</strong> rotated the secret
                </>
              ),
              note: "Version 12. First 401 at 14:02.",
            },
          ]}
        />
      </ui.Section>
      <ui.Section title="States" aside="A word and a shape; the colour repeats them">
        <ui.Rows
          columns={[
            {
              name: "state",
              label: "State",
              phone: "state",
              cell: ([kind, word]) => <ui.State kind={kind} word={word} />,
            },
            { name: "means", label: "Means", phone: "reason", cell: ([, , means]) => means },
          ]}
          rows={STATES}
        />
      </ui.Section>
      <ui.Tabs
        items={[
          { label: "Needs attention", href: "?a", count: 250, current: true },
          { label: "Failed", href: "?b", count: 31, current: false },
          { label: "All", href: "?c", count: "1,000+", current: false },
        ]}
      />
      <ui.Chips
        items={[
          { name: "status", value: "failed or waiting", remove_href: "?x" },
          { name: "since", value: "24 h ago", remove_href: "?y" },
        ]}
      >
        <a href="?filter">Add a filter</a>
        <a href="?all">Clear all</a>
      </ui.Chips>
      <ui.Section id="rows" live="list">
        <ui.Rows
          label="Deliveries"
          columns={COLUMNS}
          rows={ROWS}
          href={({ id }) => `/dashboard/deliveries/${id}`}
          id={({ id }) => id}
        />
        <ui.Pager note="Newest 4 of 250. Deliveries are kept for 30 days." older_href="?cursor=x" />
      </ui.Section>
      <ui.Split kind="aside">
        <ui.Section title="Timeline" aside="seven attempts in 32 h 13 min">
          <ui.Timeline
            steps={[
              {
                at: "2026-11-26T13:02:11Z",
                kind: "owed",
                title: "Posted",
                note: "by BookMe, signed",
              },
              {
                at: "2026-11-26T13:02:11Z",
                kind: "owed",
                title: "Stored",
                note: "owed to 5 endpoints",
              },
              {
                at: "2026-11-26T13:02:12Z",
                kind: "failed",
                title: "401",
                note: "attempt 1, 84 ms",
                wait_after: "1 min 3 s",
                wait_ms: 63_000,
              },
              {
                at: "2026-11-26T13:03:14Z",
                kind: "failed",
                title: "401",
                note: "attempt 2, 71 ms",
                wait_after: "6 h, or up to 36 min more",
                wait_ms: 21_600_000,
              },
              {
                at: "2026-11-26T20:26:00Z",
                kind: "waiting",
                title: "Attempt 3",
                note: "next",
                planned: true,
                wait_after: "24 h after that",
                wait_ms: 86_400_000,
              },
              {
                at: "2026-11-27T20:26:00Z",
                kind: "waiting",
                title: "Attempt 4",
                note: "the last",
                planned: true,
              },
              {
                at: null,
                kind: "unused",
                title: "Failed",
                note: "if that one fails too",
                planned: true,
              },
            ]}
          />
        </ui.Section>
        <div>
          <ui.Section title="What changed">
            <ui.Compare
              choose={
                <ui.Filter action="/dashboard/deliveries/dlv_1">
                  <ui.Select
                    name="with"
                    label="Before"
                    value="accepted"
                    options={[{ value: "accepted", label: "Last accepted" }]}
                  />
                  <ui.Select
                    name="attempt"
                    label="After"
                    value="7"
                    options={[{ value: "7", label: "Attempt 7" }]}
                  />
                  <ui.Submit kind="plain" label="Compare" />
                </ui.Filter>
              }
              heads={["Thu 13:58:41, accepted", "Fri 22:15:40, attempt 7"]}
              rows={[
                { label: "Status", before: "200 OK", after: "401 Unauthorized" },
                {
                  label: "Signed with",
                  before: "secret of version 11",
                  after: "secret of version 12",
                  note: "rotated by anna, Thu 13:59",
                },
                {
                  label: "Response body",
                  before: <code>{'{"ok":true}'}</code>,
                  after: <code>{'{"error":"invalid signature"}'}</code>,
                },
              ]}
              same="The same in both: URL, address, certificate, 9 other request headers."
            />
          </ui.Section>
          <ui.Section>
            <ui.Facts
              items={[
                ["Event", <a href="/dashboard/events/evt_1">booking.created</a>],
                ["Endpoint", "crm, https://crm.example.com/webhooks/bookme"],
                ["Delivery id", <ui.Id text="dlv_06yp7m3k0r5d2c00h8vw000007" what="delivery id" />],
              ]}
            />
          </ui.Section>
        </div>
      </ui.Split>
      <ui.Section title="Attempts, newest first" aside="Body identical in all seven, 527 bytes">
        <ui.AttemptDetails attempt={ATTEMPT} open visit={visit} />
        <ui.AttemptDetails attempt={{ ...ATTEMPT, number: 6 }} open={false} visit={visit} />
      </ui.Section>
      <ui.Section title="Secret" aside="Version 12, since Thu 13:59">
        <p>
          <strong>The old secret works for another 22 h 28 min.</strong>
        </p>
        <ui.Bars
          parts={[{ kind: "accent", value: 6 }]}
          total={100}
          label="6 % of the overlap has passed"
        />
        <ui.Actions>
          <ui.LinkButton href="?rotate" label="Rotate again…" />
          <ui.LinkButton href="?end" label="End the overlap now…" kind="danger" />
        </ui.Actions>
      </ui.Section>
      <ui.Form visit={visit} action="/dashboard/endpoints/crm">
        <ui.Section title="Settings" aside="Made in the dashboard by anna, 12 March">
          <ui.FormMessage
            state={{ values: {}, errors: new Map([["timeout", "x"]]), message: null }}
          />
          <ui.TextField
            name="url"
            label="URL"
            value="https://crm.example.com/webhooks/bookme"
            note="Waiting deliveries go to the new URL as soon as you save."
          />
          <ui.CheckFields
            name="events"
            label="Events"
            options={STATES.map(([kind]) => ({ value: `booking.${kind}` }))}
            values={["booking.delivered"]}
            note="Deselecting a type cancels its waiting deliveries."
          />
          <ui.TextField
            name="timeout"
            label="Timeout"
            value="10 seconds"
            narrow
            error="Write a number and a unit, like 10s or 1m."
            note="At most 30s."
          />
          <ui.TextField
            name="retry"
            label="Retry policy"
            value="0s, 1m"
            readonly
            note="Set in config.yaml, line 48. Change it there and reload."
          />
          <ui.SelectField
            name="kind"
            label="Kind"
            value="b"
            options={[{ value: "a" }, { value: "b", label: "The second" }]}
          />
          <ui.AreaField name="ca" label="Certificates" value={"-----BEGIN\nCERTIFICATE-----"} />
          <ui.FormRow>
            <ui.Actions>
              <ui.Submit label="Save settings" />
              <span class="note">Takes effect with the next attempt.</span>
            </ui.Actions>
          </ui.FormRow>
        </ui.Section>
      </ui.Form>
      <ui.Section title="New secret">
        <ui.Once label="New secret" value="whsec_Zk3vQ0pX8mB1nT6yLw2cRj9dHs5aUe7g" />
      </ui.Section>
      <ui.Danger title="Delete crm">
        <ui.Form visit={visit} action="/dashboard/endpoints/crm/delete">
          <ui.FormRow label="Type crm to confirm">
            <p>Cancels crm’s 214 waiting deliveries and creates no new ones.</p>
            <ui.Actions>
              <input class="narrow" name="confirm" aria-label="Type crm to confirm" />
              <ui.Submit kind="danger" label="Delete crm and cancel 214" />
            </ui.Actions>
          </ui.FormRow>
        </ui.Form>
      </ui.Danger>
      <ui.Section title="Audit, before and after">
        <ui.Diff
          changes={[
            { field: "timeout", before: "5s", after: "10s" },
            { field: "headers", before: null, after: "X-Tenant" },
            { field: "rate_limit", before: "50/s", after: null },
          ]}
        />
      </ui.Section>
      <ui.Section title="Nothing to show, by cause">
        <ui.Empty cause="No delivery matches these filters">
          31 match without code 404. <a href="?">Clear all filters</a>
        </ui.Empty>
        <ui.Empty cause="No endpoint yet">
          Events are accepted and kept, but no endpoint is owed them.
        </ui.Empty>
        <ui.Code text={"curl https://hooks.example.com/ingest \\\n  -d '{}'"} id="post-curl" />
        <ui.CopyFrom id="post-curl" what="command" />
      </ui.Section>
      <ui.Split kind="halves">
        <ui.Section title="Open alerts" aside={<a href="?">All alerts</a>}>
          <ui.Notes items={[{ text: "crm: every attempt fails", note: "Since 14:17." }]} />
        </ui.Section>
        <ui.Section title="Latest changes" aside={<a href="?">Audit</a>}>
          <ui.Notes
            items={[
              { text: "anna rotated the secret of crm", note: "13:59, dashboard." },
              { text: "ben paused waitlist", note: <ui.Spark bars={BARS} /> },
            ]}
          />
        </ui.Section>
      </ui.Split>
    </>
  );
}

/** Serves the page at /dashboard with what it loads, without a session. */
export function patternsApp(): Hono<PageEnv> {
  const app = new Hono<PageEnv>();
  for (const { path, type, bytes } of ASSETS) {
    app.get(path, (c) => c.body(bytes, 200, { "content-type": type }));
  }
  return app.get(
    "/dashboard",
    (c) => page(c, VISIT, { title: "Patterns", nav: "deliveries" }, <Patterns />),
  );
}
