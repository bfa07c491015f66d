import { type Case, endpoint, endpointWith, expectMistakes, pem } from "../support/config.ts";
import { testCertificates } from "../support/tls.ts";

const certificates = await testCertificates();

const ENDPOINTS: readonly Case[] = [
  ...["Crm", "-a", "a.b", "'a b'", `${"a".repeat(64)}`, "''"].map((id): Case => ({
    yaml: endpoint({ id }),
    at: "2:9",
    path: "endpoints[0].id",
    says: /1 to 63 lower-case letters/,
  })),
  {
    yaml: endpoint({ id: "ep_1" }),
    at: "2:9",
    path: "endpoints[0].id",
    says: /not begin with ep_/,
  },
  { yaml: endpoint({ id: "12" }), at: "2:9", path: "endpoints[0].id", says: /write it in quotes/ },
  {
    yaml: endpoint({ url: "http://crm.example.com" }).replace(
      /^/,
      "environment: production\n",
    ),
    at: "4:10",
    path: "endpoints[0].url",
    says: /Plain http is allowed only/,
  },
  {
    yaml: endpoint({ url: "https://192.168.7.1/" }),
    at: "3:10",
    path: "endpoints[0].url",
    says: /delivery\.allow_networks/,
  },
  {
    yaml: endpoint({ url: "http://127.0.0.1:8080/ingest" }),
    at: "3:10",
    path: "endpoints[0].url",
    says: /own listener/,
  },
  ...["https://*/", "https://./", "https://a..b/"].map((url): Case => ({
    yaml: endpoint({ url: `"${url}"` }),
    at: "3:10",
    path: "endpoints[0].url",
    says: /^The host ".*" is not a name: /,
  })),
  { yaml: endpoint({ url: "ftp://x" }), at: "3:10", path: "endpoints[0].url", says: /https:/ },
  {
    yaml: endpoint({ url: "" }),
    at: "2:5",
    path: "endpoints[0].url",
    says: /^Missing; this key is required$/,
  },
  {
    yaml: endpoint({ unsigned: "" }),
    at: "2:5",
    path: "endpoints[0].secret",
    says: /unsigned: true/,
  },
  {
    yaml: endpoint({ unsigned: "false" }),
    at: "2:5",
    path: "endpoints[0].secret",
    says: /name a secret/,
  },
  {
    yaml: endpoint({ unsigned: "yes" }),
    at: "4:15",
    path: "endpoints[0].unsigned",
    says: /Must be true or false, not "yes"/,
  },
  {
    yaml: endpoint({ secret: "env:CRM_SECRET" }),
    at: "4:15",
    path: "endpoints[0].unsigned",
    says: /not both/,
  },
  {
    yaml: endpoint({ events: '"*"' }),
    at: "5:13",
    path: "endpoints[0].events",
    says: /Must be a list/,
  },
  {
    yaml: endpoint({ events: "[]" }),
    at: "5:13",
    path: "endpoints[0].events",
    says: /Selects nothing/,
  },
  {
    yaml: endpoint({ events: "[booking.create]" }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /No event type matches "booking\.create"; known types are booking\.created, /,
  },
  {
    yaml: endpoint({ events: '["bookings.*"]' }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /No event type matches/,
  },
  ...['"book*"', '"*.created"', '""', '"booking."', "booking"].map((pattern): Case => ({
    yaml: endpoint({ events: `[${pattern}]` }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /a pattern such as booking\.\*, or \*/,
  })),
  {
    yaml: endpoint({ events: '[booking.created, "booking.*"]' }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /"booking\.created" is selected by "booking\.\*" already/,
  },
  {
    yaml: endpoint({ events: "[booking.created, booking.created]" }),
    at: "5:31",
    path: "endpoints[0].events[1]",
    says: /is listed twice/,
  },
  {
    yaml: endpointWith("businesses: []"),
    at: "6:17",
    path: "endpoints[0].businesses",
    says: /name a/,
  },
  {
    yaml: endpointWith("businesses: [a, 5]"),
    at: "6:21",
    path: "endpoints[0].businesses[1]",
    says: /write it in quotes/,
  },
  {
    yaml: endpointWith("businesses: [a, b, a]"),
    at: "6:24",
    path: "endpoints[0].businesses[2]",
    says: /"a" is listed twice/,
  },
  {
    yaml: endpointWith("rate_limit: 50"),
    at: "6:17",
    path: "endpoints[0].rate_limit",
    says: /50\/s or 300\/m, not 50/,
  },
  {
    yaml: endpointWith("rate_limit: 0/s"),
    at: "6:17",
    path: "endpoints[0].rate_limit",
    says: /above 0/,
  },
  {
    yaml: endpointWith("concurrency: 0"),
    at: "6:18",
    path: "endpoints[0].concurrency",
    says: /from 1 to 4096/,
  },
  {
    yaml: endpointWith("tls: { cert: file:cert.pem }"),
    at: "6:10",
    path: "endpoints[0].tls",
    says: /cert and key together/,
  },
  {
    yaml: endpointWith("tls: { ca: file:list.json }"),
    at: "6:16",
    path: "endpoints[0].tls.ca",
    says: /PEM file with a certificate/,
  },
  {
    yaml: endpointWith("tls: { ca: file:broken.pem }"),
    at: "6:16",
    path: "endpoints[0].tls.ca",
    says: /The certificate cannot be read/,
  },
  {
    yaml: endpointWith("tls: { cert: file:cert.pem, key: file:other.key }"),
    at: "6:38",
    path: "endpoints[0].tls.key",
    says: /not the key of the first certificate in cert/,
  },
  {
    yaml: endpointWith("tls: { cert: file:cert.pem, key: file:encrypted.key }"),
    at: "6:38",
    path: "endpoints[0].tls.key",
    says: /encrypted with a passphrase; decrypt it/,
  },
  {
    yaml: endpointWith("tls: { ca: cert.pem }"),
    at: "6:16",
    path: "endpoints[0].tls.ca",
    says: /file:PATH or env:NAME/,
  },
  {
    yaml: endpointWith("tls: {}").replace("https://crm.example.com", "http://127.0.0.1:9"),
    at: "6:10",
    path: "endpoints[0].tls",
    says: /no meaning for an http: URL/,
  },
  {
    yaml: endpoint({}) + endpoint({}).replace("endpoints:\n", ""),
    at: "6:9",
    path: "endpoints[1].id",
    says: /^Duplicate id crm in line 6, already in line 2$/,
  },
];

Deno.test("loadConfig() names place and remedy: endpoints", () => {
  expectMistakes(ENDPOINTS, {
    "list.json": "[]",
    "broken.pem": pem("CERTIFICATE"),
    "cert.pem": certificates.client.cert,
    "other.key": certificates.good.key,
    "encrypted.key": pem("ENCRYPTED PRIVATE KEY"),
  });
});

const RESERVED =
  "Content-Type user-agent HOST Content-Length Connection Transfer-Encoding TE Trailer Upgrade " +
  "Keep-Alive Proxy-Authorization Expect X-BookMe-Signature x-bookme-anything webhook-id Webhook-X";

const HEADERS: readonly Case[] = [
  ...RESERVED.split(" ").map((name): Case => ({
    yaml: endpointWith(`headers: { ${name}: x }`),
    at: `6:${18 + name.length}` as Case["at"],
    path: `endpoints[0].headers.${name}`,
    says: /^Reserved/,
  })),
  ...["'X A'", "'X:A'", "'X\u00e9'", "''"].map((name): Case => ({
    yaml: endpointWith(`headers: { ${name}: x }`),
    at: `6:${18 + name.length}` as Case["at"],
    path: "endpoints[0].headers.…",
    says: /A header's name/,
  })),
  ...['"a\\r\\nX-B: c"', '"a\\nb"', '"\\0"', '"\\x7f"', "h\u00e9"].map((value): Case => ({
    yaml: endpointWith(`headers: { X-A: ${value} }`),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /printable ASCII/,
  })),
  {
    yaml: endpointWith("headers: { X-A: 5 }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /write it in quotes/,
  },
  {
    yaml: endpointWith('headers: { X-A: " a" }'),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /begin or end with a space/,
  },
  {
    yaml: endpointWith("headers: { X-A: a, x-a: b }"),
    at: "6:29",
    path: "endpoints[0].headers.x-a",
    says: /Same header as "X-A"/,
  },
  {
    yaml: endpointWith("headers: { X-A: env:NOT_SET }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /NOT_SET is not set/,
  },
  {
    yaml: endpointWith("headers: { X-A: file:none }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /does not exist/,
  },
  {
    yaml: endpointWith("headers: [X-A]"),
    at: "6:14",
    path: "endpoints[0].headers",
    says: /mapping of names/,
  },
];

Deno.test("loadConfig() names place and remedy: headers", () => {
  expectMistakes(HEADERS);
});
