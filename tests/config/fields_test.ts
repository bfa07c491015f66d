import { type Case, endpointWith, expectMistakes } from "../support/config.ts";

const GENERAL: readonly Case[] = [
  { yaml: "enviroment: x\n", at: "1:1", path: "enviroment", says: /did you mean environment\?/ },
  { yaml: "a: 1\n", at: "1:1", path: "a", says: /Unknown key; known keys are environment, server/ },
  { yaml: "server: { port: 1 }\n", at: "1:11", path: "server.port", says: /known keys are listen/ },
  {
    yaml: endpointWith("timout: 1s"),
    at: "6:5",
    path: "endpoints[0].timout",
    says: /mean timeout/,
  },
  { yaml: "- a\n", at: "1:1", path: "", says: /Must be a mapping/ },
  { yaml: "hello\n", at: "1:1", path: "", says: /Must be a mapping/ },
  { yaml: "server: 1\n", at: "1:9", path: "server", says: /Must be a mapping/ },
  { yaml: "server: [1]\n", at: "1:9", path: "server", says: /Must be a mapping/ },
  { yaml: "endpoints: crm\n", at: "1:12", path: "endpoints", says: /Must be a list/ },
  { yaml: "endpoints: {}\n", at: "1:12", path: "endpoints", says: /Must be a list/ },
  { yaml: "endpoints: [1]\n", at: "1:13", path: "endpoints[0]", says: /Must be a mapping/ },
  {
    yaml: "environment: prod\n",
    at: "1:14",
    path: "environment",
    says: /or production, not "prod"/,
  },
  { yaml: "environment:\n", at: "1:1", path: "environment", says: /Has no value/ },
];

Deno.test("loadConfig() names place and remedy: keys, mappings, lists and words", () => {
  expectMistakes(GENERAL);
});

