// All families on the WebAssembly device, as users get it: the numbers of transformers, the bitwise laws, the round trip.

import { openWasm } from "../../src/backend/wasm/open.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { familySuite } from "./model-suite.ts";

for (const [label, options] of [
  ["wasm, all threads", {}],
  ["wasm relaxed, 1 thread", { build: "relaxed", threads: 1 }],
] as const) {
  for (const family of ["llama", "qwen", "deepseek"] as const) familySuite(family, label, () => openWasm(nodeHost(), options));
}
