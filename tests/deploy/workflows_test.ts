/**
 * The workflows of the public repository, which do not run here: whether they are well formed, name what exists,
 * use the same versions as everything else, and hand out no more rights than they need.
 */

import assert from "node:assert/strict";
import { parse } from "yaml";
import project from "../../deno.json" with { type: "json" };

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));

interface Step {
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface Job {
  readonly needs?: string | readonly string[];
  readonly "runs-on": string;
  readonly "timeout-minutes"?: number;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly strategy?: { readonly matrix: { readonly include: readonly Record<string, string>[] } };
  readonly steps: readonly Step[];
}

interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const FILES = [...Deno.readDirSync(new URL(".github/workflows/", ROOT))].map(({ name }) => name);
const WORKFLOWS = new Map(
  FILES.map((name) => [name, parse(read(`.github/workflows/${name}`)) as Workflow]),
);

const jobs = () =>
  [...WORKFLOWS].flatMap(([file, { jobs }]) =>
    Object.entries(jobs).map(([name, job]) => ({ place: `${file}: ${name}`, job }))
  );
const scripts = () =>
  jobs().flatMap(({ place, job }) =>
    job.steps.flatMap(({ run }) => run === undefined ? [] : [{ place, run }])
  );

Deno.test("there are two workflows, and each job of theirs is complete", () => {
  assert.deepEqual(FILES.toSorted(), ["ci.yml", "release.yml"]);
  for (const { place, job } of jobs()) {
    const [file = ""] = place.split(":");
    assert.match(job["runs-on"], /^(ubuntu-24\.04|\$\{\{ matrix\.runner \}\})$/, place);
    assert.ok((job["timeout-minutes"] ?? 0) > 0, `${place} has no time limit`);
    for (const needed of [job.needs ?? []].flat()) {
      assert.ok(WORKFLOWS.get(file)?.jobs[needed], `${place} needs ${needed}`);
    }
    for (const step of job.steps) {
      assert.equal(Number("uses" in step) + Number("run" in step), 1, `${place}: ${step.name}`);
    }
  }
});

Deno.test("the release is built, run on each target, and only then published", () => {
  const { jobs, on } = WORKFLOWS.get("release.yml") ?? assert.fail();
  assert.deepEqual(on, { push: { tags: ["v*"] } });
  assert.deepEqual(jobs["publish"]?.needs, ["build", "smoke", "container"]);
  assert.equal(jobs["smoke"]?.needs, "build");
  assert.equal(jobs["container"]?.needs, "build");
  const built = /^targets=\((.*)\)$/m.exec(read("deploy/release.sh"))?.[1]?.split(" ");
  const ran = jobs["smoke"]?.strategy?.matrix.include.map(({ target }) => target);
  assert.deepEqual(ran, built);
});

Deno.test("workflows use the versions that .ci/run uses", () => {
  const version = /deno=\(npx -y deno@([\d.]+)\)/.exec(read(".ci/run"))?.[1];
  const found = FILES.flatMap((name) => [
    ...read(`.github/workflows/${name}`).matchAll(/deno@([\w.]+)/g),
  ]);
  assert.ok(found.length >= 5);
  for (const [text, used] of found) assert.equal(used, version, text);
});

Deno.test("workflows name scripts, files and tasks that exist", () => {
  let named = 0;
  for (const { place, run } of scripts()) {
    for (const [, task = ""] of run.matchAll(/deno@[\d.]+ task ([\w-]+)/g)) {
      assert.ok(Object.hasOwn(project.tasks, task), `${place}: no task ${task}`);
      named++;
    }
    for (const [path] of run.matchAll(/(?<![\w/])(?:\.ci|deploy|tests)\/[\w./-]+/g)) {
      assert.ok(Deno.statSync(new URL(path, ROOT)).isFile, `${place}: ${path}`);
      named++;
    }
  }
  assert.ok(named >= 8);
});

Deno.test("workflows may read, and only what publishes may write", () => {
  for (const [file, { permissions }] of WORKFLOWS) {
    assert.deepEqual(permissions, { contents: "read" }, file);
  }
  for (const { place, job } of jobs()) {
    assert.equal(job.permissions !== undefined, place === "release.yml: publish", place);
  }
});

Deno.test("workflows put nothing from outside into a script, and use actions of GitHub alone", () => {
  for (const { place, run } of scripts()) assert.ok(!run.includes("${{"), `${place}: ${run}`);
  for (const { place, job } of jobs()) {
    for (const { uses } of job.steps) {
      if (uses !== undefined) assert.match(uses, /^actions\/[\w-]+@(?:v\d+|[0-9a-f]{40})$/, place);
    }
  }
});

Deno.test("bash understands each script of a workflow", async () => {
  for (const { place, run } of scripts()) {
    const child = new Deno.Command("bash", {
      args: ["-n"],
      stdin: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(run));
    await writer.close();
    const { success, stderr } = await child.output();
    assert.ok(success, `${place}: ${new TextDecoder().decode(stderr)}`);
  }
});
