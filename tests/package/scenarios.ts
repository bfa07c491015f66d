/** What installing, upgrading, removing and purging the package does to a machine. */

import assert from "node:assert/strict";
import { until } from "../support/wait.ts";
import type { Machine } from "./machine.ts";

const CONFIG = "/etc/bookme-webhooks/config.yaml";
const DATA = "/var/lib/bookme-webhooks";
const DROP_IN = "/etc/systemd/system/bookme-webhooks.service.d";
const ENVIRONMENT = "/etc/bookme-webhooks/environment";
const EVENT = JSON.stringify({
  event: "booking.created",
  timestamp: "2025-10-31T16:00:00Z",
  data: { appointment: { id: "apt_1" } },
});
/** How long systemd and a busy machine may take. */
const WAIT_MS = 120_000;
/** Which version's sources a process runs. */
const RUNS = /\/opt\/launcher\/([\d.]+)\/main\.ts/;

/** A step: its name, and what it does and asserts. They run in order, on one machine. */
export type Scenario = readonly [name: string, run: (machine: Machine) => Promise<void>];

/** All of them. The machine has `bookme-webhooks_VERSION_amd64.deb` of 0.1.0, 0.2.0 and 0.3.0 in /root. */
export const SCENARIOS: readonly Scenario[] = [
  ["a fresh install starts nothing", freshInstall],
  ["the daemon starts as its user, with the variables of its file", start],
  ["systemctl shows its state, and reloads a good file only", manage],
  ["the watchdog restarts a daemon that stands still", standstill],
  ["an upgrade keeps an edited configuration and restarts the daemon", upgrade],
  ["an upgrade that the configuration does not fit leaves the old daemon running", brokenConfig],
  ["an upgrade obeys policy-rc.d", policy],
  ["an upgrade neither starts nor enables a daemon", stoppedUpgrade],
  ["a removal keeps configuration, data and user", remove],
  ["an install after a removal finds them again", installAgain],
  ["a purge removes configuration and user, and prints what stays", purge],
  ["an install after a purge gets the data back", installAfterPurge],
  ["a purge without data leaves nothing", purgeAll],
];

/** Those of a minimal Debian in which no systemd runs, as in the making of an image. */
export const IN_CHROOT: readonly Scenario[] = [
  ["without systemd an install makes user and files, and asks nobody to start", installInChroot],
];

const apt = (machine: Machine, words: string) =>
  machine.run(`DEBIAN_FRONTEND=noninteractive apt-get -y ${words}`, { cwd: "/root" });

/** Installs a version without a terminal to ask on; returns what was printed. */
async function install(machine: Machine, version: string, options = ""): Promise<string> {
  const { out, err } = await apt(
    machine,
    "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold " +
      `install ${options} ./bookme-webhooks_${version}_amd64.deb`,
  );
  return out + err;
}

async function output(machine: Machine, command: string): Promise<string> {
  return (await machine.run(command)).out.trim();
}

async function daemon(machine: Machine): Promise<{ pid: string; version: string; user: string }> {
  const pid = await output(machine, "systemctl show --property=MainPID --value bookme-webhooks");
  assert.notEqual(pid, "0", "the daemon runs");
  const [, version = ""] = RUNS.exec(await output(machine, `tr '\\0' ' ' </proc/${pid}/cmdline`)) ??
    [];
  return { pid, version, user: await output(machine, `stat -c %U /proc/${pid}`) };
}

async function state(machine: Machine): Promise<string> {
  return await output(machine, "systemctl is-active bookme-webhooks || true");
}

async function freshInstall(machine: Machine): Promise<void> {
  assert.match(
    await install(machine, "0.1.0"),
    /is installed, and was not started\. Next:\n {2}edit/,
  );
  assert.equal(await state(machine), "inactive");
  assert.equal(await output(machine, "systemctl is-enabled bookme-webhooks || true"), "disabled");
  const modes = await output(
    machine,
    `stat -c '%a %U %G' ${CONFIG} ${DATA} /usr/bin/bookme-webhooks`,
  );
  assert.equal(
    modes,
    "640 root bookme-webhooks\n700 bookme-webhooks bookme-webhooks\n755 root root",
  );
  const [, , uid, , , home, shell] = (await output(machine, "getent passwd bookme-webhooks")).split(
    ":",
  );
  assert.ok(Number(uid) > 0 && Number(uid) < 1000, "a system user");
  assert.deepEqual([home, shell], [DATA, "/usr/sbin/nologin"]);
  assert.equal(await output(machine, "bookme-webhooks --version"), "bookme-webhooks 0.1.0");
  assert.match(await output(machine, `bookme-webhooks check --config ${CONFIG}`), /is valid/);
  await machine.run("man --where bookme-webhooks");
  const completions = "/usr/share/bash-completion/completions/bookme-webhooks";
  assert.match(
    await output(machine, `. ${completions}; complete -p bookme-webhooks`),
    /^complete -F/,
  );
  assert.equal(
    await output(machine, "dpkg --verify bookme-webhooks"),
    "",
    "files as they were packed",
  );
}

