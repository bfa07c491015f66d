/**
 * Follows docs/install.md to the letter: each of its commands, in its order, in an empty Debian. A command
 * that is added to the page is walked, or the walk fails. Restoring is a block of docs/operations.md.
 */

import assert from "node:assert/strict";
import { until } from "../support/wait.ts";
import type { Machine } from "./machine.ts";
import { type Block, makeReader } from "./page.ts";

const PAGE = "docs/install.md";
const CONFIG = "/etc/bookme-webhooks/config.yaml";
const OPTION = `--config ${CONFIG}`;
/** How long a step may take on a busy machine: the first start makes a database. */
const PATIENCE_MS = 120_000;

/** How long a step took. */
export type Timed = (place: string, took_ms: number) => void;

type Reader = ReturnType<typeof makeReader>;

/** Walks the page with the package. Its two versions are in the machine's /root. */
export async function walkPackage(machine: Machine, page: Reader, timed: Timed): Promise<void> {
  const walk = follow(machine, timed, "/root");
  await answerByDefault(machine);
  await walk(page.next("Debian package"));
  await firstEvent(machine, page, walk);
  await walk(page.next("Upgrading"));
  await delivers(machine);
  assert.equal((await machine.run("bookme-webhooks --version")).out, "bookme-webhooks 0.2.0\n");
  await walk(page.next("Backup and restore"));
  await restore(machine, walk);
  await toServer(machine, page, walk);
  await uninstall(machine, page, walk);
}

/** Walks what the page says about a plain executable, which lies in the machine's /root/checkout/dist. */
export async function walkExecutable(machine: Machine, page: Reader, timed: Timed): Promise<void> {
  const walk = follow(machine, timed, "/root/checkout");
  await walk(page.next("A plain executable"));
  await firstEvent(machine, makeReader(PAGE), walk);
  await walk(page.next("A plain executable"));
  await delivers(machine);
  await walk(page.next("A plain executable"));
  await machine.run(
    "test ! -e /usr/local/bin/bookme-webhooks; test -e /var/lib/bookme-webhooks/admin.token",
  );
  assert.equal((await machine.run("getent passwd bookme-webhooks || echo none")).out, "none\n");
}

/** Fails if a command of the page was not walked. A container has its own test, without an engine. */
export function assertWalked(page: Reader): void {
  const left = page.left("bash").filter(({ place }) => place !== `${PAGE}#Container`);
  assert.deepEqual(left.map(({ place, text }) => `${place}: ${text}`), []);
}

/** There is no terminal on which apt and dpkg could ask. The answers are those of the enter key. */
async function answerByDefault(machine: Machine): Promise<void> {
  await machine.run(`cat >/etc/apt/apt.conf.d/90walk <<'END'
APT::Get::Assume-Yes "true";
Dpkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; };
END`);
}

type Walk = (block: Block) => Promise<string>;

function follow(machine: Machine, timed: Timed, cwd: string): Walk {
  return async (block) => {
    const begun_ms = performance.now();
    // Without a terminal, apt asks nothing.
    const { out } = await machine.run(block.text, {
      cwd,
      env: { DEBIAN_FRONTEND: "noninteractive" },
    });
    timed(block.place, performance.now() - begun_ms);
    return out;
  };
}

async function firstEvent(machine: Machine, page: Reader, walk: Walk): Promise<void> {
  const heading = "The first event";
  await walk(page.next(heading));
  const { text } = page.next(heading, "yaml");
  const at = text.indexOf("endpoints:");
  await edit(machine, [["secrets: {}", text.slice(0, at)], ["endpoints: []", text.slice(at)]]);
  await walk(page.next(heading));
  const receiver = await machine.start(page.next(heading).text);
  await until("the receiver listens", () => receiver.output().includes("Listening"), PATIENCE_MS);
  const posted = await walk(page.next(heading));
  assert.match(posted, /"deliveries":1/);
  await until(
    "it arrives",
    () => /booking\.confirmed .*✓ verified/.test(receiver.output()),
    PATIENCE_MS,
  );
  await until("it is listed", () => isListed(machine, "delivered"), PATIENCE_MS);
  await receiver.stop();
}

