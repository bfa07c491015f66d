if (import.meta.main) {
  // While the program is being loaded, a request to reload would end it.
  const ignore = () => {};
  Deno.addSignalListener("SIGHUP", ignore);
  const { run } = await import("./lib/cli/cli.ts");
  // A daemon has a listener of its own then; other commands end by SIGHUP, as usual.
  const begun = () => Deno.removeSignalListener("SIGHUP", ignore);
  Deno.exit(await run(Deno.args, undefined, begun));
}
