import { OTHER, STRONG, TOKEN } from "./config.ts";
import { testCertificates } from "./tls.ts";

/** A file that has every key. */
export const FULL = `environment: development
server:
  listen: "[::1]:0"
  trusted_proxies: [10.0.0.5/32, fd00::/8]
  tls: { cert: file:cert.pem, key: file:key.pem }
database: { url: env:DATABASE_URL }
ip_ranges: { development: [172.16.0.0/12], production: [] }
secrets:
  bookme: env:BOOKME_SECRET
  before: ${OTHER}
  crm: file:./crm.secret
ingest: { secret: [bookme, before], max_body: 64KiB, max_age: 1h }
admin:
  tokens:
    - { name: ops, token: env:ADMIN_TOKEN, role: admin }
    - { name: wall, token: file:wall.token, role: viewer }
  public: [metrics]
events:
  - { name: booking.moved, description: Moved, schema: moved.json }
  - { name: audit.done, description: Done }
delivery:
  timeout: 10s
  retry: [0s, 500ms]
  concurrency: 4096
  allow_networks: [10.20.0.0/16]
  source_address: 10.1.2.3
retention: { events: 7d, attempts: 1d, payloads: 12h, keys: 8d }
alerts: { failure_rate: 0.5, window: 5m, min_attempts: 5, to: [crm] }
portal: { max_endpoints: 3 }
endpoints:
  - id: crm
    url: https://crm.example.com/webhooks/bookme
    secret: crm
    events: ["booking.*", audit.done]
    businesses: [bus_123]
    headers: { X-Tenant: bella, Authorization: "Bearer abc", X-Key: file:header.txt, X-T: env:ADMIN_TOKEN }
    timeout: 5m
    retry: [0s]
    concurrency: 8
    rate_limit: 300/m
    traceparent: true
    description: Customer relations
    tls: { ca: file:ca.pem, cert: file:cert.pem, key: file:key.pem }
  - { id: 9-lives_x, url: "http://10.20.1.1:9000/in", unsigned: true, events: [booking.moved] }
`;

// Not in config.ts: making certificates takes time, and nearly every test file needs that.
const { ca, client } = await testCertificates();

/** The files that it refers to. */
export const FULL_FILES = {
  "crm.secret": `${OTHER}\r\n`,
  "header.txt": `${STRONG}\n`,
  "wall.token": `viewer-${TOKEN}\n`,
  "moved.json": '{"type":"object","required":["appointment"]}',
  "ca.pem": ca,
  "cert.pem": client.cert,
  "key.pem": client.key,
};
