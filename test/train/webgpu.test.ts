// Training steps on the WebGPU device beside the f64 reference: losses, norms and weights within bounds, the gates' biases the same.

import { describe, expect, test } from "vitest";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { Random } from "../../src/core/random.ts";
import { createModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { read } from "../../src/tensor/tensor.ts";
import { testGpu } from "../backend/webgpu-adapter.ts";
import { deepseekConfig, llamaConfig, runStage, stageOf, tinyModel } from "./tiny.ts";

const steps = 2;
const learningRate = 0.02;

async function trained(model: Model) {
  // A large eps: without it AdamW turns the rounding of a gradient that is nearly 0 into a whole step.
  const reports = await runStage(model, stageOf(model, steps, { learningRate, biasRate: 1e-3, eps: 1e-3 }));
  return reports.map(({ metrics }) => metrics);
}

describe.skipIf(!testGpu)("on webgpu", () => {
  test.each([
    ["llama", llamaConfig],
    ["deepseek", deepseekConfig],
  ] as const)("%s trains as on the reference", async (_, config) => {
    const device = await openWebGpu(testGpu as GPU);
    try {
      const [model, reference] = [createModel(device, config, new Random(1)), tinyModel(config, "f64")];
      const [got, want] = [await trained(model), await trained(reference)];
      expect(got).toHaveLength(steps);
      for (const [step, metrics] of want.entries()) {
        expect(Object.keys(got[step] ?? {})).toEqual(Object.keys(metrics));
        for (const [name, value] of Object.entries(metrics)) {
          if (typeof value === "number")
            expect(Math.abs((got[step]?.[name] as number) - value), `${name} of step ${step}`).toBeLessThan(1e-4 * (1 + Math.abs(value)));
        }
      }
      for (const [name, tensor] of model.parameters) {
        const [weights, expected] = [await read(tensor), await read(reference.parameters.get(name) as typeof tensor)];
        const largest = Math.max(...Array.from(expected, (w, i) => Math.abs(w - (weights[i] as number))));
        expect(largest, name).toBeLessThan(0.01 * learningRate);
      }
      for (const [name, tensor] of model.buffers) {
        const expected = await read(reference.buffers.get(name) as typeof tensor);
        expect(Array.from(await read(tensor)), name).toEqual(Array.from(Float32Array.from(expected)));
      }
    } finally {
      await device.close();
    }
  });
});
