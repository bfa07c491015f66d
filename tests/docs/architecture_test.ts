import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

interface Import {
  readonly from: string;
  /** A path from the root, or a package's specifier. */
  readonly to: string;
  /** Whether nothing but types is taken. */
  readonly types_only: boolean;
  /** Whether it is loaded only when the code gets there. */
  readonly is_dynamic: boolean;
}

interface ModuleGraph {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly code?: { readonly specifier: string };
      readonly type?: { readonly specifier: string };
      readonly isDynamic?: boolean;
    }[];
  }[];
}

const { imports, files } = await readImports();

async function readImports(): Promise<{ imports: Import[]; files: string[] }> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "main.ts"],
    cwd: ROOT,
  }).output();
  assert.ok(success);
  const graph: ModuleGraph = JSON.parse(new TextDecoder().decode(stdout));
  const ours = graph.modules.filter(({ specifier }) => specifier.startsWith(ROOT.href));
  const local = (specifier: string) => specifier.replace(ROOT.href, "");
  return {
    files: ours.map(({ specifier }) => local(specifier)).filter((path) =>
      path.endsWith(".ts") || path.endsWith(".tsx")
    ),
    imports: ours.flatMap(({ specifier, dependencies }) =>
      (dependencies ?? []).map(({ code, type, isDynamic }) => ({
        from: local(specifier),
        to: local((code ?? type)?.specifier ?? ""),
        types_only: code === undefined,
        is_dynamic: isDynamic === true,
      }))
    ),
  };
}

/** The part of the floor plan that a path of ours is in; undefined for packages. */
function partOf(path: string): string | undefined {
  if (/^(npm|node|jsr|https?):/.test(path)) return undefined;
  if (path === "deno.json") return undefined; // the version
  if (path === "main.ts") return "main";
  const [first, second = "", third] = path.split("/");
  if (first === "routes" && (second === "api" || second === "dashboard")) return second;
  if (first !== "lib") return first;
  // daemon.ts and the files next to it put the parts together; of these, in_force.ts is known to all.
  if (second === "in_force.ts") return "in_force";
  return third === undefined ? "daemon" : second;
}

/** Which parts each may import; `types` where only types may be taken. */
const ARROWS: Readonly<Record<string, Readonly<Record<string, "all" | "types">>>> = {
  core: {},
  observe: { core: "all" },
  config: { core: "all" },
  store: { config: "all", core: "all", migrations: "all" },
  http: { observe: "types", core: "all" },
  delivery: { observe: "types", store: "all", http: "all", config: "all", core: "all" },
  in_force: { config: "all", core: "all" },
  admin: { in_force: "types", delivery: "types", store: "all", config: "all", core: "all" },
  notify: { http: "all", config: "types", core: "all" },
  maintenance: {
    observe: "types",
    admin: "all",
    delivery: "all",
    http: "types",
    notify: "all",
    store: "all",
    config: "all",
    core: "all",
  },
  // The API reaches the store, the configuration and the engine through lib/admin only.
  api: { routes: "all", admin: "all", core: "all" },
  // Pages as well, and not through the API either. They show parts of the guides.
  dashboard: { routes: "all", admin: "all", core: "all", docs: "all" },
  routes: {
    api: "all",
    dashboard: "all",
    in_force: "types",
    observe: "types",
    admin: "all",
    delivery: "types",
    store: "all",
    http: "types",
    config: "types",
    core: "all",
  },
  daemon: {
    notify: "all",
    in_force: "all",
    routes: "all",
    maintenance: "all",
    admin: "all",
    observe: "all",
    delivery: "all",
    store: "all",
    http: "all",
    config: "all",
    core: "all",
  },
  cli: {
    daemon: "all",
    api: "types",
    routes: "types",
    observe: "all",
    maintenance: "all",
    admin: "types",
    delivery: "all",
    store: "all",
    http: "all",
    config: "all",
    core: "all",
  },
  main: { cli: "all" },
};

const show = ({ from, to }: Import) => `${from} → ${to}`;

Deno.test("imports run one way: main, cli, daemon, routes, maintenance, admin, delivery, store, http, config, core", () => {
  assert.ok(imports.length > 100);
  const wrong = imports.filter(({ from, to, types_only }) => {
    const [source, target] = [partOf(from) ?? "", partOf(to)];
    if (target === undefined || source === target) return false;
    const allowed = ARROWS[source]?.[target];
    return !(allowed === "all" || (allowed === "types" && types_only));
  });
  assert.deepEqual(wrong.map(show), []);
});

