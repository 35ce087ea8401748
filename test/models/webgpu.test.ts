// One fixture of each kind on the WebGPU device: the numbers of transformers, the bitwise laws, the round trip. The kernels' own cases are in backend/webgpu.test.ts.

import { test } from "vitest";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { testGpu } from "../backend/webgpu-adapter.ts";
import { familySuite } from "./model-suite.ts";

const gpu = testGpu;
if (gpu) {
  familySuite("llama", "webgpu", () => openWebGpu(gpu), ["llama-gqa"]);
  familySuite("qwen", "webgpu", () => openWebGpu(gpu), ["qwen3-moe"]);
  familySuite("deepseek", "webgpu", () => openWebGpu(gpu), ["deepseek-mtp"]);
} else test.skip("webgpu: no package or no driver", () => {});
