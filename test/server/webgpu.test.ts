// Models on the WebGPU device, as they are loaded and served, when the GPU fails: a full one is told while the model is loaded; one that is lost under running answers is
// opened anew, and every answer has the bits that it has alone.

import * as path from "node:path";
import { describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { loadPath } from "../../src/platform/load.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { servedModel } from "../../src/platform/served-models.ts";
import type { App } from "../../src/server/app.ts";
import { tappedGpu } from "../backend/tapped-gpu.ts";
import { testGpu } from "../backend/webgpu-adapter.ts";
import { openApp } from "./harness.ts";

const bundled = path.join(import.meta.dirname, "../../models/countdown-reasoner");

async function answer(app: App, seed: number): Promise<unknown> {
  const body = {
    messages: [{ role: "user", content: `${1 + seed} 5 7=22` }],
    max_tokens: 6,
    ignore_eos: true,
    temperature: 1,
    logprobs: true,
    seed,
  };
  const headers = { "content-type": "application/json" };
  const request = new Request("http://localhost/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body) });
  const response = await app.fetch(request);
  const { choices } = (await response.json()) as { choices: unknown };
  return { status: response.status, choices };
}

describe.skipIf(!testGpu)("served from webgpu", { timeout: 120_000 }, () => {
  test("a GPU whose memory the weights do not fit is told when the model is loaded", async () => {
    const gpu = tappedGpu(testGpu as GPU, (device) => {
      const pop = device.popErrorScope.bind(device);
      device.popErrorScope = async () => {
        await pop();
        return { message: "no more" } as GPUError;
      };
    });
    const loading = loadPath({ ...nodeHost(), gpu: async () => gpu }, bundled, { device: "webgpu" });
    await expect(loading).rejects.toThrow(DeviceError);
    await expect(loading).rejects.toThrow(/allocate on the device: got no more; .*use a smaller batch, context or model/);
  });

  test("a GPU that is lost under running answers is opened anew, and they are computed again", async () => {
    const lent: GPUDevice[] = [];
    let onStep = () => {};
    const gpu = tappedGpu(testGpu as GPU, (device) => {
      lent.push(device);
      const submit = device.queue.submit.bind(device.queue);
      device.queue.submit = (commands) => {
        onStep();
        return submit(commands);
      };
    });
    const host = { ...nodeHost(), gpu: async () => gpu };
    const model = await servedModel(host, undefined, bundled, "test", { device: "webgpu", parallel: 2 });
    const { app } = await openApp({ models: [model] });
    const deviceOf = () => app.server.shelf.loaded[0]?.engine.model.device as Device;
    const alone = [await answer(app, 0), await answer(app, 1)];
    const first = deviceOf();
    expect(first.info.name).toBe("webgpu");

    let left = 5;
    onStep = () => {
      if (--left === 0) lent[0]?.destroy();
    };
    const together = await Promise.all([answer(app, 0), answer(app, 1)]);
    expect(left).toBeLessThanOrEqual(0);
    expect(together).toEqual(alone);
    expect(first.isLost).toBe(true);
    expect(deviceOf()).not.toBe(first);
    expect(lent).toHaveLength(2);
  });
});