Deno.test("stores do not import each other", () => {
  // They may share parts of statements, partitions, deadlines, and what errors mean.
  const shared = [
    "arrays",
    "changes",
    "connection/failure",
    "fragments",
    "partitions",
    "deadline",
    "disk",
    "errors",
    "scope",
    "replay_search",
    "reports/page",
    "reports/search",
  ].map((name) => `lib/store/${name}.ts`);
  // The room that opens connections knows no statement of the product.
  const connection = (path: string) => path.startsWith("lib/store/connection/");
  // What opens databases makes them, too.
  const made = [
    ...["backup", "cluster", "connect", "embedded", "migrations", "pglite_files"],
    ...["ready_database", "transfer_mark"],
  ].map((name) => `lib/store/${name}.ts`);
  const openers = [
    ...["backup", "cluster", "connect", "database", "embedded", "health", "migrations", "restore"],
    "transfer",
  ].map((name) => `lib/store/${name}.ts`);
  const wrong = imports.filter(({ from, to, types_only }) =>
    partOf(from) === "store" && partOf(to) === "store" && !shared.includes(to) &&
    !(openers.includes(from) && (made.includes(to) || connection(to))) && !types_only &&
    !(connection(from) && connection(to)) &&
    // The read model names the columns that the store of the same table writes.
    !(to === from.replace("/reports/", "/"))
  );
  assert.deepEqual(wrong.map(show), []);
});

Deno.test("only the store speaks SQL", async () => {
  const clients = imports.filter(({ to, types_only }) =>
    /^npm:(postgres|@electric-sql\/pglite)@/.test(to) && !types_only
  );
  assert.ok(clients.length >= 2);
  assert.deepEqual(clients.filter(({ from }) => partOf(from) !== "store").map(show), []);
  // Whoever holds a connection could still write a statement of its own.
  const statement = /\bsql(<[^`]*>)?`|\.(ingest|engine|admin)(<[^`]*>)?`|\.unsafe\(/;
  for (const path of files.filter((path) => partOf(path) !== "store")) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    assert.equal(statement.exec(text)?.[0], undefined, path);
  }
});

Deno.test("one file speaks to OpenTelemetry, and loads it only when it is needed", async () => {
  const users = imports.filter(({ to }) => to.startsWith("npm:@opentelemetry/"));
  assert.deepEqual([...new Set(users.map(({ from }) => from))], ["lib/observe/traces.ts"]);
  const text = await Deno.readTextFile(new URL("lib/observe/traces.ts", ROOT));
  assert.equal(/^import (?!type\b).*opentelemetry/m.exec(text), null);
});

Deno.test("core is pure: no I/O, no clock, no randomness", async () => {
  const packages = [
    "deno.json",
    "npm:valibot",
    "npm:ipaddr.js",
    "npm:microdiff",
    "node:buffer",
    "node:crypto",
  ];
  const wrong = imports.filter(({ from, to }) =>
    partOf(from) === "core" && partOf(to) === undefined &&
    !packages.some((name) => to === name || to.startsWith(`${name}@`))
  );
  assert.deepEqual(wrong.map(show), []);
  // The operating system is a constant of the program, as its version is.
  const impure =
    /\bDeno\.(?!customInspect|build\.os\b)|\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bMath\.random\b|\brandom(Bytes|UUID|Fill|Int)\b|getRandomValues|\bfetch\(|\bset(Timeout|Interval)\(/;
  for (const path of files.filter((path) => partOf(path) === "core")) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*|"[^"\n]*"/g, "");
    assert.equal(impure.exec(code)?.[0], undefined, path);
  }
});

/** The modules that a start on a database server loads one after the other, each with all that it imports. */
const START = [
  "main.ts",
  "lib/cli/cli.ts",
  "lib/cli/commands/serve.ts",
  "lib/store/database.ts",
  "lib/daemon.ts",
];

Deno.test("a start on a server loads nothing that only other databases, commands or pages need", () => {
  for (const module of START.slice(1)) {
    const loading = imports.filter(({ to, is_dynamic }) => to === module && is_dynamic);
    assert.ok(loading.some(({ from }) => START.includes(from)), `${module} is no step of a start`);
  }
  // Grows while it is walked.
  const loaded = new Set(START);
  for (const module of loaded) {
    for (const { from, to, types_only, is_dynamic } of imports) {
      if (from === module && !types_only && !is_dynamic) loaded.add(to);
    }
  }
  const packages = [...loaded].filter((module) => module.startsWith("npm:"))
    .map((specifier) => specifier.replace(/^npm:\/?(.+)@[\d.]+$/, "$1"));
  assert.deepEqual(packages.toSorted(), ["croner", "ipaddr.js", "postgres", "valibot", "yaml"]);
  const others = [...loaded].filter((module) =>
    /^routes\/(app\.ts|api\/|dashboard\/)|^lib\/cli\/(commands|demo|doctor)\/|^lib\/store\/embedded/
      .test(module)
  );
  assert.deepEqual(others, ["lib/cli/commands/serve.ts"]);
});
