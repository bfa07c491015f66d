/**
 * Every shell command of every page is understood, and either runs here, on a terminal in a world of its own,
 * or is in a short list with the reason.
 */

import assert from "node:assert/strict";
import { loadCommands } from "../../lib/cli/cli.ts";
import { parseCommand, PROGRAM } from "../../lib/cli/usage.ts";
import { freePort } from "../support/postgres.ts";
import { until } from "../support/wait.ts";
import { type Block, blocksOf, callsOf, commandsOf, pages, textOf } from "./shell.ts";
import { CTRL_C, emptyWorld, hasTerminal, startWorld, type Typing, type World } from "./world.ts";

const COMMANDS = await loadCommands();

/** Pages whose commands are run by a script that follows them from the beginning to the end. */
const WALKED: Readonly<Record<string, string>> = {
  "docs/install.md": "walked in an empty root, as root: the package test",
  "docs/releases.md": "walked with a release that was built: the release test",
};

/** Commands that do not run here, and why. A test that is named exists. */
const ELSEWHERE: readonly (readonly [command: RegExp, why: string])[] = [
  [/ task (?:test|ok|compile)$|^bash \.ci\/run$/, "steps of .ci/run"],
  [/ task deb$/, "tests/deploy/deb_test.ts"],
  [/ task package-test$/, "takes minutes, and a mirror of Debian"],
  [/ task demo$/, "tests/cli/demo_test.ts"],
  [/ task torture$/, "takes hours; a short one is tests/torture/torture_test.ts"],
  [/ task bench\b/, "takes hours"],
  [/^api\b/, "tests/docs/readme_test.ts"],
  [
    /^jq .* api endpoints/,
    "needs jq; the same request is in tests/routes/api/endpoint_tls_test.ts",
  ],
  [/^ssh /, "needs a second machine"],
  [/^prometheus /, "needs a Prometheus, and never ends"],
  [/^promtool /, "tests/monitoring/rules_test.ts"],
  [/^systemctl (?:daemon-reload|enable|reload|kill)\b/, "needs systemd"],
  [/^install .*\/etc\/systemd\/system\//, "needs systemd"],
  [/^OTEL_\w+=\S+$/, "variables of a service; tests/observe/traces_test.ts"],
  [/^DENO_NO_UPDATE_CHECK=1 deno run /, "tests/security/permissions_test.ts"],
  [/^pg_basebackup /, "tests/store/server_backup_test.ts"],
  [
    /^npx -y deno@2\.9\.6 task compile$|^install (?:-m 755 dist|-d \/etc|-m 644 config)/,
    "needs systemd",
  ],
];

/** The commands of a heading, in a world of their own: what is typed, and what is shown in the end. */
interface Scene {
  readonly heading: string;
  readonly typing?: Typing;
  readonly shows: readonly RegExp[];
}

const YES: Typing[number] = [/\[y\/N\]/, "y\n"];

const SCENES: readonly Scene[] = [
  {
    heading: "README.md#At three in the morning",
    typing: [YES],
    shows: [/BK7X9M2P/, /http_5xx/, /✓ 1 of 1 replayed/],
  },
  {
    heading: "docs/erasure.md#Erasing personal data",
    typing: [YES, [/\$ bookme-webhooks erase --containing -\r?\n/, "jane.roe@example.com\n\x04"]],
    shows: [/✓ 1 of 1 event read erased/, /erasure\.done/],
  },
  { heading: "docs/receivers.md#On your own machine", shows: [/✓ X-BookMe-Signature: Valid/] },
  {
    heading: "docs/receivers.md#Against real events",
    typing: [[/Ctrl-C stops it/, CTRL_C]],
    shows: [/Forwarding ep_\w+ to http:\/\/127\.0\.0\.1:3000\/webhooks/],
  },
  {
    heading: "docs/api.md#The stream",
    typing: [[/event: \w+/, CTRL_C]],
    shows: [/event: \w+/],
  },
  {
    heading: "docs/operations.md#Changing the configuration while it runs",
    typing: [YES],
    shows: [/is valid\. A reload[^]*\nNothing changes[^]*\nNothing changes/],
  },
  {
    heading: "docs/operations.md#Giving a business a portal",
    shows: [/\/portal\/open\//, /state +revoked/],
  },
  {
    heading: "docs/operations.md#From embedded to a server",
    shows: [/All of it is there, compared/],
  },
  {
    heading: "docs/operations.md#The embedded database",
    shows: [/✓ Restored into/, /✓ receiver: resumed/],
  },
  { heading: "docs/upgrade.md#One daemon", shows: [/is valid/] },
];

/** Commands that do not exit with 0, and what they exit with: something is wrong in these worlds; Ctrl-C. */
const EXITS: readonly (readonly [command: RegExp, code: number])[] = [
  [/^bookme-webhooks doctor\b/, 1],
  [/^curl .*\/api\/stream$/, 130],
];

const nameOf = ({ page, heading }: Block) => `${page}#${heading}`;

const isElsewhere = (command: string) => ELSEWHERE.some(([form]) => form.test(command));

/** The shell blocks of all pages. */
function shellBlocks(): readonly Block[] {
  return pages().flatMap(blocksOf).filter(({ language }) =>
    /^(?:sh|bash|shell|console)$/.test(language)
  );
}

Deno.test("every command of every page is run by a test", () => {
  const scenes = new Set([
    "README.md#Your first endpoint",
    ...SCENES.map(({ heading }) => heading),
  ]);
  const blocks = shellBlocks().filter(({ page }) => !Object.hasOwn(WALKED, page));
  assert.ok(blocks.length > 15);
  const missing = blocks.filter((block) => !scenes.has(nameOf(block))).flatMap((block) =>
    commandsOf(block.text).filter((command) => !isElsewhere(command))
      .map((command) => `${nameOf(block)}: ${command}`)
  );
  assert.deepEqual(missing, [], "add a scene, or a reason, to tests/docs/commands_test.ts");
});

Deno.test("the lists of commands have nothing that no page has", () => {
  const blocks = shellBlocks();
  const commands = blocks.flatMap(({ text }) => commandsOf(text));
  for (const [form, why] of ELSEWHERE) {
    assert.ok(commands.some((command) => form.test(command)), `no page has ${form}`);
    for (const [path] of why.matchAll(/tests\/\S+_test\.ts/g)) {
      assert.ok(Deno.statSync(new URL(`../../${path}`, import.meta.url)).isFile, path);
    }
  }
  for (const { heading } of SCENES) {
    assert.ok(blocks.some((block) => nameOf(block) === heading), `no page has ${heading}`);
  }
});

Deno.test("every command line of every page is one that the program understands", () => {
  let understood = 0;
  for (const page of pages()) {
    for (const args of callsIn(page)) {
      if (args.length === 0) continue;
      assert.doesNotThrow(() => understand(args), `${page}: ${PROGRAM} ${args.join(" ")}`);
      understood++;
    }
  }
  assert.ok(understood > 80, `${understood}`);
});

/** The arguments of the program wherever a page has it: in shell blocks, and in text between backticks. */
function callsIn(page: string): readonly (readonly string[])[] {
  const blocks = blocksOf(page).filter(({ language }) =>
    /^(?:sh|bash|shell|console|ini)$/.test(language)
  );
  // The changelog names commands of its time.
  const text = page === "CHANGELOG.md" ? "" : textOf(page).replace(/^ *```[\s\S]*?^ *```$/gm, "");
  const spans = [...text.matchAll(/`([^`]+)`/g)].map(([, span = ""]) => span.replace(/\s+/g, " "));
  return [
    ...blocks.flatMap((block) => commandsOf(block.text)),
    // `replay --since 3h` is one as well.
    ...spans.map((span) => isCommand(span) ? `${PROGRAM} ${span}` : span),
  ].flatMap((command) => callsOf(command, PROGRAM));
}

function isCommand(span: string): boolean {
  const [name = "", option = ""] = span.split(" ");
  return COMMANDS.some((command) => command.name === name) && option.startsWith("--") &&
    span !== `${name} --`;
}

function understand([name = "", ...args]: readonly string[]): void {
  if (name.startsWith("-")) return void parseCommand(find("serve"), [name, ...args]);
  const command = find(name);
  // The mere name of a command that needs an argument.
  if (args.length > 0 || command.positionals?.min !== 1) parseCommand(command, args);
}

function find(name: string) {
  return COMMANDS.find((command) => command.name === name || command.alias === name) ??
    assert.fail(`There is no command ${name}`);
}

// --- scenes -------------------------------------------------------------------------------------------

const there = hasTerminal();
const note = there ? "" : " (skipped: no script, bash or curl here)";

for (const scene of SCENES) {
  Deno.test({
    name: `the commands of ${scene.heading} run as they stand${note}`,
    ignore: !there,
    async fn() {
      await using world = await startWorld();
      await play(world, scene);
    },
  });
}

async function play(world: World, { heading, typing = [], shows }: Scene): Promise<void> {
  const commands = shellBlocks().filter((block) => nameOf(block) === heading)
    .flatMap(({ text }) => commandsOf(text)).filter((command) => !isElsewhere(command));
  assert.notEqual(commands.length, 0);
  const text = commands.map((command) => {
    const [, code] = EXITS.find(([form]) => form.test(command)) ?? [];
    return code === undefined ? command : `${command} || [ $? = ${code} ]`;
  });
  const shown = await world.run(text.join("\n"), typing);
  for (const pattern of shows) assert.match(shown, pattern);
}

Deno.test({
  name: `README.md brings a first event to a first endpoint${note}`,
  ignore: !there,
  async fn() {
    using place = await emptyWorld();
    const blocks = pages().flatMap(blocksOf)
      .filter(({ page, heading }) => page === "README.md" && heading === "Your first endpoint");
    const [start, post, ask] = blocks.filter(({ language }) => language === "bash")
      .map(({ text }) => place.localise(text));
    const yaml = blocks.find(({ language }) => language === "yaml")?.text ?? "";
    const { port: usual, path } = find("listen").options;
    assert.match(yaml, new RegExp(`http://127\\.0\\.0\\.1:${usual?.default}${path?.default}\n`));
    // The page's ports may be in use on the machine of the tests.
    const port = await freePort();
    Deno.writeTextFileSync(
      `${place.home}/config.yaml`,
      `${yaml.replace(":9000/", `:${port}/`)}\nserver: { listen: "${place.address}" }\n`,
    );
    const shell = (text: string) =>
      new Deno.Command("bash", {
        args: ["-c", `set -eu\n${text}`],
        cwd: place.home,
        env: place.env,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      });
    // The daemon is its last command, in the foreground: Ctrl-C ends it, and the receiver.
    const running = shell(
      `trap 'kill $(jobs -p)' TERM\n${
        start?.replace("listen ", `listen --port ${port} `).replace(
          /^bookme-webhooks +#/m,
          "bookme-webhooks & wait #",
        )
      }`,
    ).spawn();
    const output = running.output();
    try {
      const answerTo = async (text = "") => {
        const { success, stdout, stderr } = await shell(text).output();
        assert.ok(success, new TextDecoder().decode(stderr));
        return JSON.parse(new TextDecoder().decode(stdout));
      };
      await until("the daemon is ready", async () => {
        const response = await fetch(`http://${place.address}/readyz`);
        await response.body?.cancel();
        return response.ok;
      }, 120_000);
      const answer = await answerTo(post);
      const promised = /`202 (\{.*?\})`/.exec(textOf("README.md"))?.[1] ?? "";
      assert.deepEqual({ ...answer, id: "evt_…" }, JSON.parse(promised));
      await until(
        "it is delivered",
        async () => (await answerTo(ask)).data[0].status === "delivered",
      );
    } finally {
      running.kill("SIGTERM");
    }
    const { stdout, stderr } = await output;
    const shown = new TextDecoder().decode(stdout);
    assert.match(shown, /booking\.confirmed/, new TextDecoder().decode(stderr));
  },
});
