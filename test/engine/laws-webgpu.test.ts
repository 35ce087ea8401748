import { test } from "vitest";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { testGpu } from "../backend/webgpu-adapter.ts";
import { lawsSuite } from "./laws-suite.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";

const gpu = testGpu;
if (gpu) {
  lawsSuite(
    "webgpu",
    async () => [await openWebGpu(gpu)],
    [
      ["llama", tinyLlama, {}],
      ["llama, q8_0", tinyLlama, { cacheType: "q8_0" }],
      ["deepseek, absorbed", tinyDeepseek, { absorbed: true }],
    ],
    // One scenario, for time: six slots, pages of 2, a cache as small as it may be, answers that are preempted.
    1,
    81,
  );
} else test.skip("webgpu: no package or no driver", () => {});