const UNITS: readonly Case[] = [
  ...["30", "30sec", "'30 s'", "-1s", "1.5s", "1h30m", "true"].map((timeout): Case => ({
    yaml: `delivery:\n  timeout: ${timeout}\n`,
    at: "2:12",
    path: "delivery.timeout",
    says: /Must be a duration with its unit, such as 500ms, 30s/,
  })),
  {
    yaml: "delivery: { timeout: 99ms }\n",
    at: "1:22",
    path: "delivery.timeout",
    says: /100ms to 5m/,
  },
  {
    yaml: "delivery: { timeout: 301s }\n",
    at: "1:22",
    path: "delivery.timeout",
    says: /100ms to 5m/,
  },
  {
    yaml: "delivery: { retry: [] }\n",
    at: "1:20",
    path: "delivery.retry",
    says: /at least one entry/,
  },
  {
    yaml: `delivery: { retry: [${Array(21).fill("0s").join(", ")}] }\n`,
    at: "1:20",
    path: "delivery.retry",
    says: /at most 20 entries/,
  },
  {
    yaml: "delivery: { retry: [0s, 5] }\n",
    at: "1:25",
    path: "delivery.retry[1]",
    says: /duration/,
  },
  { yaml: "delivery: { retry: 0s }\n", at: "1:20", path: "delivery.retry", says: /Must be a list/ },
  ...["0", "4097", "1.5", "'8'"].map((concurrency): Case => ({
    yaml: `delivery: { concurrency: ${concurrency} }\n`,
    at: "1:26",
    path: "delivery.concurrency",
    says: /an integer from 1 to 4096/,
  })),
  {
    yaml: "delivery: { source_address: localhost }\n",
    at: "1:29",
    path: "delivery.source_address",
    says: /IP address of this machine/,
  },
  {
    yaml: "delivery: { allow_networks: [10.1.2.3] }\n",
    at: "1:30",
    path: "delivery.allow_networks[0]",
    says: /lacks a prefix length; write 10\.1\.2\.3\/32/,
  },
  ...["0.0.0.0/0", "10.0.0.0/7", "8.8.8.8/32", "'::/0'", "'2600::/16'"].map((network): Case => ({
    yaml: `delivery: { allow_networks: [${network}] }\n`,
    at: "1:30",
    path: "delivery.allow_networks[0]",
    says: /private network/,
  })),
  ...["5", "1TiB", "1 MiB", "1mib"].map((size): Case => ({
    yaml: `ingest: { max_body: ${size} }\n`,
    at: "1:21",
    path: "ingest.max_body",
    says: /size with its unit/,
  })),
  { yaml: "ingest: { max_body: 65MiB }\n", at: "1:21", path: "ingest.max_body", says: /to 64MiB/ },
  { yaml: "retention: 30d\n", at: "1:12", path: "retention", says: /mapping/ },
  { yaml: "retention: { events: 0s }\n", at: "1:22", path: "retention.events", says: /from 1s/ },
  {
    yaml: "retention: { events: 7d, attempts: 8d }\n",
    at: "1:36",
    path: "retention.attempts",
    says: /^Must not be longer than events \(7d\); shorten it, or lengthen events$/,
  },
  {
    yaml: "retention:\n  payloads: 2d\n  keys: 1d\n",
    at: "2:13",
    path: "retention.payloads",
    says: /^Must not be longer than keys \(1d\)/,
  },
  { yaml: "alerts: { failure_rate: 20 }\n", at: "1:25", path: "alerts.failure_rate", says: /to 1/ },
  ...["512", "-1MiB", "half", "true"].map((size): Case => ({
    yaml: `database: { min_free: ${size} }\n`,
    at: "1:23",
    path: "database.min_free",
    says: /size with its unit/,
  })),
  {
    yaml: "alerts: { min_attempts: 0 }\n",
    at: "1:25",
    path: "alerts.min_attempts",
    says: /from 1/,
  },
  {
    yaml: "portal: { max_endpoints: 1001 }\n",
    at: "1:26",
    path: "portal.max_endpoints",
    says: /from 0 to 1000/,
  },
  {
    yaml: "alerts: { to: ['a b'] }\n",
    at: "1:16",
    path: "alerts.to[0]",
    says: /id of an endpoint/,
  },
  {
    yaml: "alerts: { window: 59s }\n",
    at: "1:19",
    path: "alerts.window",
    says: /1m to 24h|1m to 1d/,
  },
  {
    yaml: "alerts: { auto_pause: 11h }\n",
    at: "1:23",
    path: "alerts.auto_pause",
    says: /from 12h/,
  },
  {
    yaml: "alerts: { chat: [{ kind: irc, url: https://chat.example.com/x }] }\n",
    at: "1:26",
    path: "alerts.chat[0].kind",
    says: /slack or teams/,
  },
  {
    yaml: "alerts: { chat: [{ kind: slack, url: ftp://chat.example.com/T0/KEEPTHIS }] }\n",
    at: "1:38",
    path: "alerts.chat[0].url",
    says: /^(?!.*KEEPTHIS)Must be an https URL/,
  },
  {
    yaml: "alerts: { chat: [{ kind: slack, url: https://169.254.169.254/KEEPTHIS }] }\n",
    at: "1:38",
    path: "alerts.chat[0].url",
    says: /^(?!.*KEEPTHIS)Its host is at an address that is not allowed/,
  },
  {
    yaml: "alerts: { heartbeat: { url: 'not a url, KEEPTHIS' } }\n",
    at: "1:29",
    path: "alerts.heartbeat.url",
    says: /^(?!.*KEEPTHIS)Must be a URL such as/,
  },
  {
    yaml:
      "alerts: { mail: { smtp: 'http://user:KEEPTHIS@mail.example.com', from: a@b, to: [a@b] } }\n",
    at: "1:25",
    path: "alerts.mail.smtp",
    says: /^(?!.*KEEPTHIS)Must be a URL such as smtp/,
  },
  {
    yaml:
      "alerts: { mail: { smtp: 'smtp://user:KEEPTHIS%@mail.example.com', from: a@b, to: [a@b] } }\n",
    at: "1:25",
    path: "alerts.mail.smtp",
    says: /^(?!.*KEEPTHIS)Has a % in its user or password .*; write %25 for it/,
  },
  {
    yaml:
      'alerts: { mail: { smtp: "smtp://mail.example.com", from: a@b, to: ["a@b\\r\\nBcc: c@d"] } }\n',
    at: "1:68",
    path: "alerts.mail.to[0]",
    says: /mail address/,
  },
  {
    yaml: "alerts: { mail: { smtp: 'smtp://mail.example.com', from: nobody, to: [a@b] } }\n",
    at: "1:58",
    path: "alerts.mail.from",
    says: /mail address/,
  },
];

Deno.test("loadConfig() names place and remedy: durations, sizes, numbers and networks", () => {
  expectMistakes(UNITS);
});
