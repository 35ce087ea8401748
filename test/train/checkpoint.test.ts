import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { loadModel } from "../../src/models/load.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { read } from "../../src/tensor/tensor.ts";
import {
  latestCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
  saveCheckpoint,
  stateFormat,
  type TrainerState,
} from "../../src/train/checkpoint.ts";
import { findDamage, sha256 } from "../../src/train/manifest.ts";
import { AdamW, adamwFields } from "../../src/train/optimizer.ts";
import { resolveOptions } from "../../src/train/options.ts";
import { deepseekConfig, hostWith, tinyModel, weightsOf } from "./tiny.ts";

const root = mkdtempSync(join(tmpdir(), "gradually-checkpoint-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const { files } = nodeHost();

const tokenizer = { tokenizerJson: "{}", tokenizerConfig: { eos_token: "x" } };
const stateOf = (step: number): TrainerState => ({
  format: stateFormat,
  step,
  seed: 1,
  stage: 0,
  stageStep: step,
  tokens: 10,
  skipped: 0,
  consecutiveSkips: 0,
  optimizerSteps: step,
  divergence: { first: 2.5, streak: 1 },
  stageState: { rollouts: [{ logprobs: [Math.fround(-0.1), -1e-30] }] },
  recipe: "r",
  inputs: {},
  stageEnds: [],
  logs: { "metrics.jsonl": 5 },
});

async function save(folder: string, step: number): Promise<string> {
  const model = tinyModel(deepseekConfig, "f32", step);
  const optimizer = new AdamW(model.device, model.parameters, resolveOptions("test", adamwFields, {}));
  return await saveCheckpoint(files, folder, {
    model,
    tokenizer,
    optimizer,
    frozen: new Map([["a", model.parameters.get("lm_head.weight")!]]),
    state: stateOf(step),
    timing: { length: 3 },
  });
}

test("what is saved is a Hugging Face folder with everything to go on", async () => {
  const folder = join(root, "a");
  const path = await save(folder, 12);
  expect(path).toBe(join(folder, "checkpoint-12"));
  const hf = await openHfFolder(files, path);
  const model = await loadModel(openReference(), hf);
  expect(await weightsOf(model)).toEqual(await weightsOf(tinyModel(deepseekConfig, "f32", 12)));
  expect(hf.tensors.has("model.layers.1.mlp.gate.e_score_correction_bias")).toBe(true);
  await hf.close();
  const saved = await latestCheckpoint(files, folder);
  expect(saved?.state).toEqual(stateOf(12));
  expect(saved?.timing).toEqual({ length: 3 });
  const moments = await saved!.openTensors("optimizer.safetensors");
  expect((await moments.read("exp_avg_sq.model.norm.weight")).length).toBe(16);
  await moments.close();
  const reference = await saved!.openTensors("reference.safetensors");
  expect(await reference.read("a")).toEqual(await read(model.parameters.get("lm_head.weight")!));
  await reference.close();
  const manifest = JSON.parse(readFileSync(join(path, "manifest.json"), "utf8"));
  expect(manifest.files.map(({ name }: { name: string }) => name).sort()).toEqual(
    readdirSync(path)
      .filter((name) => name !== "manifest.json")
      .sort(),
  );
});

test("SHA-256 is SHA-256", async () => {
  expect(await sha256(new TextEncoder().encode("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
});

test("the latest is the highest number that verifies, by number and not by spelling", async () => {
  const folder = join(root, "b");
  for (const step of [9, 10, 100]) await save(folder, step);
  for (const odd of ["checkpoint-1000.tmp-1-a-1", "checkpoint-x", "checkpoint-007", "checkpoint--1"]) mkdirSync(join(folder, odd));
  expect(await listCheckpoints(files, folder)).toEqual([100, 10, 9]);
  expect((await latestCheckpoint(files, folder))?.state.step).toBe(100);
  // A folder under another number does not pass for it.
  renameSync(join(folder, "checkpoint-9"), join(folder, "checkpoint-500"));
  const damaged: string[] = [];
  expect((await latestCheckpoint(files, folder, (_path, damage) => void damaged.push(damage)))?.state.step).toBe(100);
  expect(damaged).toEqual(["manifest.json is of step 9"]);
});

test("a manifest cannot point out of its folder, nor be of another format", async () => {
  const path = await save(join(root, "c"), 1);
  const manifest = JSON.parse(readFileSync(join(path, "manifest.json"), "utf8"));
  for (const broken of [{ ...manifest, files: [{ name: "../x", size: 1, sha256: "0" }] }, { ...manifest, format: 2 }, [], { files: 3 }]) {
    writeFileSync(join(path, "manifest.json"), JSON.stringify(broken));
    expect(await findDamage(files, path, 1)).toMatch(/none of format 1/);
  }
});

test("R15: a state of a newer format, or of none, is refused with the cure", async () => {
  const model = tinyModel(deepseekConfig);
  for (const format of [3, 99, 0, "1", null]) {
    const folder = join(root, `d-${format}`);
    const state = { ...stateOf(3), format } as unknown as TrainerState;
    await saveCheckpoint(files, folder, { model, tokenizer, state, timing: null });
    const attempt = latestCheckpoint(files, folder);
    await expect(attempt).rejects.toThrow(ConfigError);
    await expect(attempt).rejects.toThrow(/got a trainer state of format .+; expected format 1 to 2; resume with the version/);
  }
});

test("R14: a state of format 1 is read as one of today", async () => {
  const folder = join(root, "old");
  const { divergence: _since2, ...rest } = stateOf(4);
  const state = { ...rest, format: 1 } as unknown as TrainerState;
  await saveCheckpoint(files, folder, { model: tinyModel(deepseekConfig), tokenizer, state, timing: null });
  expect((await latestCheckpoint(files, folder))?.state).toEqual({ ...stateOf(4), divergence: null });
});

test("pruning keeps the newest, the ends of stages and what is newer than now", async () => {
  const folder = join(root, "e");
  for (const step of [1, 2, 3, 4, 5, 9]) await save(folder, step);
  await pruneCheckpoints(files, folder, 5, 2, [2]);
  expect(await listCheckpoints(files, folder)).toEqual([9, 5, 4, 2]);
});

test("a failed save leaves the one before as it was", async () => {
  const folder = join(root, "f");
  await save(folder, 1);
  const before = readFileSync(join(folder, "checkpoint-1", "manifest.json"));
  let writes = 0;
  const host = hostWith({
    async writeAtomic(path, data) {
      if (++writes === 3) throw new Error("disk gone");
      await files.writeAtomic(path, data);
    },
  });
  await expect(
    saveCheckpoint(host.files, folder, { model: tinyModel(deepseekConfig), tokenizer, state: stateOf(1), timing: null }),
  ).rejects.toThrow();
  expect(readFileSync(join(folder, "checkpoint-1", "manifest.json"))).toEqual(before);
  expect(await findDamage(files, join(folder, "checkpoint-1"), 1)).toBeUndefined();
  expect(readdirSync(folder)).toEqual(["checkpoint-1"]);
});
