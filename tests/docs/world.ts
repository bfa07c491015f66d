/**
 * A place in which the commands of the documentation run as they stand: a daemon with its configuration, an
 * endpoint that has failed, and the directories that the pages name, all below a temporary one.
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { loadConfig } from "../../lib/config/load.ts";
import { makeSecret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { type Daemon, start } from "../../lib/daemon.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { initialise, serverDatabase } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until, within } from "../support/wait.ts";

const SOURCES = new URL("../../", import.meta.url).pathname;

/** Directories of the pages, which are below the world's own in a test. */
const PLACES =
  /(?<![\w.])\/(?:etc\/bookme-webhooks|var\/(?:backups|lib)|root\/keys|usr\/local\/bin)\b/g;

/**
 * Ctrl-C. The signal goes to the terminal's processes from here: not every machine's terminals make it of the
 * key.
 */
export const CTRL_C = Symbol("Ctrl-C");

/** What somebody at the terminal types once the output shows something. */
export type Typing = readonly (readonly [shown: RegExp, typed: string | typeof CTRL_C])[];

/** Where commands run. */
export interface World extends AsyncDisposable {
  /** The address in place of `127.0.0.1:8080`. */
  readonly address: string;
  /** Its working directory, with `config.yaml` and `data`. */
  readonly home: string;
  /** The text of a page with this world's paths, addresses and ids. */
  localise(text: string): string;
  /** Runs a shell text on a terminal of its own, to its end, and returns its output. Fails if it does. */
  run(text: string, typing?: Typing): Promise<string>;
}

/** Whether the programs that a world needs are here. */
export function hasTerminal(): boolean {
  return ["script", "bash", "curl"].every((name) =>
    new Deno.Command("sh", { args: ["-c", `command -v ${name}`], stdout: "null" }).outputSync()
      .success
  );
}

/** The directories, and the program as `bookme-webhooks`; nothing runs yet. */
export async function emptyWorld() {
  const root = Deno.makeTempDirSync({ prefix: "bookme-world-" });
  const home = `${root}/home`;
  for (
    const path of [
      "home/bin",
      "etc/bookme-webhooks",
      "var/lib",
      "var/backups/bookme-webhooks",
    ]
      .concat(["root/keys", "usr/local/bin"])
  ) Deno.mkdirSync(`${root}/${path}`, { recursive: true });
  const program = `#!/bin/sh
exec "${Deno.execPath()}" run --quiet --frozen -A --config "${SOURCES}deno.json" "${SOURCES}main.ts" "$@"
`;
  const paths = [`${home}/bin/bookme-webhooks`, `${home}/bookme-webhooks`];
  for (const path of paths) Deno.writeTextFileSync(path, program, { mode: 0o755 });
  const address = `127.0.0.1:${await freePort()}`;
  const env: Record<string, string> = {
    PATH: `${root}/usr/local/bin:${home}/bin:${Deno.env.get("PATH")}`,
    NO_COLOR: "1",
    NO_PROXY: "127.0.0.1",
    no_proxy: "127.0.0.1",
  };
  const ids = new Map<string, string>();
  return {
    root,
    home,
    address,
    env,
    ids,
    localise: (text: string) =>
      text.replaceAll(PLACES, (place) => root + place)
        .replaceAll("127.0.0.1:8080", address)
        .replaceAll("https://hooks.example.com", `http://${address}`)
        .replaceAll("PORTAL_TOKEN=…", `PORTAL_TOKEN=${ids.get("portal")}`)
        .replace(/\b(\w+)_(?:…|06yn4c1f8r2d0000h5j7)/g, (all, kind) => ids.get(kind) ?? all),
    [Symbol.dispose]: () => Deno.removeSync(root, { recursive: true }),
  };
}

