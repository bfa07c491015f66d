-- The whole state of bookme-webhooks. A delivery that has not ended lives in pending_deliveries,
-- which stays small and is the only table that is claimed from; when it ends it moves, in one
-- statement, to ended_deliveries, and takes its last attempt along, out of attempts. Earlier ones stay.
-- The tables that grow are partitioned by id, and ids sort by time: a week that is old enough is dropped as a
-- whole (see the table partitions).

create table fleet (
  singleton boolean primary key default true check (singleton),
  -- Grows with every change to an endpoint. An event is stored only by a daemon that has matched it
  -- against this very revision, so that no endpoint is missed while several daemons run.
  revision bigint not null,
  -- Somebody follows what changes: until then statements write it to the table changes.
  streamed_until timestamptz not null default '-infinity'
);
insert into fleet (revision) values (1);

-- Changes of the last minutes, for GET /api/stream: each statement writes one row, but only until
-- fleet.streamed_until, so that changes cost nothing while nobody follows. Ids alone: readers look up the
-- present state, within their scope. Not unlogged: a position must outlive a crash and a failover.
create table changes (
  -- Rows are committed in another order: a missing number may still come.
  no bigint generated always as identity primary key,
  -- When the number was taken.
  at timestamptz not null default clock_timestamp(),
  events uuid[] not null default '{}',
  -- Of each event, for readers that see one business only.
  businesses text[] not null default '{}',
  deliveries uuid[] not null default '{}',
  endpoints text[] not null default '{}',
  replays uuid[] not null default '{}',
  alerts uuid[] not null default '{}'
);

-- Writes that down, in an expression: see `noting` in lib/store/changes.ts.
create function note_changes(events uuid[], businesses text[], deliveries uuid[]) returns void
  language plpgsql volatile as $$
  begin
    insert into changes (events, businesses, deliveries) values (events, businesses, deliveries);
  end $$;

-- The daemons on the database: nothing is delivered to their listeners. Each says every ten seconds that
-- it lives; one not seen for a minute is gone.
create table daemons (
  -- dmn_…
  id text primary key,
  -- Equal for daemons on one machine.
  machine text not null,
  -- [{"address": "10.0.0.5", "port": 8080}]
  listeners jsonb not null,
  version text not null,
  -- Digest of its configuration file, as far as all daemons must agree on that.
  file text not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null,
  -- Troubles of its machine: [{"kind": "disk_low", "since": …, …}], see lib/core/alerting.
  troubles jsonb not null default '[]',
  -- Set by a graceful stop. The daemon may come back: its file counts as held for a minute more.
  stopped_at timestamptz
);

-- Every configuration file that a daemon has had: forgotten, an old one would pass for a new one.
create table files (
  digest text primary key,
  -- When a daemon first had it, or an operator last had it read again. Later than any before, even if
  -- the clock was set back: this is the order of files.
  seen_at timestamptz not null,
  -- Digests by section, and by endpoint and field, to say how two files differ. Null once no daemon has
  -- the file.
  sections jsonb,
  endpoints jsonb
);

-- The file that the endpoints of the file come from.
create table file_in_force (
  singleton boolean primary key default true check (singleton),
  -- Null before the first daemon.
  digest text,
  -- Grows whenever a daemon puts its file in force, each under a lock on this row.
  revision bigint not null,
  -- timeout_ms and retry_ms of endpoints without their own; retention, in milliseconds for each kind of
  -- history; what alerts are judged by, and the names of those who get them.
  policy jsonb
);
insert into file_in_force (revision) values (1);

