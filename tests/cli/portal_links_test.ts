import assert from "node:assert/strict";
import { runHere } from "../support/cli.ts";
import { serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";

Deno.test("portal-link prints the link alone, and portal-links lists and revokes it", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({ database: database.section });
  assert.equal((await daemon.cli(["portal-links"])).out, "No portal links\n");
  const made = await daemon.cli(["portal-link", "bus_1"]);
  assert.equal(made.code, 0, made.err);
  const link = /^(http:\/\/127\.0\.0\.1:\d+)\/portal\/open\/(portal_[\w-]{43})\n$/.exec(made.out);
  assert.equal(link?.[1], daemon.url);
  const [, id = ""] = /^(lnk_\w+) expires \S+Z \(in 24 h\); the link is not shown again\n$/
    .exec(made.err) ?? [];
  assert.match(id, /^lnk_/, made.err);
  const endpoints = () => daemon.api("endpoints", link?.[2]);
  assert.equal((await endpoints()).status, 200);

  const options = ["--expires-in", "7d", "--read-only", "--json"];
  const second = await daemon.cli(["portal-link", "bus_2", ...options]);
  const { url, token, ...other } = JSON.parse(second.out);
  assert.equal(url, `${daemon.url}/portal/open/${token}`);
  assert.deepEqual([other.business, other.read_only], ["bus_2", true]);
  assert.equal(Date.parse(other.expires_at) - Date.parse(other.created_at), 7 * 86_400_000);

  const rowsOf = async (...more: string[]) =>
    (await daemon.cli(["portal-links", ...more])).out.trimEnd().split("\n").slice(1)
      .map((line) => line.split(/ {2,}/).slice(0, 4));
  const second_row = [other.id, "bus_2", "active", "read"];
  assert.deepEqual(await rowsOf(), [second_row, [id, "bus_1", "active", "read and write"]]);
  assert.deepEqual(await rowsOf("--business", "bus_2"), [second_row]);
  const page = await daemon.cli(["portal-links", "--limit", "1"]);
  assert.match(page.err, new RegExp(`continue with --cursor ${other.id}\n$`));
  const next = JSON.parse((await daemon.cli(["portal-links", "--cursor", other.id, "--json"])).out);
  assert.deepEqual(next.data.map((one: { id: string }) => one.id), [id]);

  const revoked = await daemon.cli(["portal-links", id, "--revoke"]);
  assert.match(
    revoked.out,
    /^lnk_\w+\n +business +bus_1\n +state +revoked\n +may +read and write\n/,
  );
  assert.match(revoked.out, /created +\S+Z \(.*ago\) by ops\n[^]*revoked +\S+Z \(.*ago\)\n$/);
  assert.equal((await endpoints()).status, 401);
  assert.deepEqual(JSON.parse((await daemon.cli(["portal-links", other.id, "--json"])).out), other);
  const unknown = await daemon.cli(["portal-links", "lnk_nonsense"]);
  assert.deepEqual([unknown.code, unknown.err], [1, "There is no such portal link\n"]);
  const narrow = await daemon.cli(["portal-links"], { isTerminal: true, columns: 60 });
  // deno-lint-ignore no-control-regex
  const lines = narrow.out.replaceAll(/\x1b\[\d+m/g, "").split("\n");
  assert.deepEqual(lines.filter((line) => line.length > 60), []);
});

Deno.test("portal-link and portal-links check their options before the daemon is asked", async () => {
  const table: [string[], RegExp][] = [
    [["portal-link"], /^BUSINESS is missing/],
    [["portal-link", "a", "b"], /^Unexpected argument "b"/],
    [["portal-link", "a", "--expires-in", "7"], /^--expires-in: Must be a duration/],
    [["portal-link", "a", "--expires-in", "31d"], /^--expires-in must be at most 30d\n/],
    [["portal-links", "--revoke"], /^--revoke needs the ID of a link/],
    [["portal-links", "lnk_1", "--business", "a"], /^--business narrows a list/],
    [["portal-links", "--limit", "0"], /^--limit must be a whole number/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere(args, { env: {} });
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});
