// Entry file of the worker of grammars in a browser. The library is a script in a package that says it is a module: bundlers that take it for CommonJS give
// its exports; run as a module it finds neither `exports` nor `define` and leaves itself in the global `xgrammar`.

import * as imported from "@mlc-ai/web-xgrammar";
import type { GrammarCall } from "../grammar-messages.ts";
import { type GrammarLibrary, keepPrinted, serveGrammars } from "../grammar-service.ts";

for (const name of ["log", "warn", "error", "info", "debug"] as const) console[name] = keepPrinted;

function findLibrary(): GrammarLibrary {
  const places: unknown[] = [imported, (imported as { readonly default?: unknown }).default, Reflect.get(globalThis, "xgrammar")];
  const found = places.find((place) => typeof place === "object" && place !== null && "GrammarCompiler" in place);
  if (found) return found as GrammarLibrary;
  throw new Error("a bundle that hides what @mlc-ai/web-xgrammar exports");
}

const hear = serveGrammars(findLibrary(), (answer) => postMessage(answer));
addEventListener("message", ({ data }: MessageEvent<GrammarCall>) => hear(data));