create table endpoints (
  -- In the id of each delivery. Those of a business's endpoints are random, from 2^30 up: in a row with the
  -- others, they would tell it how many others there are.
  no integer generated always as identity primary key,
  id text not null unique,
  source text not null check (source in ('file', 'api')),
  url text not null,
  events text[] not null check (cardinality(events) > 0),
  businesses text[],
  -- The business that made it; null: an operator's, which a business never sees, even if it names it.
  owner text check (owner is null or (source = 'api' and businesses = array[owner])),
  -- timeout_ms, retry_ms, concurrency, rate_limit_per_s, unsigned, traceparent, description, headers (names only)
  settings jsonb not null,
  -- Secrets and header values of an endpoint made through the API, AES-256-GCM under a key that is
  -- not in the database. Those of the file's endpoints are never stored.
  sealed bytea check (sealed is null or source = 'api'),
  -- Of an endpoint of the file: a digest of its secrets, header values and TLS, slow to make. A daemon
  -- whose file has others does not send.
  credentials text check (credentials is null or source = 'file'),
  -- When the first of the sealed secrets that a rotation replaced stops signing: the sweep drops it.
  secret_expires_at timestamptz,
  version integer not null default 1,
  -- With a rate limit: the earliest moment of its next attempt. Whoever claims for the endpoint moves
  -- it on, under a lock on this row, so that the limit holds whatever the number of daemons. What
  -- changes the limit sets it back.
  next_send_at timestamptz not null default '-infinity',
  -- When it last ceased to select something. The sweep cancels what it is still owed of that, and
  -- forgets this when nothing more can appear.
  narrowed_at timestamptz,
  -- Until then nothing is cancelled that it is still owed: its file was replaced only because all daemons
  -- that held it are gone without having stopped, and they may come back. Null: at once.
  cancels_from timestamptz,
  -- Since when it is known that deliveries which nobody sends will expire within days; null if none will.
  expiry_announced_at timestamptz,
  paused_at timestamptz,
  pause_reason text check ((pause_reason is null) = (paused_at is null)),
  -- An operator or a business, a 410, or `alerts.auto_pause`: only of the last it is tried whether it may end.
  paused_by text check (paused_by in ('hand', 'gone', 'automatic') and (paused_by is null) = (paused_at is null)),
  -- When the last pause ended: failures before then say nothing about the next automatic one.
  resumed_at timestamptz,
  -- Of an automatic pause: when the receiver is tried next.
  probe_at timestamptz check ((probe_at is null) or paused_by = 'automatic'),
  retired_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- Whatever a business asks for begins with its endpoints.
create index endpoints_owner on endpoints (owner) where owner is not null;

-- The url and the selection of each version of an endpoint: they show an old attempt as it was, and
-- explain an old event.
create table endpoint_versions (
  endpoint_no integer not null references endpoints (no),
  version integer not null,
  url text not null,
  -- Names only: values may be credentials.
  headers jsonb not null,
  events text[] not null,
  businesses text[],
  created_at timestamptz not null default now(),
  -- When the endpoint was retired. The file can bring it back, as its next version.
  retired_at timestamptz,
  primary key (endpoint_no, version)
);

-- The ranges of ids in which the partitioned tables have a partition each, on the same boundaries: Mondays,
-- 00:00 UTC. A partition is named after its table and first day, `events_20261123`.
create table partitions (
  first_id uuid primary key,
  -- Not included.
  last_id uuid not null check (last_id > first_id),
  made_at timestamptz not null default now(),
  -- Since then no delivery comes back by a retry or a replay. A minute later no statement that saw it open
  -- is running, and the partitions may be dropped.
  closed_at timestamptz
);

create table events (
  id uuid primary key,
  type text not null,
  business text,
  subject text,
  confirmation text,
  test boolean not null default false,
  received_at timestamptz not null,
  -- When its payload was erased by an operator's wish.
  erased_at timestamptz,
  -- The posted bytes: JSON is UTF-8 without control characters, so text keeps each of them. Never
  -- jsonb, which reorders keys, drops duplicates and refuses \u0000. Null once erased, or older than
  -- retention.payloads: whoever takes it away locks the row for update, which holds up those who bring a
  -- delivery back, and makes sure that none is pending, but for one being sent that ends with its attempt.
  payload text check (payload is null or erased_at is null),
  -- The W3C traceparent of its post: its first attempts continue that trace. Null without one.
  trace text
) partition by range (id);
-- People search for both.
create index events_confirmation on events (confirmation) where confirmation is not null;
create index events_subject on events (subject) where subject is not null;
-- Events of a business, the newest first: the list of each business.
create index events_business on events (business, id) where business is not null;

-- For the statistics, which count events without a known business.
create index events_without_business on events (id) where business is null and not test;
-- Events about this program itself, which are few: whether those who get alerts are reached.
create index events_operational on events (id) where type like 'webhooks.%';

-- Identifies repetitions: what was posted under each `id` or Idempotency-Key, and the first answer to it.
-- Apart from the events, because it must be unique over all of them and may outlive them.
create table keys (
  created_at timestamptz not null default now(),
  event_id uuid not null,
  -- Deliveries that the event was owed when it was stored.
  deliveries integer not null,
  -- The first 16 bytes of the SHA-256 of the key, with the place that it has in the request: nobody reads
  -- keys, and they may be long.
  hash bytea primary key,
  -- The SHA-256 of the bytes posted under it. Null once they were erased: any bytes under this key are then a
  -- repetition, which is answered and not delivered.
  digest bytea
);

-- The business last stored for an appointment or a service, which events that name none inherit. It
-- outlives the events: a booking may be completed months after it was created.
create table subjects (
  -- `appointment:apt_789` or `service:svc_456`.
  key text collate "C" primary key,
  business text not null,
  -- Time of the last event, to within a day: exact times would cost a write per event.
  seen_at timestamptz not null
);

create table pending_deliveries (
  -- The event's id with the endpoint's number in its last 32 bits.
  id uuid primary key,
  event_id uuid not null,
  endpoint_no integer not null,
  -- Which daemon leased it last, by its address: it finds leases that it does not know of. Here it fills
  -- a gap that alignment leaves.
  leased_by integer,
  created_at timestamptz not null,
  due_at timestamptz not null,
  -- In no index, and the pages are half empty: leasing is a HOT update.
  leased_until timestamptz,
  -- The fencing token: each claim and each expiry raises it, and nothing is written under an old one.
  token integer not null default 0 check (token >= 0),
  attempts smallint not null default 0 check (attempts >= 0),
  counted smallint not null default 0 check (counted >= 0 and counted <= attempts),
  interruptions smallint not null default 0 check (interruptions >= 0),
  last_outcome text,
  last_status smallint,
  last_attempt_at timestamptz,
  -- Set when it was cancelled while an attempt was under way; that attempt is its last.
  cancel_reason text,
  -- While it is leased as a probe (see endpoints.probe_at), which goes out before its time: when it is due
  -- otherwise. It is due then again if the probe fails. Null under any other lease, and without one.
  regular_due_at timestamptz,
  -- When a retry or a replay brought it back, whatever its endpoint selected by then, or a replay owed it:
  -- what is owed late is as old as that, not as its event.
  renewed_at timestamptz,
  -- The replay that owes it; null: it is owed since its event was stored.
  owed_by uuid
) with (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.2
);
-- The claim's: the first due of an endpoint, in their order.
create index pending_deliveries_due on pending_deliveries (endpoint_no, due_at);

create table ended_deliveries (
  id uuid not null,
  created_at timestamptz not null,
  ended_at timestamptz not null,
  -- From here on: of the last attempt, all null without one. It is here and not in `attempts`, so that a
  -- delivery with one attempt is one row. Names and types are those of `attempts`, as far as possible.
  started_at timestamptz,
  last_attempt_at timestamptz,
  certificate_ends_at timestamptz,
  request_timestamp bigint,
  endpoint_no integer not null,
  -- Kept, so that a retry by hand goes on counting and no token is ever used twice.
  token integer not null,
  endpoint_version integer,
  dns_us integer,
  connect_us integer,
  tls_us integer,
  waiting_us integer,
  -- The number of the last one.
  attempts smallint not null,
  last_status smallint,
  connection_reused boolean,
  response_truncated boolean,
  status text not null,
  last_outcome text,
  -- Why it was cancelled; null otherwise.
  reason text,
  address text,
  request_signature bytea,
  request_webhook_signature bytea,
  response_head text,
  response_body bytea,
  cause text,
  -- The replay that owed it (see pending_deliveries).
  owed_by uuid,
  -- One expression each: they are computed for every delivery.
  check (case status
    when 'delivered' then last_outcome = 'delivered' and reason is null
    when 'failed' then reason is null
    when 'cancelled' then reason is not null
    else false end),
  check (case when started_at is null then attempts = 0 else attempts > 0 end),
  -- The only index that every delivery is in. It lists those of an endpoint by time, and finds one by its
  -- id, which has the endpoint's number in it: no index on the id is needed.
  primary key (endpoint_no, id)
) partition by range (id);
-- Lists and replays of what failed at an endpoint or was cancelled there, which is little among its deliveries.
create index ended_deliveries_unhappy_of on ended_deliveries (endpoint_no, id) where status <> 'delivered';
-- The same at any endpoint. Neither costs anything where all goes well.
create index ended_deliveries_unhappy on ended_deliveries (id) where status <> 'delivered';
-- Those that arrived after a failure, which are few: a replay of failed ones says how many it leaves out.
create index ended_deliveries_retried on ended_deliveries (endpoint_no, id)
  where status = 'delivered' and attempts > 1;
-- Whether anything of a week has ended lately, so that the week stays. Rows are added in this order, nearly.
create index ended_deliveries_ended on ended_deliveries using brin (ended_at);

-- Attempts, but for the last one of each ended delivery, which is in its row.
create table attempts (
  delivery_id uuid not null,
  -- Both by the database's clock, whatever the daemon's says.
  started_at timestamptz not null,
  ended_at timestamptz not null check (ended_at >= started_at),
  -- Of the receiver's certificate, as the handshake showed it; null if there was none to see.
  certificate_ends_at timestamptz,
  -- What differs from one request to the next; the rest follows from the event and the version.
  request_timestamp bigint,
  endpoint_no integer not null,
  endpoint_version integer not null,
  -- Where its time went, in microseconds; null for a phase that it did not reach or need. See `Phases` in
  -- lib/core/outcome.ts.
  dns_us integer check (dns_us >= 0),
  connect_us integer check (connect_us >= 0),
  tls_us integer check (tls_us >= 0),
  waiting_us integer check (waiting_us >= 0),
  number smallint not null check (number > 0),
  status smallint,
  -- Null if no connection was tried.
  connection_reused boolean,
  response_truncated boolean not null default false,
  outcome text not null,
  -- Where it was sent: an address and a port.
  address text,
  -- The HMACs in X-BookMe-Signature and webhook-signature, 32 bytes each. The second has one for each
  -- secret in an overlap, one after the other.
  request_signature bytea,
  request_webhook_signature bytea,
  response_head text,
  response_body bytea,
  cause text,
  -- All attempts of a delivery, in their order.
  primary key (delivery_id, number)
) partition by range (delivery_id);

-- Attempts that are not in attempt_stats yet: one row for each statement that recorded some, written by
-- that statement, so that each is counted once, however late it commits and whatever the clock does. The
-- rollup takes rows out. Of each attempt: the arrays have the same length.
create table uncounted_attempts (
  no bigint generated always as identity primary key,
  recorded_at timestamptz not null default now(),
  endpoint_nos integer[] not null,
  -- Places in OUTCOMES of lib/core/outcome.ts, from 1.
  outcomes smallint[] not null,
  -- Of the delivery, from 1.
  numbers smallint[] not null,
  durations_ms real[] not null,
  -- From the event's acceptance, or from the retry or replay that brought the delivery back, to the attempt's
  -- end.
  ages_ms real[] not null,
  -- From the attempt's end to recorded_at.
  lags_ms real[] not null,
  -- Sums of PROMISE in lib/core/promise.ts; empty if all are 0.
  promises smallint[] not null default '{}'
) with (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);

-- How many a histogram counts in its buckets up to `last`: of a packed one, see attempt_stats.
create function counted_up_to(packed text, last integer) returns bigint
  language plpgsql immutable strict parallel safe as $$
  declare
    buckets constant integer[] := translate(packed, '[]', '{}');
    total bigint := 0;
  begin
    for place in 2..cardinality(buckets) loop
      exit when buckets[1] + place - 2 > last;
      total := total + buckets[place];
    end loop;
    return total;
  end $$;

-- Attempts counted by recorded_at, each in four spans (UTC): a window of any length is covered by a few
-- rows for each endpoint and outcome. The statistics of a month must not read its attempts.
create table attempt_stats (
  span text not null check (span in ('minute', 'ten_minutes', 'hour', 'day')),
  starts_at timestamptz not null,
  endpoint_no integer not null,
  outcome text not null,
  attempts bigint not null,
  -- Histograms as lib/core/histogram.ts packs them, as JSON: the first bucket, then the counts from there on.
  -- Empty without any. They are read far more often than changed, and an array takes ten times as long to read.
  response text not null,
  -- From the event's acceptance to the beginning of the first attempt: counted with the first attempt.
  first_attempt text not null,
  -- From there, or from what brought the delivery back last, to the end of the attempt that delivered.
  delivered text not null,
  -- Of the deliveries that the 30-second promise covers: first attempts, those that began in time, and attempts
  -- that delivered in time.
  promised bigint not null default 0,
  promised_begun bigint not null default 0,
  promised_delivered bigint not null default 0,
  -- All of them: an overview of many endpoints would read thousands of histograms for one sum.
  first_attempts bigint not null generated always as (counted_up_to(first_attempt, 120)) stored,
  primary key (span, starts_at, endpoint_no, outcome)
) with (fillfactor = 70);

-- The sum of two such histograms. In PL/pgSQL, which is twelve times as fast as an expression: a rollup calls
-- it hundreds of times.
create function add_histograms(one text, other text) returns text
  language plpgsql immutable parallel safe as $$
  declare
    low integer[] := translate(one, '[]', '{}');
    high integer[] := translate(other, '[]', '{}');
    shift integer;
  begin
    if one = '[]' then return other; end if;
    if other = '[]' then return one; end if;
    -- Both have their first bucket in front: the one that begins lower takes the other in.
    if low[1] > high[1] then
      low := translate(other, '[]', '{}');
      high := translate(one, '[]', '{}');
    end if;
    shift := high[1] - low[1];
    if shift >= cardinality(low) then
      low := low || array_fill(0, array[shift - cardinality(low) + 1]);
    end if;
    for place in 2..cardinality(high) loop
      low[place + shift] := coalesce(low[place + shift], 0) + high[place];
    end loop;
    return translate(low::text, '{}', '[]');
  end $$;

-- Events posted to /ingest, and posts that were refused, counted by minute and by hour: each daemon adds its
-- own every few seconds, so that a flood costs no write per post.
create table posts (
  span text not null check (span in ('minute', 'hour')),
  starts_at timestamptz not null,
  -- `stored`, `duplicate`, or one of REFUSALS in lib/core/refusals.ts.
  answer text not null,
  -- Of the event; empty for a post that was refused, which may hold any or none.
  type text not null,
  posts bigint not null,
  last_at timestamptz not null,
  -- Where the last of them came from; null if it was not refused.
  last_address text,
  primary key (span, starts_at, answer, type)
);

-- How the attempts of an endpoint have been ending, as far as they are counted.
create table endpoint_runs (
  endpoint_no integer primary key,
  last_success_at timestamptz,
  -- End of the first failed attempt after that; null if none has failed since.
  failing_since timestamptz,
  last_failure_at timestamptz,
  -- Attempts that failed since the last success.
  failures bigint not null default 0
) with (fillfactor = 70);

-- Whose turn it is to judge what alerts are about: the daemon that moves the time on.
create table alerting (
  singleton boolean primary key default true check (singleton),
  judged_at timestamptz not null default '-infinity'
);
insert into alerting default values;

-- Conditions that are announced when they begin and when they end. All daemons judge; the statement that opens,
-- reminds of or ends one writes its notices as well, and only if it wrote the row.
create table alerts (
  id uuid primary key,
  -- KINDS in lib/core/alerting/kinds.ts.
  kind text not null,
  -- Its subject: the id of an endpoint or a daemon, or a target's name; empty for the whole house.
  subject text not null,
  endpoint_no integer references endpoints (no),
  -- Of the endpoint's owner, who sees it too.
  business text,
  -- Since when it is so, and when that was noticed.
  began_at timestamptz not null,
  opened_at timestamptz not null default now(),
  ended_at timestamptz,
  end_reason text check (end_reason is null or ended_at is not null),
  -- Figures: counts, a reason, an example. Nothing that a receiver answered.
  details jsonb not null,
  -- Announcements so far; each has the next number.
  occasions integer not null default 1,
  -- When it is announced again; null if it is not.
  remind_at timestamptz,
  acknowledged_at timestamptz,
  acknowledged_by text check ((acknowledged_by is null) = (acknowledged_at is null)),
  snoozed_until timestamptz
);
-- One is open about each thing: of two daemons that open it, one does.
create unique index alerts_open on alerts (kind, subject) where ended_at is null;
create index alerts_of_endpoint on alerts (endpoint_no, id) where endpoint_no is not null;
create index alerts_of_business on alerts (business, id) where business is not null;

-- Notices of alerts, each for one target. A daemon leases a notice, sends it, and notes that it did.
create table alert_notices (
  no bigint generated always as identity primary key,
  -- Null: a test.
  alert_id uuid references alerts (id) on delete cascade,
  -- Of the alert: with it, the operational event is stored once.
  occasion integer not null,
  what text not null check (what in ('began', 'reminded', 'ended', 'test')),
  -- `events`, `slack`, `slack-2`, `teams`, `mail`, `business-mail`.
  target text not null,
  -- The alert as it was then.
  details jsonb not null,
  created_at timestamptz not null default now(),
  due_at timestamptz not null default now(),
  leased_until timestamptz,
  attempts integer not null default 0,
  -- End of the last attempt.
  tried_at timestamptz,
  done_at timestamptz,
  -- It was given up.
  failed_at timestamptz,
  -- Why the last attempt failed: in our words, never what came back.
  cause text
);
-- Which notice is due; those that are done or given up are not in it.
create index alert_notices_due on alert_notices (due_at) where done_at is null and failed_at is null;
create index alert_notices_of on alert_notices (alert_id, no);

-- Where a business wants alerts about its own endpoints.
create table alert_contacts (
  business text primary key,
  endpoint_no integer references endpoints (no),
  mail text,
  updated_at timestamptz not null default now()
);

-- Automatic pauses that a delivered probe ends, each as soon as the deliveries that have been due since before
-- are spread over the time to come: a receiver that has just recovered does not get days of them at once.
create table resumptions (
  endpoint_no integer primary key references endpoints (no),
  -- When the probe was recorded: what is due later is not spread.
  probed_at timestamptz not null default now(),
  -- When the next of them is due, and the time from one to the next; null before they were counted.
  next_due_at timestamptz,
  step interval check ((step is null) = (next_due_at is null))
);

-- Results of checking receivers from outside: DNS, addresses, TLS. A check sends no request.
create table endpoint_checks (
  endpoint_no integer primary key references endpoints (no),
  checked_at timestamptz,
  -- Whichever daemon moves it on does the next one.
  next_at timestamptz not null default now(),
  ok boolean,
  -- [{"mark": "✗", "text": …, "remedy": …}]
  findings jsonb not null default '[]',
  certificate_ends_at timestamptz,
  -- Since when each check has failed; null if the last one did not.
  failing_since timestamptz
);

-- A new round of attempts for many deliveries that ended, the next attempt, now, of many that wait, or the
-- deliveries that an endpoint was never owed: done in batches by whichever daemon holds the row, so that it
-- goes on where it was after a restart.
create table replays (
  id uuid primary key,
  created_at timestamptz not null default now(),
  created_by text not null,
  -- The business in whose scope it was made: it takes that business's endpoints only. Null: everything.
  owner text,
  endpoint_no integer references endpoints (no),
  -- Owes the endpoint the events that it selects and was never owed.
  missing boolean not null default false check (not missing or endpoint_no is not null),
  -- It was made in this transaction: one that looks for what is missing begins when no older one is running,
  -- which may be storing events for the endpoint as it was.
  made_in xid8 not null default pg_current_xact_id(),
  statuses text[] not null check ((cardinality(statuses) = 0) = missing),
  type text,
  -- Why the last attempt failed or the delivery was cancelled, and a status, `401` or `4xx`.
  reason text,
  code text,
  -- Of the deliveries' created_at.
  since timestamptz not null,
  until timestamptz not null,
  rate_per_s double precision check (rate_per_s > 0),
  -- All of them have ids above first_id and up to last_id.
  first_id uuid not null,
  last_id uuid not null,
  -- The delivery that was looked at last, or would be the endpoint's; first_id at the beginning.
  position uuid not null,
  -- How many matched when it was created; a lower bound if not exact.
  matched integer not null,
  matched_exact boolean not null,
  replayed bigint not null default 0,
  -- Deliveries left out because their events have no payload any more.
  without_payload bigint not null default 0,
  state text not null default 'running' check (state in ('running', 'done', 'cancelled')),
  next_batch_at timestamptz not null default now(),
  ended_at timestamptz check ((ended_at is null) = (state = 'running'))
);
-- Which replay is due; ended ones are not in it.
create index replays_running on replays (next_batch_at) where state = 'running';

-- Links with which a business manages its own endpoints. The token itself is never stored. Rows stay when they
-- are over: the audit log names them.
create table portal_links (
  -- lnk_…, which sorts by time: lists are in its order.
  id text collate "C" primary key,
  business text not null,
  -- SHA-256 of the token: 32 random bytes need no slow digest. Each request looks its token up by it.
  digest bytea not null unique,
  read_only boolean not null,
  created_at timestamptz not null default now(),
  created_by text not null,
  expires_at timestamptz not null,
  revoked_at timestamptz
);

-- Sessions of the pages: an operator's by an admin token, a business's by a portal link. Reading this table lets
-- nobody sign in: it has no cookie and no token.
create table sessions (
  -- SHA-256 of the cookie: 32 random bytes need no slow digest. Each request looks its cookie up by it.
  digest bytea primary key,
  -- HMAC of the admin token under the cookie: the session is good while a configured token has it, and the
  -- proof alone says nothing about the token.
  token_proof bytea,
  -- A session does not outlive its link, which is looked at with each request.
  portal_link text collate "C" references portal_links (id),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  check ((token_proof is null) <> (portal_link is null))
);
-- Which sessions are over, for the job that removes them.
create index sessions_expiry on sessions (expires_at);

-- Forms that were sent, so that a second click does nothing twice: it is led to where the first one went.
create table session_forms (
  session bytea not null references sessions (digest) on delete cascade,
  -- Random, made with the form.
  once text collate "C" not null,
  -- Null while it is being done.
  done_at timestamptz,
  -- Where the first one went; null if it broke off, and nobody knows how much of it was done.
  location text,
  -- Shown once by the page at that location: sealed under the cookie, since it may be a new secret.
  note bytea,
  primary key (session, once)
);
-- Which notes are over, for the job that forgets them.
create index session_forms_notes on session_forms (done_at) where note is not null;

-- The removal of what was posted and what came back: done in batches by whichever daemon has the turn, first
-- along the events, then along subjects and keys. Nothing in here says whose data it was.
create table erasures (
  id uuid primary key,
  created_at timestamptz not null default now(),
  created_by text not null,
  kind text not null check (kind in ('event', 'subject', 'containing')),
  -- Only counts what it finds.
  dry_run boolean not null,
  -- The event, subject or text looked for, sealed as endpoints.sealed is. Null once it has ended.
  sealed bytea check ((sealed is null) = (state <> 'running')),
  -- Its events have ids from first_id to last_id, and were accepted before it.
  first_id uuid not null,
  last_id uuid not null,
  phase text not null default 'events' check (phase in ('events', 'settling', 'subjects', 'keys')),
  -- Up to where a phase has come: an event's id, then a subject's key, then the number of a block of keys.
  position text not null,
  scanned bigint not null default 0,
  -- Events found, attempts whose answer was removed, and deliveries cancelled.
  matched bigint not null default 0,
  attempts bigint not null default 0,
  cancelled bigint not null default 0,
  -- Events found that still have something, most for moments; one whose attempt is under way until that ends.
  -- [{"id": …, "subject": true, "business": false}]: whether these columns contain the text.
  settling jsonb not null default '[]',
  state text not null default 'running' check (state in ('running', 'done', 'failed')),
  -- Raised by each daemon that takes a batch, until next_batch_at: nothing is written under an old one.
  turn integer not null default 0,
  next_batch_at timestamptz not null default now(),
  ended_at timestamptz check ((ended_at is null) = (state = 'running'))
);
-- Which erasure is due; ended ones are not in it.
create index erasures_running on erasures (next_batch_at) where state = 'running';

create table audit (
  -- Microseconds since 1970 and 64 random bits: sorts by time. Counted, it would tell a business how much
  -- others change.
  id uuid primary key default (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000000)::bigint), 16, '0')
    || substr(translate(gen_random_uuid()::text, '-', ''), 17))::uuid,
  at timestamptz not null default now(),
  actor text not null,
  address text,
  action text not null,
  object text not null,
  before jsonb,
  after jsonb
);
-- Lists of what happened to one thing, and when.
create index audit_object on audit (object, id);
create index audit_at on audit (at);

