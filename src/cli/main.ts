#!/usr/bin/env node
// The `gradually` command. In: argv. Out: the exit code of program.ts. Unusual: this file imports nothing else, so that all the rest comes from the compile
// cache, and so that the kernels are being compiled, on other threads, while it is loaded.

import { enableCompileCache } from "node:module";

/** Verbs whose first word waits for a model. */
const loadsModel = new Set(["run", "chat"]);
const helpFlags = new Set(["--help", "-h"]);
/** A GPU compiles its own. As a word of a prompt it costs nothing but time. */
const otherDevice = /^(?:--device=)?webgpu$/;

// `gradually … | head` closes our output early: that is not a failure. A terminal that was closed is none either: its signal ends the work in order, and
// until then nobody hears what is said. What stands beside the result may be lost; the result may not.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  if (error.code === "EIO") return;
  process.stderr.write(`error: standard output: got ${error.message}; expected a place that takes all of it; make room, or name another\n`);
  process.exit(1);
});
process.stderr.on("error", () => {});

// Compiled code of all modules below is kept between runs: half of what starting takes.
enableCompileCache();
const args = process.argv.slice(2);
if (loadsModel.has(args[0] ?? "") && !args.some((arg) => helpFlags.has(arg) || otherDevice.test(arg))) {
  await (await import("../platform/early-kernels.ts")).compileEarly();
}
// Not process.exit: what is still on its way to a pipe would be lost.
const code = await (await import("./program.ts")).runProgram(args);
process.exitCode ??= code;
