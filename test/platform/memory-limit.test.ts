// R11, R12: a process may have less memory than the machine, and the system kills whoever takes more. A model that surely does not fit is refused before anything is
// read; a device stops growing before the limit; a training step that needs more is refused before it changes a weight. Always with what would fit.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openDevice } from "../../src/backend/open.ts";
import { SharedHeap } from "../../src/backend/wasm/memory.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { loadPath } from "../../src/platform/load.ts";
import { checkFits } from "../../src/platform/memory-needs.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { deviceMemory, memoryLimit } from "../../src/platform/node-memory.ts";
import { latestCheckpoint } from "../../src/train/checkpoint.ts";
import { defineRecipe } from "../../src/train/recipe.ts";
import { runRecipe } from "../../src/train/run.ts";
import { llamaConfig } from "../train/tiny.ts";

const root = mkdtempSync(join(tmpdir(), "gradually-memory-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const bundled = join(import.meta.dirname, "../../models/countdown-reasoner");

test("the limit of the container counts where there is one", () => {
  expect(memoryLimit(16e9, 2e9)).toBe(2e9);
  expect(memoryLimit(16e9, 0)).toBe(16e9); // not known
  expect(memoryLimit(16e9, 2 ** 63)).toBe(16e9); // none
  expect(deviceMemory(2 ** 30)).toBe(2 ** 30 - 160 * 2 ** 20);
  expect(deviceMemory(1)).toBe(64 * 2 ** 20);
  expect(nodeHost().memoryBytes).toBe(deviceMemory());
});

test("a model that surely does not fit is refused with what would; one that just fits is not", async () => {
  const host = { ...nodeHost(), memoryBytes: 1e9 };
  const needs = { weightBytes: 6e8, cacheBytes: 4e8, contextLength: 8192, parallel: 1 };
  expect(() => checkFits(host, "/models/m.gguf", needs)).not.toThrow();
  expect(() => checkFits(host, "/models/m.gguf", { ...needs, cacheBytes: 8e8 })).toThrow(
    /load "m.gguf" into memory: got 600 MB of weights and 800 MB of cache.*1000 MB.*contextLength: 4096 would fit/,
  );
  const small = { ...nodeHost(), memoryBytes: 2e6 };
  const attempt = loadPath(small, bundled);
  await expect(attempt).rejects.toThrow(DeviceError);
  await expect(attempt).rejects.toThrow(
    /load "countdown-reasoner" into memory: got \d+ MB of weights.*less than 2 MB of weights.*container/,
  );
});

test("the memories of one device share what there is, to the last page", () => {
  const page = 65536;
  const budget = { left: 40 * page };
  const heaps = [new SharedHeap(true, budget), new SharedHeap(true, budget)];
  const reserved = () => heaps.reduce((sum, heap) => sum + heap.reservedBytes, 0);
  const start = reserved();
  // By turns, so that each asks for an eighth more than it needs until there is no eighth left, then for what it needs.
  const full = new Set<SharedHeap>();
  for (let i = 0; full.size < 2; i++) {
    const heap = heaps[i % 2] as SharedHeap;
    try {
      heap.allocate(page / 2);
    } catch (thrown) {
      expect((thrown as Error).message).toMatch(/^allocate on the device: got .* \(\d+ MB here\); use a smaller/);
      full.add(heap);
    }
  }
  expect(reserved() - start).toBe(40 * page);
  expect(budget.left).toBe(0);
});

test("a training step that is too large: told before it changes anything, with the last checkpoint and a step that fits; more memory, and it goes on", async () => {
  const { vocab_size: _, ...shape } = llamaConfig;
  const recipe = defineRecipe({
    name: "memory",
    task: { name: "arithmetic", options: { steps: 1, max: 3, operators: "+" } },
    tokenizer: { vocabSize: 262, examples: 20 },
    model: { config: { ...shape, num_hidden_layers: 1 } },
    stages: [
      { kind: "pretrain", steps: 2, batchSize: 1, sequenceLength: 24 },
      { kind: "pretrain", name: "large", steps: 2, batchSize: 64, sequenceLength: 64, microbatches: 3 },
    ],
  });
  const train = async (out: string, memoryBytes: number, resume = false) => {
    const host = { ...nodeHost(), memoryBytes };
    const device = await openDevice(host, { device: "cpu", build: "relaxed", threads: 1 });
    try {
      const { model } = await runRecipe(recipe, { out, host, device, resume });
      model.dispose();
      return device.memory().used;
    } finally {
      await device.close();
    }
  };
  const [whole, short] = [join(root, "whole"), join(root, "short")];
  await train(whole, 1e9);
  const attempt = train(short, 4e6);
  await expect(attempt).rejects.toThrow(DeviceError);
  await expect(attempt).rejects.toThrow(
    /train large: got \d+ bytes more on top of \d+ in use; .*; the last good checkpoint is .*checkpoint-2; batchSize 32 with microbatches 6 takes about half/,
  );
  const { files } = nodeHost();
  expect((await latestCheckpoint(files, join(short, "checkpoints")))?.state.step).toBe(2);
  await train(short, 1e9, true);
  expect(readFileSync(join(short, "metrics.jsonl"), "utf8")).toBe(readFileSync(join(whole, "metrics.jsonl"), "utf8"));
  const weights = (out: string) => readFileSync(join(out, "checkpoints", "checkpoint-4", "model.safetensors"));
  expect(weights(short).equals(weights(whole))).toBe(true);
});