-- The event of a delivery (see pending_deliveries.id).
create function event_of(delivery uuid) returns uuid language sql immutable strict parallel safe
  return (left(delivery::text, 28) || '00000000')::uuid;

-- The number of the endpoint that a delivery goes to.
create function endpoint_of(delivery uuid) returns integer language sql immutable strict parallel safe
  return ('x' || right(delivery::text, 8))::bit(32)::integer;

-- The delivery of an event to an endpoint.
create function delivery_of(event uuid, endpoint integer) returns uuid
  language sql immutable strict parallel safe
  return (left(event::text, 28) || lpad(to_hex(endpoint), 8, '0'))::uuid;

-- The last id that a delivery of the event can have (see pending_deliveries.id).
create function last_of(event uuid) returns uuid language sql immutable strict parallel safe
  return (left(event::text, 28) || 'ffffffff')::uuid;

-- The time that an id begins with, and the least id of a time.
create function time_of(id uuid) returns timestamptz language sql immutable strict parallel safe
  return 'epoch'::timestamptz +
    ('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 ms';
create function first_id_at(at timestamptz) returns uuid language sql immutable strict parallel safe
  return (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;

-- The partition that each of our partitioned tables has for the ids from `first` on, and whether it is there
-- and part of its table. By name, because the schema may have partitioned tables of other programs.
create function partitions_at(first uuid)
  returns table (parent text, leaf text, is_there boolean, is_attached boolean, is_leaving boolean)
  language sql stable strict as $$
  select p.relname, l.name, to_regclass(l.name) is not null, i.inhrelid is not null,
    coalesce(i.inhdetachpending, false)
  from pg_partitioned_table t
  join pg_class p on p.oid = t.partrelid and p.relnamespace = current_schema()::regnamespace
    and p.relname in ('attempts', 'ended_deliveries', 'events')
  cross join lateral (
    select p.relname || to_char(time_of(first) at time zone 'UTC', '_YYYYMMDD') as name) l
  left join pg_inherits i on i.inhparent = p.oid and i.inhrelid = to_regclass(l.name)
  order by p.relname $$;

-- The length of a partition, given how long events are kept, in milliseconds: one week, or several if there
-- would be more than about ten partitions otherwise.
create function span_of(kept_ms double precision) returns interval language sql immutable parallel safe
  return greatest(1, ceil(kept_ms / (8 * 604800000.0))) * interval '168 hours';

-- Monday 00:00 UTC before the time that an id begins with.
create function week_of(id uuid) returns timestamptz language sql immutable strict parallel safe
  return date_bin('7 days', time_of(id), '1969-12-29 00:00:00+00');

-- Makes the partitions that this id falls into, as far as they are missing. Attached, because
-- `create table … partition of` waits for every reader of the table, and everybody else then waits for it.
create function make_partitions(id uuid) returns void language plpgsql volatile strict
  set lock_timeout = '5s' as $$
  declare
    held partitions;
    starts constant timestamptz := week_of(id);
    span interval;
    leaf record;
  begin
    perform pg_advisory_xact_lock(108222176391796);
    select * into held from partitions p where p.first_id <= id and p.last_id > id;
    if not found then
      select span_of((policy -> 'retention' ->> 'events_ms')::float8) into span from file_in_force;
      insert into partitions (first_id, last_id)
      values (first_id_at(greatest(starts, 'epoch')), least(
        first_id_at(starts + span),
        (select p.first_id from partitions p where p.first_id > id order by p.first_id limit 1)))
      returning * into held;
    end if;
    for leaf in select * from partitions_at(held.first_id) loop
      continue when leaf.is_attached and not leaf.is_leaving;
      if leaf.is_leaving then
        execute format('alter table %I detach partition %I finalize', leaf.parent, leaf.leaf);
      elsif not leaf.is_there then
        execute format('create table %I (like %I including all)', leaf.leaf, leaf.parent);
      end if;
      execute format('alter table %I attach partition %I for values from (%L) to (%L)',
        leaf.parent, leaf.leaf, held.first_id, held.last_id);
    end loop;
  end $$;

-- Whether a delivery with an id from `first` to `last` (not included) ended after that time. By the index in
-- which ended_at is, whatever the session's settings: it may be asked of millions.
create function ended_since(first uuid, last uuid, at timestamptz) returns boolean
  language plpgsql stable strict set enable_seqscan = off set enable_bitmapscan = on as $$
  begin
    return exists (
      select from ended_deliveries d where d.id >= first and d.id < last and d.ended_at > at);
  end $$;

-- Drops the partitions from `first` on, a minute after they were closed: they must be detached, or be leaving
-- their tables. False if they stay. Waits a second for older statements, then fails.
create function drop_partitions(first uuid) returns boolean language plpgsql volatile strict
  set lock_timeout = '1s' as $$
  declare
    held partitions;
    leaf record;
  begin
    perform pg_advisory_xact_lock(108222176391796);
    select * into held from partitions p
    where p.first_id = first and p.closed_at < now() - interval '1 minute';
    if not found then
      -- If it was opened again since its tables were detached, they come back.
      perform make_partitions(p.first_id) from partitions p where p.first_id = first;
      return false;
    end if;
    for leaf in select * from partitions_at(first) where is_leaving loop
      begin
        execute format('alter table %I detach partition %I finalize', leaf.parent, leaf.leaf);
      exception when undefined_table then
        null; -- The daemon that began to detach it has just done so.
      end;
    end loop;
    -- If no statement sees them any more, whatever came back has done so by now.
    if exists (
      select from pending_deliveries d where d.id >= held.first_id and d.id < held.last_id) then
      perform make_partitions(first);
      return false;
    end if;
    if exists (select from partitions_at(first) where is_attached) then return false; end if;
    for leaf in select * from partitions_at(first) where is_there loop
      execute format('drop table %I', leaf.leaf);
    end loop;
    delete from partitions p where p.first_id = first;
    return true;
  end $$;

-- A regular expression of the event types that an endpoint selects: `booking.created`, `booking.*`, and
-- `*`, which leaves out this program's own `webhooks.*` (see lib/core/matching.ts).
create function selected_types(patterns text[]) returns text language sql immutable strict parallel safe
  return '^(' || array_to_string(array(
    select case when p = '*' then '(?!webhooks\.).*'
      else replace(replace(p, '.', '\.'), '*', '.*') end
    from unnest(patterns) p), '|') || ')$';

-- Whether an endpoint that selected the first two selects less by the last two. A pattern is selected by
-- the patterns that select each of its types.
create function narrows(events text[], businesses text[], next_events text[], next_businesses text[])
  returns boolean language sql immutable parallel safe
  return exists (select from unnest(events) e where e !~ selected_types(next_events))
    or (next_businesses is not null and (businesses is null or not businesses <@ next_businesses));

-- Whether a business has fewer endpoints in force than that. Volatile: it must see what others committed
-- while it waited for the lock, which every new endpoint takes, so that two cannot both be the last.
create function may_add_endpoint(business text, most integer) returns boolean
  language plpgsql volatile as $$
  begin
    perform from fleet for update;
    return (select count(*) from endpoints n where n.owner = business and n.retired_at is null) < most;
  end $$;

-- Whether a delivery of the event is pending. Volatile: it must see what others committed after the
-- calling statement began.
create function is_pending(event uuid) returns boolean language plpgsql volatile as $$
  begin
    return exists (
      select from pending_deliveries p where p.id between event and last_of(event));
  end $$;

-- How many deliveries of the event are pending. Volatile for the same reason.
create function pending_count(event uuid) returns bigint language plpgsql volatile as $$
  begin
    return (select count(*) from pending_deliveries p where p.id between event and last_of(event));
  end $$;

-- Whether the delivery exists. Volatile: it must see what others committed after the calling statement began,
-- which holds its event for no key update, so that nobody else owes it meanwhile.
create function is_owed(delivery uuid) returns boolean language plpgsql volatile as $$
  begin
    return exists (select from pending_deliveries p where p.id = delivery) or exists (
      select from ended_deliveries d
      where d.endpoint_no = endpoint_of(delivery) and d.id = delivery);
  end $$;

-- Removes what came back from all attempts of an event of which nothing is pending. Returns of how many. By
-- index, whatever the planner thinks of the number of rows between two ids.
create function blank_answers(event uuid) returns bigint language plpgsql volatile strict
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  declare
    earlier bigint;
    last bigint;
  begin
    -- In the order in which retention takes them.
    update ended_deliveries d
    set response_head = null, response_body = null, response_truncated = false, cause = null
    from endpoints n
    where d.endpoint_no = n.no and d.id = delivery_of(event, n.no) and d.id between event and last_of(event)
      and num_nonnulls(response_head, response_body, cause) > 0;
    get diagnostics last = row_count;
    update attempts a
    set response_head = null, response_body = null, response_truncated = false, cause = null
    where a.delivery_id between event and last_of(event)
      and num_nonnulls(response_head, response_body, cause) > 0;
    get diagnostics earlier = row_count;
    return earlier + last;
  end $$;

-- Takes an attempt out of attempts, to be put into its delivery's row. Volatile: the delivery was locked
-- after the calling statement began, and its last attempt may have been recorded in between.
create function take_attempt(delivery uuid, attempt smallint) returns setof attempts
  language plpgsql volatile rows 1 as $$
  begin
    if attempt > 0 then
      return query delete from attempts a where a.delivery_id = delivery and a.number = attempt
        returning a.*;
    end if;
  end $$;

-- How many deliveries of an endpoint are leased. Leased ones were the first due of those with attempts
-- left, so it is among the first of these. Volatile: it must see what others committed after the calling
-- statement began, which holds the endpoint's row, so that nobody else leases meanwhile.
create function leased_count(endpoint integer, max_attempts integer, depth integer) returns bigint
  language plpgsql volatile as $$
  begin
    return (select count(*) from (
      select p.leased_until from pending_deliveries p
      where p.endpoint_no = endpoint and p.due_at <= now()
        and (p.leased_until is not null or p.counted < max_attempts)
      order by p.due_at limit depth
    ) head where head.leased_until is not null);
  end $$;

-- The file that should be in force: the one seen last among those that daemons hold which have been seen
-- within a minute. A time in the future was written before the clock was set back. Volatile: it must see
-- what others committed while the calling statement waited for its lock.
create function newest_held_file() returns text language plpgsql volatile as $$
  begin
    return (select f.digest from files f
      where exists (select from daemons d where d.file = f.digest
        and d.seen_at between now() - interval '1 minute' and now() + interval '1 minute')
      order by f.seen_at desc, f.digest desc limit 1);
  end $$;

-- The first bits of an id in Crockford base32, as in evt_… and dlv_… (see lib/core/ids.ts).
create function base32(id uuid, chars integer) returns text language sql immutable strict parallel safe
  return (select string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz',
      substring(b.bits from 5 * n + 1 for 5)::bit(5)::integer + 1, 1), '' order by n)
    from (select ('x' || replace(id::text, '-', '') || '00')::bit(136) as bits) b,
      generate_series(0, chars - 1) n);