async function isListed(machine: Machine, status: string): Promise<boolean> {
  const { out } = await machine.run(`bookme-webhooks deliveries ${OPTION} --json`);
  return JSON.parse(out).data.some((delivery: { status: string }) => delivery.status === status);
}

/** Replaces lines of the configuration, as in an editor: its owner and mode stay. */
async function edit(machine: Machine, lines: readonly (readonly [line: string, text: string])[]) {
  const path = `${machine.root}${CONFIG}`;
  let config = await Deno.readTextFile(path);
  for (const [line, text] of lines) {
    assert.ok(config.includes(`\n${line}\n`), `${CONFIG} has the line ${line}`);
    config = config.replace(`\n${line}\n`, () => `\n${text}\n`);
  }
  await Deno.writeTextFile(path, config);
}

/** Posts another event and sees it arrive. */
async function delivers(machine: Machine): Promise<void> {
  const page = makeReader(PAGE);
  const [, , listen, post] = [1, 2, 3, 4].map(() => page.next("The first event").text);
  const receiver = await machine.start(listen ?? "");
  await until("the receiver listens", () => receiver.output().includes("Listening"), PATIENCE_MS);
  await machine.run(post ?? "");
  await until("it arrives", () => receiver.output().includes("✓ verified"), PATIENCE_MS);
  await receiver.stop();
}

async function restore(machine: Machine, walk: Walk): Promise<void> {
  const before = await machine.run(`bookme-webhooks deliveries ${OPTION} --json`);
  // The page says to keep the key elsewhere.
  await machine.run(
    "install -d -m 700 /root/keys; cp -p /var/lib/bookme-webhooks/encryption.key /root/keys/",
  );
  const operations = makeReader("docs/operations.md");
  const heading = "The embedded database";
  const block = operations.left("bash").filter(({ place }) => place.endsWith(`#${heading}`))
    .find(({ text }) => text.includes("bookme-webhooks restore "));
  assert.ok(block, "docs/operations.md restores a backup");
  const printed = await walk(block);
  assert.match(printed, /digest, manifest and rows are right/);
  const after = await machine.run(`bookme-webhooks deliveries ${OPTION} --json`);
  const ids = (json: string) => JSON.parse(json).data.map(({ id }: { id: string }) => id);
  assert.deepEqual(ids(after.out), ids(before.out));
  await delivers(machine);
}

async function toServer(machine: Machine, page: Reader, walk: Walk): Promise<void> {
  const heading = "On a PostgreSQL server";
  const printed = await walk(page.next(heading));
  const [, url = ""] = /^ {2}database: \{ (url: .+) \}$/m.exec(printed) ?? [];
  const [, key = ""] = /^ {2}(encryption_key: .+)$/m.exec(printed) ?? [];
  const [, tokens = ""] = /^ {2}admin: \{ (tokens: .+) \}$/m.exec(printed) ?? [];
  assert.ok(url !== "" && key !== "" && tokens !== "", printed);
  await edit(machine, [
    ["  directory: /var/lib/bookme-webhooks", `  ${url}`],
    ["  tokens: []", `  ${tokens}`],
    ["secrets:", `${key}\nsecrets:`],
  ]);
  await walk(page.next(heading));
  await delivers(machine);
}

async function uninstall(machine: Machine, page: Reader, walk: Walk): Promise<void> {
  const printed = await walk(page.next("Uninstalling"));
  assert.match(printed, /left \/var\/lib\/bookme-webhooks, with: /);
  await walk(page.next("Uninstalling"));
  const left = await machine.run(
    "find /etc /usr /var/lib -name 'bookme-webhooks*' -not -name '*.old'",
  );
  assert.equal(left.out, "");
}
