import { startPostgres, freshDatabase } from "./tests/support/postgres.ts";
import { startDaemon, endpoint } from "./tests/support/daemon.ts";
import { openUrl } from "./tests/support/databases.ts";
const s = await startPostgres({ shared_buffers: "256MB", max_wal_size: "4GB" });
const f = await freshDatabase(s);
const db = await openUrl(f.url);
const N = 1_000_000;
await db.admin.unsafe(`set statement_timeout = 0`);
const sql = db.admin;
const q = async (t: string) => { await sql.unsafe(`set statement_timeout=0; ${t}`).simple(); };
let t = performance.now();
await sql.unsafe(`insert into endpoints (id, source, url, events, settings) select 'e'||g, 'file', 'http://127.0.0.1:1/', '{*}', '{"timeout_ms":30000,"retry_ms":[0],"concurrency":null,"rate_limit_per_s":null,"unsigned":true,"description":null,"headers":[]}' from generate_series(1,50) g`);
await sql.unsafe(`insert into endpoint_versions select no,1,url,'[]' from endpoints`);
await q(`create temp table ids as select n, (lpad(to_hex((extract(epoch from now() - (${N}-n) * interval '2.5 s')*1000)::bigint),12,'0')||'7'||lpad(to_hex(n%4096),3,'0')||'8'||lpad(to_hex(n),7,'0')||'00000000')::uuid as id, now() - (${N}-n) * interval '2.5 s' as at from generate_series(1,${N}) n;
insert into events select id, (array['booking.created','booking.confirmed','business.updated'])[1+n%3], 'bus_'||(n%1000), 'apt_'||n, 'BK'||n, false, null, null, at, repeat('x',300) from ids;
insert into ended_deliveries select (left(id::text,28)||lpad(to_hex(1+n%50),8,'0'))::uuid, id, 1+n%50, at, at, case when n%97=0 then 'failed' else 'delivered' end, null, 1, 1, case when n%97=0 then 'http_5xx' else 'delivered' end, 200, at from ids;
insert into attempts select (left(id::text,28)||lpad(to_hex(1+n%50),8,'0'))::uuid, 1, 1+n%50, 1, at - interval '20 ms', at, case when n%97=0 then 'http_5xx' else 'delivered' end, 200, null, null, 1, 'a', 'b', 'HTTP/1.1 200 OK', null, false, at from ids;
update attempt_stats_mark set watermark = now() - interval '40 d';`);
await q("analyze");
console.log("made", Math.round(performance.now() - t)); t = performance.now();
const { rollUp } = await import("./lib/store/stats.ts");
await sql.unsafe(`set statement_timeout=0`);
console.log("rolled", await rollUp(sql), Math.round(performance.now() - t));
await db.close();
const d = await startDaemon({ database: { url: f.url }, endpoints: Array.from({ length: 50 }, (_, i) => endpoint(`e${i + 1}`, "http://127.0.0.1:1/", { unsigned: true, retry: ["0s"] })) });
const since = new Date(Date.now() - 7200_000).toISOString(), old = new Date(Date.now() - 20 * 86400_000).toISOString();
for (const p of ["stats?window=1h", "stats?window=6h", "stats?window=30d", "stats?window=30d&endpoint=e7", "events", "events?type=booking.created", "events?type=service.created", "events?q=BK500", "events?q=apt_500", `events?business=bus_7`, "deliveries", "deliveries?status=failed", "deliveries?status=failed&endpoint=e7", "deliveries?status=cancelled", "deliveries?reason=tls", "deliveries?reason=http_5xx&endpoint=e9", "deliveries?type=service.created", `deliveries?since=${old}&until=${new Date(Date.parse(old) + 3600_000).toISOString()}`, `deliveries?endpoint=e3`, "audit", "endpoints"]) {
  await d.api(p); t = performance.now(); const { status, body } = await d.api(p);
  console.log(p, status, body.data?.length ?? body.totals?.attempts, Math.round(performance.now() - t) + " ms");
}
for (const b of [{ since: old, dry_run: true }, { since: old, status: ["delivered"], dry_run: true }, { since: old, status: ["delivered"], type: "service.created", dry_run: true }, { since: old, endpoint: "e7", status: ["delivered", "failed"], dry_run: true }]) {
  t = performance.now(); const r = await fetch(d.url + "/api/replays", { method: "POST", headers: { authorization: "Bearer admin-token-of-the-tests-0123", "content-type": "application/json" }, body: JSON.stringify(b) });
  console.log(JSON.stringify(b), r.status, await r.text(), Math.round(performance.now() - t) + " ms");
}
await d.stop(); await f.drop(); await s.close();
Deno.exit(0);
