import { openDevice } from "../../src/backend/open.ts";
import { availableBuilds } from "../../src/backend/wasm/compile.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { lawsSuite } from "./laws-suite.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";

for (const build of availableBuilds(nodeHost())) {
  lawsSuite(
    `wasm ${build}, one thread and two`,
    async () => [await openDevice(nodeHost(), { threads: 1, build }), await openDevice(nodeHost(), { threads: 2, build })],
    [
      ["llama", tinyLlama, {}],
      ["deepseek, absorbed", tinyDeepseek, { absorbed: true }],
      ["deepseek, plain", tinyDeepseek, { absorbed: false }],
      ["llama, q8_0", tinyLlama, { cacheType: "q8_0" }],
      ["deepseek, absorbed, f16", tinyDeepseek, { absorbed: true, cacheType: "f16" }],
      ["deepseek, plain, q8_0", tinyDeepseek, { absorbed: false, cacheType: "q8_0" }],
    ],
    12,
  );
}
