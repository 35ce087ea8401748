// A server on the WebGPU device whose GPU is lost under running answers: it is opened anew, and every answer has the bits that it has alone.

import * as path from "node:path";
import { describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
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
