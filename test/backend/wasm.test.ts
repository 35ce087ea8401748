// Every kernel case on the WebAssembly device: each build, one thread and two.

import { availableBuilds } from "../../src/backend/wasm/compile.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { runKernelSuite } from "./kernel-cases.ts";

const host = nodeHost();

for (const build of availableBuilds(host)) {
  for (const threads of [1, 2]) {
    runKernelSuite(`wasm ${build}, ${threads} thread${threads > 1 ? "s" : ""}`, () => openWasm(host, { build, threads }));
  }
}
