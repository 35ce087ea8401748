import { openDevice } from "../../src/backend/open.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { crowdSuite } from "./crowd-suite.ts";

for (const build of ["relaxed", "simd128"] as const) {
  crowdSuite(`wasm ${build}, one thread and two`, async () => [
    await openDevice(nodeHost(), { threads: 1, build }),
    await openDevice(nodeHost(), { threads: 2, build }),
  ]);
}