/** A world in which a daemon runs, and a booking's delivery to the endpoint `receiver` has failed. */
export async function startWorld(): Promise<World> {
  const place = await emptyWorld();
  const { root, home, address, env, ids } = place;
  const secret = makeSecret(crypto.getRandomValues(new Uint8Array(32)));
  const receiver = await startReceiver(statuses(500));
  const directory = `${root}/var/lib/bookme-webhooks`;
  const config = `${root}/etc/bookme-webhooks/config.yaml`;
  await initialise(directory);
  Deno.writeTextFileSync(
    config,
    `server: { listen: "${address}" }
database: { directory: "${directory}", min_free: 0B }
delivery: { retry: [0s] }
secrets: { main: "${secret}" }
endpoints:
  - { id: receiver, url: "${receiver.url}", secret: main, events: ["*"] }
  - { id: crm, url: "${receiver.url}", secret: main, events: ["booking.*"] }
`,
    { mode: 0o600 },
  );
  Deno.symlinkSync(config, `${home}/config.yaml`);
  Deno.symlinkSync(directory, `${home}/data`);
  const service = serviceOf(config);
  await service.start();
  Deno.copyFileSync(`${directory}/encryption.key`, `${root}/root/keys/encryption.key`);
  const target = await serverDatabase();
  const control = await controlBy(service, `${home}/bin/systemctl`);
  Object.assign(env, {
    DATABASE_URL: "url" in target.section ? target.section.url : "",
    BOOKME_SECRET: secret,
    HEADER: writeBody(`${home}/body.json`, secret),
  });
  Deno.writeTextFileSync(`${home}/mail.txt`, "jane.roe@example.com\n");
  const close = async () => {
    await control.close();
    await service.stop();
    await receiver[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
    place[Symbol.dispose]();
  };
  try {
    await seed(
      `http://${address}`,
      () => Deno.readTextFileSync(`${home}/data/admin.token`).trim(),
      ids,
    );
    // Whatever was wrong with it is fixed.
    receiver.answer(statuses(200));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    address,
    home,
    localise: place.localise,
    run: (text, typing = []) => runOnTerminal(place.localise(text), home, env, typing),
    [Symbol.asyncDispose]: close,
  };
}

/** The daemon of a configuration, which starts and stops as a service does. */
function serviceOf(config: string) {
  let daemon: Daemon | undefined;
  const stop = async () => {
    await daemon?.stop();
    daemon = undefined;
  };
  const start_it = async () => {
    daemon ??= await start(
      loadConfig(config, (name) => Deno.env.get(name)),
      makeLog(() => {}, "json"),
    );
  };
  return {
    start: start_it,
    stop,
    async restart() {
      await stop();
      await start_it();
    },
  };
}

/** In place of systemd: `systemctl start`, `stop` and `restart` of the service `bookme-webhooks`. */
async function controlBy(service: ReturnType<typeof serviceOf>, path: string) {
  const server = createServer((request, response) => {
    const [, verb, unit] = (request.url ?? "").split("/");
    const is_known = verb === "start" || verb === "stop" || verb === "restart";
    const done = unit === "bookme-webhooks" && is_known
      ? service[verb]()
      : Promise.reject(new Error(`no ${verb} ${unit}`));
    done.then(() => 200, () => 500).then((status) => response.writeHead(status).end());
  });
  await new Promise<void>((listens) => server.listen(0, "127.0.0.1", listens));
  const { port } = server.address() as AddressInfo;
  const script = `#!/bin/sh\nexec curl -sSf "http://127.0.0.1:${port}/$1/$2"\n`;
  Deno.writeTextFileSync(path, script, { mode: 0o755 });
  return {
    close() {
      server.closeAllConnections();
      return new Promise<unknown>((closed) => server.close(closed));
    },
  };
}

function writeBody(path: string, secret: string): string {
  const body = new TextEncoder().encode('{"event":"booking.created"}\n');
  Deno.writeFileSync(path, body);
  return makeSigner(secret).bookme(body);
}

/** Posts a booking, waits until both endpoints have refused it, and makes what the pages name by an id. */
async function seed(url: string, token: () => string, ids: Map<string, string>): Promise<void> {
  const api = async (path: string, body?: unknown, as = token()) => {
    const response = await fetch(`${url}/api/${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${as}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = await response.json();
    assert.ok(response.ok, JSON.stringify(answer));
    return answer;
  };
  const posted = await fetch(`${url}/ingest`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      event: "booking.created",
      timestamp: "2025-10-31T15:30:00Z",
      data: {
        appointment: {
          id: "apt_789",
          confirmationNumber: "BK7X9M2P",
          business: { id: "bus_123" },
          customer: { email: "jane.roe@example.com" },
        },
      },
    }),
  });
  assert.equal(posted.status, 202, await posted.text());
  const failed = await until("both deliveries have failed", async () => {
    const { data } = await api("deliveries?status=failed&endpoint=receiver");
    return data[0];
  });
  ids.set("dlv", failed.id);
  const link = await api("portal-links", { business: "bus_123" });
  ids.set("lnk", link.id);
  ids.set("portal", link.token);
  const selected = { url: "https://crm.example.com/in", events: ["service.*"] };
  const made = await api("endpoints", selected, link.token);
  ids.set("ep", made.id);
}

/** How long a page's commands may take on a busy machine. */
const PATIENCE_MS = 240_000;

// Ctrl-C ends a command, and not those after it.
const PRELUDE = "set -euo pipefail\ntrap : INT\nPS4='$ '\nset -x\n";

async function runOnTerminal(
  text: string,
  cwd: string,
  env: Readonly<Record<string, string>>,
  typing: Typing,
): Promise<string> {
  Deno.writeTextFileSync(`${cwd}/run.sh`, `${PRELUDE}${text}\n`);
  const child = new Deno.Command("script", {
    args: ["-qefc", "exec bash run.sh", "/dev/null"],
    cwd,
    env: { ...env, SHELL: "/bin/sh", TERM: "dumb", COLUMNS: "100" },
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const keys = child.stdin.getWriter();
  let shown = "";
  const reading = (async () => {
    let from = 0;
    for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
      shown += part;
      for (const [pattern, typed] of typing) {
        const found = pattern.exec(shown.slice(from));
        if (found === null) continue;
        from += found.index + found[0].length;
        if (typed === CTRL_C) interrupt(child.pid);
        else await keys.write(new TextEncoder().encode(typed));
      }
    }
  })();
  try {
    const { code } = await within("the commands end", child.status, PATIENCE_MS);
    await reading;
    assert.equal(code, 0, shown);
    return shown;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    child.kill("SIGKILL");
    throw new Error(`${error}\n${shown}`);
  } finally {
    await keys.close().catch(() => {});
  }
}

// The process group of what `script` has started, which leads the terminal's session.
function interrupt(script: number): void {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = Deno.readTextFileSync(`/proc/${name}/stat`);
      // The name in brackets may hold anything, spaces too.
      const [, parent, group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(parent) === script) Deno.kill(-Number(group), "SIGINT");
    } catch (error) {
      // Others end meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
