import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

/** A function that only computes: longer ones hide a step that has a name. */
const MAX_LINES = 70;
/** A function with inner functions, these included: longer ones hide a module. */
const MAX_FACTORY_LINES = 150;

interface Measured {
  readonly name: string;
  /** Without the functions declared inside. */
  readonly own_lines: number;
  readonly lines: number;
}

type FunctionNode =
  | Deno.lint.FunctionDeclaration
  | Deno.lint.FunctionExpression
  | Deno.lint.ArrowFunctionExpression;

/** Measures the functions of a source file; a function declared inside another counts as its own. */
function measure(path: string, source: string): Measured[] {
  const lineAt = (offset: number) => source.slice(0, offset).split("\n").length;
  const lengthOf = ({ range: [start, end] }: FunctionNode) => lineAt(end) - lineAt(start) + 1;
  const open: { node: FunctionNode; inner: number }[] = [];
  const found: Measured[] = [];
  const enter = (node: FunctionNode) => void open.push({ node, inner: 0 });
  const exit = (node: FunctionNode) => {
    const { inner } = open.pop()!;
    const lines = lengthOf(node);
    const outer = open.at(-1);
    if (outer !== undefined) outer.inner += lines;
    const name = node.type !== "ArrowFunctionExpression" && node.id?.name;
    found.push({
      name: `${path}:${lineAt(node.range[0])} ${name || "(anonymous)"}`,
      own_lines: lines - inner,
      lines,
    });
  };
  Deno.lint.runPlugin(
    {
      name: "length",
      rules: {
        length: {
          create: () => ({
            FunctionDeclaration: enter,
            "FunctionDeclaration:exit": exit,
            FunctionExpression: enter,
            "FunctionExpression:exit": exit,
            ArrowFunctionExpression: enter,
            "ArrowFunctionExpression:exit": exit,
          }),
        },
      },
    },
    path,
    source,
  );
  return found;
}

async function sources(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    if (isDirectory) found.push(...await sources(`${folder}${name}/`));
    else if (/\.tsx?$/.test(name)) found.push(folder + name);
  }
  return found;
}

async function measureAll(folders: readonly string[]): Promise<Measured[]> {
  const paths = (await Promise.all(folders.map(sources))).flat();
  return (await Promise.all(
    paths.map(async (path) => measure(path, await Deno.readTextFile(new URL(path, ROOT)))),
  )).flat();
}

Deno.test("measure() counts a function without those inside it, and with them", () => {
  const source = "function outer() {\n  const inner = () => {\n    return 1;\n  };\n}\n";
  assert.deepEqual(
    measure("a.ts", source).map(({ own_lines, lines }) => [own_lines, lines]),
    [[3, 3], [2, 5]],
  );
});

Deno.test("no function is longer than 70 lines, no factory longer than 150", async () => {
  const measured = await measureAll(["lib/", "routes/"]);
  assert.ok(measured.length > 1_000);
  const long = measured
    .filter(({ own_lines, lines }) => own_lines > MAX_LINES || lines > MAX_FACTORY_LINES)
    .map(({ name, own_lines, lines }) => `${name}: ${own_lines} of its own, ${lines} in all`);
  assert.deepEqual(long, []);
});