async function start(machine: Machine): Promise<void> {
  const secret = await output(machine, "bookme-webhooks secret");
  // As systemd reads it: a shell would run the second line as a command.
  await machine.run(`umask 077; cat >${ENVIRONMENT} <<'END'
# Secrets
RECEIVER_SECRET="${secret}"
OTHER=one two; three
END`);
  await machine.run(
    `umask 077; bookme-webhooks secret >/root/crm.secret; umask 022; mkdir ${DROP_IN}
printf '[Service]\\nLoadCredential=crm:/root/crm.secret\\n' >${DROP_IN}/crm.conf; systemctl daemon-reload`,
  );
  const credential = "/run/credentials/bookme-webhooks.service/crm";
  await machine.run(`sed -i \\
    -e 's|^secrets: {}|secrets: { receiver: env:RECEIVER_SECRET, crm: "file:${credential}" }|' \\
    -e 's|^endpoints: \\[\\]|endpoints: [{ id: receiver, url: http://127.0.0.1:9/, secret: receiver, events: ["*"] }]|' \\
    ${CONFIG}`);
  await machine.run("systemctl enable --now bookme-webhooks");
  const { version, user } = await daemon(machine);
  assert.deepEqual([version, user], ["0.1.0", "bookme-webhooks"]);
  await machine.run(`curl -fsS http://127.0.0.1:8080/ingest --json '${EVENT}'`);
  assert.equal(await output(machine, `stat -c '%a %U' ${DATA}/admin.token`), "600 bookme-webhooks");
}

async function manage(machine: Machine): Promise<void> {
  const { pid } = await daemon(machine);
  const status = () =>
    output(machine, "systemctl show --property=StatusText --value bookme-webhooks");
  await until("the status is up to date", async () => /^Ready: .*1 deliver/.test(await status()));
  await machine.run(`cp -p ${CONFIG} /root/good.yaml; echo 'unknown: 1' >>${CONFIG}`);
  const bad = await machine.run("systemctl reload bookme-webhooks", { may_fail: true });
  assert.notEqual(bad.code, 0);
  await machine.run(`cp -p /root/good.yaml ${CONFIG}; systemctl reload bookme-webhooks`);
  assert.equal((await daemon(machine)).pid, pid);
  await machine.run("systemctl start bookme-webhooks-backup.service");
  const backup = "/var/backups/bookme-webhooks/bookme.tar";
  assert.equal(await output(machine, `stat -c '%a %U' ${backup}`), "600 root");
}

async function standstill(machine: Machine): Promise<void> {
  const shown = (name: string) =>
    output(machine, `systemctl show --property=${name} --value bookme-webhooks`);
  // Sooner than in the unit. A stopped process does not even take the signal that ends it.
  await machine.run(
    `printf '[Service]\\nWatchdogSec=20s\\nTimeoutAbortSec=1s\\n' >${DROP_IN}/watchdog.conf
systemctl daemon-reload; systemctl restart bookme-webhooks`,
  );
  const first = await shown("WatchdogTimestampMonotonic");
  await until(
    "it is fed",
    async () => await shown("WatchdogTimestampMonotonic") !== first,
    WAIT_MS,
  );
  const { pid } = await daemon(machine);
  await machine.run(`kill -STOP ${pid}`);
  await until(
    "it runs again",
    async () => await shown("NRestarts") === "1" && await state(machine) === "active",
    WAIT_MS,
  );
  assert.notEqual((await daemon(machine)).pid, pid);
  await machine.run(`rm ${DROP_IN}/watchdog.conf; systemctl daemon-reload`);
  await machine.run("systemctl restart bookme-webhooks");
}

