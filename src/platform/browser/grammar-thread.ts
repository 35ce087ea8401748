// Entry file of the worker of grammars in a browser. The library is a script in a package that says it is a module: run as a module, as bundlers do, it finds
// neither `exports` nor `define` and leaves itself in the global `xgrammar`.

import "@mlc-ai/web-xgrammar";
import type { GrammarCall } from "../grammar-messages.ts";
import { type GrammarLibrary, keepPrinted, serveGrammars } from "../grammar-service.ts";

const { xgrammar } = globalThis as { readonly xgrammar?: GrammarLibrary };
for (const name of ["log", "warn", "error", "info", "debug"] as const) console[name] = keepPrinted;

if (!xgrammar) throw new Error("a bundle in which @mlc-ai/web-xgrammar is no script");
const hear = serveGrammars(xgrammar, (answer) => postMessage(answer));
addEventListener("message", ({ data }: MessageEvent<GrammarCall>) => hear(data));