create function shown_event(id uuid) returns text language sql immutable strict parallel safe
  return 'evt_' || base32(id, 20);
create function shown_delivery(id uuid) returns text language sql immutable strict parallel safe
  return 'dlv_' || base32(id, 26);
create function shown_attempt(delivery uuid, number integer) returns text
  language sql immutable strict parallel safe
  return 'att_' || base32(delivery, 26) ||
    base32((lpad(to_hex(number << 1), 4, '0') || lpad('', 28, '0'))::uuid, 3);

-- The id of an evt_…, a dlv_…, or the delivery of an att_…; null for any other text.
create function uuid_of(shown text) returns uuid language sql immutable strict parallel safe
  return (select string_agg(to_hex(substring(b.bits from 4 * n + 1 for 4)::bit(4)::integer), '' order by n)::uuid
    from (
      select rpad(string_agg((strpos('0123456789abcdefghjkmnpqrstvwxyz', c) - 1)::bit(5)::text, '' order by at),
        160, '0') as bits
      from regexp_split_to_table(substr(lower(shown), 5), '') with ordinality as t (c, at)
    ) b, generate_series(0, 31) n
    where lower(shown) ~ '^(evt_.{20}|dlv_.{26}|att_.{29})$' and substr(lower(shown), 5) ~ '^[0-9a-hjkmnp-tv-z]*$');

