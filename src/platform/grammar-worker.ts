// Entry file of the thread of grammars in Node. The library is a script in a package that says it is a module, so Node cannot import it: it is compiled as
// a function, with the names of a web page and without those of Node, which keeps it from reaching for files.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import { parentPort } from "node:worker_threads";
import { type GrammarLibrary, keepPrinted, serveGrammars } from "./grammar-service.ts";

const quiet = { log: keepPrinted, warn: keepPrinted, error: keepPrinted, info: keepPrinted, debug: keepPrinted };

function loadLibrary(): GrammarLibrary {
  const file = fileURLToPath(import.meta.resolve("@mlc-ai/web-xgrammar"));
  const names = ["exports", "module", "window", "location", "document", "process", "console"];
  const run = compileFunction(readFileSync(file, "utf8"), names, { filename: file });
  const module = { exports: {} };
  run.call(module.exports, module.exports, module, {}, { href: "" }, undefined, undefined, quiet);
  return module.exports as GrammarLibrary;
}

parentPort?.on(
  "message",
  serveGrammars(loadLibrary(), (answer) => parentPort?.postMessage(answer)),
);