async function upgrade(machine: Machine): Promise<void> {
  const before = await daemon(machine);
  const edited = await output(machine, `cat ${CONFIG}`);
  await install(machine, "0.2.0");
  assert.equal(await output(machine, `cat ${CONFIG}`), edited);
  assert.match(await output(machine, `cat ${CONFIG}.dpkg-dist`), /^# New in 0\.2\.0$/m);
  assert.equal(await output(machine, `stat -c '%a %U %G' ${CONFIG}`), "640 root bookme-webhooks");
  const after = await daemon(machine);
  assert.notEqual(after.pid, before.pid);
  assert.deepEqual([after.version, await state(machine)], ["0.2.0", "active"]);
  await isKept(machine);
}

async function isKept(machine: Machine): Promise<void> {
  assert.match(
    await output(machine, `bookme-webhooks event apt_1 --config ${CONFIG}`),
    /booking\.created/,
  );
}

async function brokenConfig(machine: Machine): Promise<void> {
  const before = await daemon(machine);
  await machine.run(`cp -p ${CONFIG} /root/good.yaml; echo 'unknown: 1' >>${CONFIG}`);
  const printed = await install(machine, "0.3.0");
  assert.match(printed, /config\.yaml:\d+:1: unknown: /);
  assert.match(printed, /the new version does not accept .*config\.yaml/);
  assert.equal((await daemon(machine)).pid, before.pid, "the same process");
  const status = "dpkg-query --show --showformat='${db:Status-Abbrev}${Version}' bookme-webhooks";
  assert.equal(await output(machine, status), "ii 0.3.0");
  await isKept(machine);
  await machine.run(`cp -p /root/good.yaml ${CONFIG}; systemctl restart bookme-webhooks`);
  assert.equal((await daemon(machine)).version, "0.3.0");
}

async function policy(machine: Machine): Promise<void> {
  const before = await daemon(machine);
  await machine.run(
    "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d",
  );
  await install(machine, "0.3.0", "--reinstall");
  assert.equal((await daemon(machine)).pid, before.pid);
  await machine.run("rm /usr/sbin/policy-rc.d");
}

async function stoppedUpgrade(machine: Machine): Promise<void> {
  await machine.run("systemctl disable --now bookme-webhooks");
  const printed = await install(machine, "0.3.0", "--reinstall");
  assert.match(printed, /is not running, and was not started/);
  assert.equal(await state(machine), "inactive");
  assert.equal(await output(machine, "systemctl is-enabled bookme-webhooks || true"), "disabled");
  await machine.run("systemctl enable --now bookme-webhooks");
}

async function remove(machine: Machine): Promise<void> {
  const { pid } = await daemon(machine);
  await apt(machine, "remove bookme-webhooks");
  await machine.run(`test ! -e /proc/${pid}; test ! -e /usr/bin/bookme-webhooks`);
  await machine.run(`test -e ${CONFIG}; test -e ${ENVIRONMENT}; test -e ${DATA}/admin.token`);
  await machine.run("getent passwd bookme-webhooks");
}

async function installAgain(machine: Machine): Promise<void> {
  await install(machine, "0.3.0");
  assert.equal(await state(machine), "inactive");
  assert.equal(await output(machine, "systemctl is-enabled bookme-webhooks"), "enabled");
  assert.match(await output(machine, `cat ${CONFIG}`), /RECEIVER_SECRET/);
  await machine.run("systemctl start bookme-webhooks");
  await isKept(machine);
}

async function purge(machine: Machine): Promise<void> {
  await machine.run(`rm -r ${DROP_IN}`);
  const { out, err } = await apt(machine, "purge bookme-webhooks");
  const printed = out + err;
  assert.match(printed, /left \/var\/lib\/bookme-webhooks, with: .*admin\.token/);
  assert.match(printed, /left \/etc\/bookme-webhooks, with: .*environment/);
  await machine.run(`test ! -e ${CONFIG}; test -e ${ENVIRONMENT}`);
  assert.equal(await output(machine, "getent passwd bookme-webhooks || echo none"), "none");
  assert.equal(await output(machine, "getent group bookme-webhooks || echo none"), "none");
  assert.equal(await output(machine, `stat -c '%a %U %G' ${DATA}`), "700 root root");
  assert.equal(await output(machine, `stat -c %U ${DATA}/admin.token`), "root");
  assert.equal(
    await output(machine, "find /etc/systemd /var/lib/systemd -name 'bookme-webhooks*'"),
    "",
  );
}

async function installAfterPurge(machine: Machine): Promise<void> {
  // Takes the number that the user had, so that it gets another one.
  await machine.run("useradd --system somebody");
  await install(machine, "0.1.0");
  const owners = `find ${DATA} ! -user bookme-webhooks`;
  assert.equal(await output(machine, owners), "", "the data is the new user's");
  await machine.run("systemctl enable --now bookme-webhooks");
  await isKept(machine);
}

async function purgeAll(machine: Machine): Promise<void> {
  await machine.run("systemctl disable --now bookme-webhooks");
  await machine.run(
    `rm -r ${DATA} /var/backups/bookme-webhooks; rm ${ENVIRONMENT}; rm -f ${CONFIG}.dpkg-*`,
  );
  await apt(machine, "purge bookme-webhooks");
  const left =
    "find / -xdev -name '*bookme-webhooks*' -not -path '/proc/*' -not -path '/root/*' -not -path '/opt/launcher/*'";
  assert.equal(
    await output(machine, `${left} -not -path '/var/cache/*' -not -path '/var/log/*'`),
    "",
  );
}

async function installInChroot(machine: Machine): Promise<void> {
  await apt(machine, "--no-install-recommends install systemd-standalone-sysusers");
  const printed = await install(machine, "0.1.0", "--no-install-recommends");
  assert.match(printed, /is installed, and was not started/);
  assert.equal(await output(machine, "command -v systemctl || echo none"), "none");
  assert.equal(
    await output(machine, `stat -c '%U %G' ${CONFIG} ${DATA}`),
    `root bookme-webhooks
bookme-webhooks bookme-webhooks`,
  );
  assert.match(await output(machine, `bookme-webhooks check --config ${CONFIG}`), /is valid/);
  await apt(machine, "purge bookme-webhooks");
  assert.equal(await output(machine, "getent passwd bookme-webhooks || echo none"), "none");
  await machine.run(`test ! -e ${DATA}; test ! -e ${CONFIG}`);
}
