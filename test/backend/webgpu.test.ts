// Every kernel case on the WebGPU device.

import { test } from "vitest";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { runKernelSuite } from "./kernel-cases.ts";
import { testGpu } from "./webgpu-adapter.ts";

const gpu = testGpu;
if (gpu) runKernelSuite("webgpu", () => openWebGpu(gpu), { timeout: 300_000 });
else test.skip("webgpu: no package or no driver", () => {});