-- For people: every delivery, wherever it is.
create view deliveries as
  select shown_delivery(d.uuid) as id, shown_event(event_of(d.uuid)) as event, n.id as endpoint, e.type,
    e.business, e.confirmation, e.test, d.status, d.reason, d.created_at, d.due_at, d.leased_until,
    d.ended_at, d.attempts, d.last_outcome, d.last_status, d.last_attempt_at, d.uuid
  from (
    select id as uuid, endpoint_no, 'pending' as status, cancel_reason as reason, created_at, due_at,
      leased_until, null::timestamptz as ended_at, attempts, last_outcome, last_status, last_attempt_at
    from pending_deliveries
    union all
    select id, endpoint_no, status, reason, created_at, null, null, ended_at, attempts, last_outcome,
      last_status, last_attempt_at
    from ended_deliveries
  ) d
  join endpoints n on n.no = d.endpoint_no
  left join events e on e.id = event_of(d.uuid);
comment on view deliveries is
  'Every delivery, pending and ended alike. Narrow it by uuid where possible: ids sort by time, and '
  'first_id_at(time) and uuid_of(''dlv_…'') make bounds that indexes find.';

-- Every attempt, wherever it is.
create view attempts_all as
  select delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at, outcome,
    status, cause, address, request_timestamp, request_signature, request_webhook_signature,
    response_head, response_body, response_truncated, dns_us, connect_us, tls_us, waiting_us,
    connection_reused, certificate_ends_at,
    shown_attempt(delivery_id, number) as id, shown_delivery(delivery_id) as delivery,
    (select n.id from endpoints n where n.no = endpoint_no) as endpoint
  from attempts
  union all
  select id, attempts, endpoint_no, endpoint_version, started_at, last_attempt_at,
    last_outcome, last_status, cause, address, request_timestamp, request_signature,
    request_webhook_signature, response_head, response_body, response_truncated, dns_us, connect_us,
    tls_us, waiting_us, connection_reused, certificate_ends_at,
    shown_attempt(id, attempts), shown_delivery(id),
    (select n.id from endpoints n where n.no = endpoint_no)
  from ended_deliveries where attempts > 0;
comment on view attempts_all is
  'Every attempt, those in attempts and those in the rows of ended deliveries. Narrow it by endpoint_no and '
  'delivery_id where possible, which indexes find: endpoint_of(uuid_of(''dlv_…'')) and uuid_of(''dlv_…'').';

comment on table events is 'What was posted to /ingest; a partition for each week.';
comment on table partitions is
  'The weeks that events, ended_deliveries and attempts have partitions for. The daemon makes and drops them.';
comment on table pending_deliveries is 'Deliveries that are being sent or wait. See the view deliveries.';
comment on table ended_deliveries is
  'Deliveries that ended, each with its last attempt; a partition for each week. See the view deliveries.';
comment on table attempts is
  'Attempts, but for the last one of each ended delivery. See the view attempts_all.';
