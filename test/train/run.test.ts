import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { recipe as tiny } from "../../recipes/tiny.ts";
import { openDevice } from "../../src/backend/open.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError, DeviceError, GraduallyError } from "../../src/core/errors.ts";
import type { Files, Host, WorkerHandle } from "../../src/core/host.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";
import { latestCheckpoint } from "../../src/train/checkpoint.ts";
import { writeManifest } from "../../src/train/manifest.ts";
import { defineRecipe, type Recipe } from "../../src/train/recipe.ts";
import { applyOverrides } from "../../src/train/recipe-overrides.ts";
import { type RunOptions, type RunProgress, type RunResult, runRecipe, type StageEvent } from "../../src/train/run.ts";
import { hostWith, llamaConfig, weightsOf } from "./tiny.ts";

const root = mkdtempSync(join(tmpdir(), "gradually-run-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const fresh = () => join(root, String(++folders));

/** Three stages of few steps; the rollouts of an untrained model. */
const { vocab_size: _vocab, ...shape } = llamaConfig;
const short = defineRecipe({
  name: "short",
  task: { name: "arithmetic", options: { steps: 1, max: 3, operators: "+" } },
  tokenizer: { vocabSize: 262, examples: 20 },
  model: { config: { ...shape, num_hidden_layers: 1 } },
  checkpointEvery: 2,
  detailEvery: 2,
  stages: [
    { kind: "pretrain", steps: 5, batchSize: 1, sequenceLength: 24 },
    { kind: "sft", data: { examples: 3 }, steps: 2, batchSize: 1, sequenceLength: 24 },
    { kind: "grpo", steps: 3, promptsPerGeneration: 1, numGenerations: 2, maxPromptLength: 12, maxCompletionLength: 4, numIterations: 2 },
  ],
});

async function run(
  recipe: Recipe,
  out: string,
  options: Partial<RunOptions> = {},
): Promise<Omit<RunResult, "model"> & { weights: number[] }> {
  const device = openReference();
  const { model, ...result } = await runRecipe(recipe, { out, host: nodeHost(), device, ...options });
  const weights = await weightsOf(model);
  model.dispose();
  return { ...result, weights };
}

const metricsOf = (out: string) => readFileSync(join(out, "metrics.jsonl"), "utf8");
const rowsOf = (out: string) =>
  metricsOf(out)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Everything in a run folder that must not depend on the clock. */
function contents(out: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || ["timing.json", "timing.jsonl", "manifest.json", "cost.json"].includes(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    found[path.slice(out.length)] = readFileSync(path).toString("base64");
  }
  return found;
}

class Crash extends Error {}

/** Runs until `step` steps of the whole run have been logged, then dies as a process would: no checkpoint, no goodbye. */
async function runAndCrash(recipe: Recipe, out: string, step: number): Promise<void> {
  let done = existsSync(join(out, "metrics.jsonl")) ? -1 : 0;
  const onProgress = () => {
    done = rowsOf(out).length;
    if (done >= step) throw new Crash();
  };
  await expect(run(recipe, out, { resume: true, onProgress })).rejects.toThrow(Crash);
}

test("the whole recipe, crashed at many places, equals the unbroken run bit for bit", async () => {
  const unbroken = fresh();
  const before = liveStorageCount();
  const whole = await run(tiny, unbroken);
  expect(liveStorageCount()).toBe(before);
  expect(whole.finished).toBe(true);
  const rows = rowsOf(unbroken);
  expect(rows).toHaveLength(whole.steps);
  expect(rows.map(({ step }) => step)).toEqual(rows.map((_, i) => i + 1));
  const grpoRows = rows.filter(({ stage }) => stage === "grpo");
  expect(grpoRows.some(({ reward_std, grad_norm }) => reward_std > 0 && grad_norm > 0)).toBe(true); // there was something to lose
  expect(grpoRows.filter((row) => "reward" in row)).toHaveLength(4); // every second step used old rollouts

  const broken = fresh();
  // Before the first checkpoint; at one; in the middle; at the border of stages; between the two uses of one generation's rollouts.
  for (const step of [1, 4, 33, 60, 61, 75, 76, 79, 82]) await runAndCrash(tiny, broken, step);
  const last = await run(tiny, broken, { resume: true });
  expect(metricsOf(broken)).toBe(metricsOf(unbroken));
  expect(last.weights).toEqual(whole.weights);
  expect(contents(broken)).toEqual(contents(unbroken));
  expect(last.ledger.total.flop).toBe(whole.ledger.total.flop);
  // A finished run has nothing left to do.
  const again = await run(tiny, broken, { resume: true });
  expect(again).toMatchObject({ finished: true, steps: whole.steps, checkpoint: last.checkpoint });
  expect(again.weights).toEqual(whole.weights);
}, 120_000);

test("R19: another number of threads trains to the same bits, from the beginning and resumed", async () => {
  const wide = applyOverrides(short, [
    "model.config.hidden_size=128",
    "model.config.intermediate_size=256",
    "stages.0.batchSize=8",
    "stages.0.sequenceLength=64",
    "stages.0.steps=4",
    "stages.1.steps=1",
    "stages.2.steps=2",
  ]);
  let started = 0;
  const on = async (threads: number) => {
    const host = nodeHost();
    const spawnWasmWorker = () => {
      started++;
      return host.spawnWasmWorker?.() as WorkerHandle;
    };
    return await openDevice({ ...host, spawnWasmWorker }, { device: "cpu", build: "relaxed", threads });
  };
  const [one, two] = [await on(1), await on(2)];
  const [alone, together, mixed] = [fresh(), fresh(), fresh()];
  const first = await run(wide, alone, { device: one });
  expect(started).toBe(0);
  const second = await run(wide, together, { device: two });
  expect(started).toBe(2); // there was work for them
  expect(contents(together)).toEqual(contents(alone));
  expect(second.weights).toEqual(first.weights);
  const controller = new AbortController();
  const onProgress = () => void (rowsOf(mixed).length >= 3 && controller.abort());
  await run(wide, mixed, { device: two, onProgress, signal: controller.signal });
  const resumed = await run(wide, mixed, { device: one, resume: true });
  expect(resumed.weights).toEqual(first.weights);
  expect(metricsOf(mixed)).toBe(metricsOf(alone));
  await one.close();
  await two.close();
});

test("the folder holds what it should, and files of the run are what they say", async () => {
  const out = fresh();
  const events: [string, number, string | undefined][] = [];
  const progress: number[] = [];
  const result = await run(short, out, {
    onStage: ({ name, step, checkpoint }) => void events.push([name, step, checkpoint?.replace(out, "")]),
    onProgress: ({ step }) => void progress.push(step),
  });
  expect(readdirSync(out).sort()).toEqual(["checkpoints", "cost.json", "metrics.jsonl", "recipe.json", "samples.jsonl", "timing.jsonl"]);
  expect(readdirSync(join(out, "checkpoints")).sort()).toEqual(["checkpoint-10", "checkpoint-5", "checkpoint-7", "checkpoint-9"].sort());
  expect(readdirSync(result.checkpoint).sort()).toEqual(
    [
      "config.json",
      "generation_config.json",
      "manifest.json",
      "model.safetensors",
      "timing.json",
      "tokenizer.json",
      "tokenizer_config.json",
      "trainer_state.json",
    ].sort(),
  );
  expect(events).toEqual([
    ["start", 0, undefined],
    ["pretrain", 5, "/checkpoints/checkpoint-5"],
    ["sft", 7, "/checkpoints/checkpoint-7"],
    ["grpo", 10, "/checkpoints/checkpoint-10"],
  ]);
  expect(progress).toEqual([1, 2, 3, 4, 5, 1, 2, 1, 2, 3]);
  expect(defineRecipe(JSON.parse(readFileSync(join(out, "recipe.json"), "utf8")))).toEqual(short);
  const rows = rowsOf(out);
  for (const row of rows) {
    for (const key of ["step", "stage", "loss", "grad_norm", "learning_rate", "num_tokens"]) expect(row).toHaveProperty(key);
    expect(row).not.toHaveProperty("tokens_per_second");
  }
  for (const key of [
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "completions/mean_length",
    "completions/min_length",
    "completions/max_length",
    "completions/clipped_ratio",
    "completions/mean_terminated_length",
    "rewards/arithmetic/mean",
    "rewards/arithmetic/std",
  ]) {
    expect(rows[7]).toHaveProperty([key]);
  }
  expect(JSON.parse(readFileSync(join(out, "cost.json"), "utf8"))).toMatchObject({
    stages: [{ name: "pretrain" }, { name: "sft" }, { name: "grpo" }],
  });
  expect(readFileSync(join(out, "timing.jsonl"), "utf8").trimEnd().split("\n")).toHaveLength(10);
  expect(result.task?.seenKeys.size).toBeGreaterThan(0);
});

test("a signal ends the run with a checkpoint, and it goes on from there", async () => {
  const unbroken = fresh();
  const whole = await run(short, unbroken);
  const out = fresh();
  for (const stop of [3, 5, 8, 9]) {
    const controller = new AbortController();
    const onProgress = () => void (rowsOf(out).length >= stop && controller.abort());
    const { finished, steps, checkpoint } = await run(short, out, { resume: true, onProgress, signal: controller.signal });
    expect(finished).toBe(false);
    expect([steps, checkpoint.endsWith(`checkpoint-${steps}`)]).toEqual([stop, true]);
  }
  const { weights } = await run(short, out, { resume: true });
  expect(weights).toEqual(whole.weights);
  expect(metricsOf(out)).toBe(metricsOf(unbroken));
});

test("R14: a run of an older version, whose states are of format 1 and whose recipe knows no maxRise, goes on to the same bits", async () => {
  const [unbroken, out] = [fresh(), fresh()];
  const whole = await run(short, unbroken);
  await runAndCrash(short, out, 4);
  const { maxRise: _since, ...old } = JSON.parse(readFileSync(join(out, "recipe.json"), "utf8"));
  writeFileSync(join(out, "recipe.json"), JSON.stringify(old));
  for (const name of readdirSync(join(out, "checkpoints"))) {
    const folder = join(out, "checkpoints", name);
    const { divergence, ...state } = JSON.parse(readFileSync(join(folder, "trainer_state.json"), "utf8"));
    expect([state.format, divergence.first > 0]).toEqual([2, true]);
    writeFileSync(join(folder, "trainer_state.json"), JSON.stringify({ ...state, format: 1 }));
    rmSync(join(folder, "manifest.json"));
    await writeManifest(nodeHost().files, folder, state.step);
  }
  const resumed = await run(short, out, { resume: true });
  expect(resumed.weights).toEqual(whole.weights);
  expect(metricsOf(out)).toBe(metricsOf(unbroken));
});

test("R20, N12: a checkpoint says which kernels computed it; others go on with a warning, close but not the same", async () => {
  const [unbroken, out] = [fresh(), fresh()];
  await run(short, unbroken);
  await runAndCrash(short, out, 4);
  const newest = join(out, "checkpoints", "checkpoint-4");
  const { device: kernels } = JSON.parse(
    readFileSync(join(existsSync(newest) ? newest : join(out, "checkpoints", "checkpoint-2"), "timing.json"), "utf8"),
  );
  expect(kernels).toBe("reference f32");
  const warnings: string[] = [];
  const onWarning = (text: string) => void warnings.push(text);
  const wasm = await openDevice(nodeHost(), { device: "cpu", build: "simd128", threads: 1 });
  await run(short, out, { resume: true, device: wasm, onWarning });
  await wasm.close();
  expect(warnings).toEqual([expect.stringMatching(/computed by "reference f32" so far and goes on with "wasm simd128"/)]);
  const [theirs, ours] = [rowsOf(unbroken), rowsOf(out)];
  for (const [i, { loss, stage }] of ours.entries()) if (stage !== "grpo") expect(Math.abs(loss / theirs[i].loss - 1)).toBeLessThan(1e-3);
});

describe("damage", () => {
  /** Bytes of one file of the newest checkpoint, changed. */
  const damages: [string, (folder: string) => void][] = [
    ["one bit of the weights", (folder) => flip(join(folder, "model.safetensors"), 5000)],
    ["one bit of the moments", (folder) => flip(join(folder, "optimizer.safetensors"), 7000)],
    ["one bit of the state", (folder) => flip(join(folder, "trainer_state.json"), 40)],
    ["one bit of the manifest", (folder) => flip(join(folder, "manifest.json"), 60)],
    [
      "weights cut short",
      (folder) => writeFileSync(join(folder, "model.safetensors"), readFileSync(join(folder, "model.safetensors")).subarray(0, 1000)),
    ],
    ["a byte too many", (folder) => appendFileSync(join(folder, "tokenizer.json"), " ")],
    ["a missing file", (folder) => rmSync(join(folder, "config.json"))],
    ["a missing manifest", (folder) => rmSync(join(folder, "manifest.json"))],
    ["an empty folder", (folder) => rmSync(folder, { recursive: true }) ?? mkdirSync(folder)],
  ];
  function flip(path: string, at: number): void {
    const bytes = readFileSync(path);
    bytes[at % bytes.length]! ^= 1;
    writeFileSync(path, bytes);
  }

  test.each(damages)("%s: found by hash, and the checkpoint before is used", async (_name, damage) => {
    const unbroken = fresh();
    await run(short, unbroken);
    const out = fresh();
    await runAndCrash(short, out, 10); // the newest is checkpoint-9, the one before checkpoint-7
    damage(join(out, "checkpoints", "checkpoint-9"));
    const warnings: string[] = [];
    const found = await latestCheckpoint(nodeHost().files, join(out, "checkpoints"));
    expect(found?.path.endsWith("checkpoint-7")).toBe(true);
    await run(short, out, { resume: true, onWarning: (text) => void warnings.push(text) });
    expect(warnings[0]).toMatch(/checkpoint-9 is damaged/);
    expect(contents(out)).toEqual(contents(unbroken));
  });

  test("when all are damaged the run begins again", async () => {
    const unbroken = fresh();
    await run(short, unbroken);
    const out = fresh();
    await runAndCrash(short, out, 6);
    for (const name of readdirSync(join(out, "checkpoints"))) flip(join(out, "checkpoints", name, "model.safetensors"), 999);
    await run(short, out, { resume: true });
    expect(contents(out)).toEqual(contents(unbroken));
  });

  test("what a kill left behind is swept when the run resumes", async () => {
    const out = fresh();
    await runAndCrash(short, out, 6);
    for (const name of ["checkpoint-6.tmp-999999999-a-1", "checkpoint-2.tmp-999999999-a-2"]) {
      mkdirSync(join(out, "checkpoints", name));
      writeFileSync(join(out, "checkpoints", name, "model.safetensors"), "half");
    }
    await run(short, out, { resume: true });
    expect(readdirSync(join(out, "checkpoints")).filter((name) => !/^checkpoint-\d+$/.test(name))).toEqual([]);
  });

  test("half a line at the end of the metrics is mended", async () => {
    const unbroken = fresh();
    await run(short, unbroken);
    const out = fresh();
    await runAndCrash(short, out, 6);
    appendFileSync(join(out, "metrics.jsonl"), '{"step":7,"los');
    await run(short, out, { resume: true });
    expect(contents(out)).toEqual(contents(unbroken));
  });
});

describe("a full disk", () => {
  /** A host whose n-th writing operation fails (n = 0: none); counts them. */
  function failingHost(n: number): { host: Host; count: () => number } {
    let count = 0;
    const { files } = nodeHost();
    const fail = () => {
      if (++count !== n) return;
      throw new DeviceError({ operation: "write", got: "a full disk (ENOSPC)", expected: "free space", cure: "make space" });
    };
    const wrapped: Partial<Files> = {
      async writeAtomic(path, data) {
        fail();
        await files.writeAtomic(path, data);
      },
      async makeFolder(path) {
        fail();
        await files.makeFolder(path);
      },
      async writeFolderAtomic(path, fill) {
        fail();
        await files.writeFolderAtomic(path, async (folder) => {
          await fill(folder);
          fail();
        });
      },
      async remove(path) {
        fail();
        await files.remove(path);
      },
      async appender(path, truncateTo) {
        fail();
        const appender = await files.appender(path, truncateTo);
        return {
          get position() {
            return appender.position;
          },
          async append(text) {
            fail();
            await appender.append(text);
          },
          async sync() {
            fail();
            await appender.sync();
          },
          close: () => appender.close(),
        };
      },
    };
    return { host: hostWith(wrapped), count: () => count };
  }

  test("at each operation: one clear error, earlier checkpoints whole, and the resumed run is the unbroken one", async () => {
    const unbroken = fresh();
    const healthy = failingHost(0);
    await run(short, unbroken, { host: healthy.host });
    const operations = healthy.count();
    expect(operations).toBeGreaterThan(80);
    const expected = contents(unbroken);
    let kept = 0;
    let tried = 0;
    // Every operation takes a minute; the suite takes every seventh, which meets each kind.
    for (let n = 1; n <= operations; n += process.env.GRADUALLY_THOROUGH ? 1 : 7) {
      tried++;
      const out = fresh();
      const { host } = failingHost(n);
      const attempt = run(short, out, { host });
      await expect(attempt, `operation ${n}`).rejects.toThrow(/full disk/);
      await expect(attempt).rejects.toBeInstanceOf(GraduallyError);
      const checkpoints = join(out, "checkpoints");
      const names = existsSync(checkpoints) ? readdirSync(checkpoints) : [];
      expect(
        names.every((name) => /^checkpoint-\d+$/.test(name)),
        names.join(),
      ).toBe(true); // nothing half-written
      const damaged: string[] = [];
      const latest = await latestCheckpoint(nodeHost().files, checkpoints, (path) => void damaged.push(path));
      expect(damaged).toEqual([]);
      if (latest) kept++;
      expect(existsSync(join(out, "run.lock"))).toBe(false);
      await run(short, out, { resume: true });
      expect(contents(out), `operation ${n}`).toEqual(expected);
      rmSync(out, { recursive: true });
    }
    expect(kept).toBeGreaterThan(tried / 2);
  }, 240_000);
});

test("the end of a stage is told again to a run that goes on from there, and to no other", async () => {
  const out = fresh();
  const told: string[] = [];
  const onStage = ({ name, step, checkpoint }: StageEvent) =>
    void told.push(`${name} ${step} ${checkpoint?.replace(join(out, "checkpoints/"), "")}`);
  const failing = (event: StageEvent) => {
    onStage(event);
    if (event.name === "sft") throw new Error("the exam was broken off");
  };
  await expect(run(short, out, { onStage: failing })).rejects.toThrow("the exam was broken off");
  expect(told.splice(0)).toEqual(["start 0 undefined", "pretrain 5 checkpoint-5", "sft 7 checkpoint-7"]);
  const controller = new AbortController();
  const onProgress = ({ stage }: RunProgress) => void (stage === "grpo" && controller.abort());
  await run(short, out, { onStage, onProgress, signal: controller.signal, resume: true });
  expect(told.splice(0)).toEqual(["sft 7 checkpoint-7"]);
  await run(short, out, { onStage, resume: true });
  expect(told.splice(0)).toEqual(["grpo 10 checkpoint-10"]);
  await run(short, out, { onStage, resume: true });
  expect(told).toEqual(["grpo 10 checkpoint-10"]);
});

test("checkpoints by the clock, beside those by steps; they change no number", async () => {
  const [bySteps, byClock] = [fresh(), fresh()];
  const recipe = applyOverrides(short, ["checkpointEvery=1000", "keepCheckpoints=100"]);
  await run(recipe, bySteps);
  expect(readdirSync(join(bySteps, "checkpoints")).sort()).toEqual(["checkpoint-10", "checkpoint-5", "checkpoint-7"]);
  let seconds = 0;
  const host = { ...nodeHost(), now: () => seconds };
  // A step takes ten seconds.
  const onProgress = () => {
    seconds += 10;
  };
  await run(applyOverrides(recipe, ["checkpointSeconds=20"]), byClock, { host, onProgress });
  expect(readdirSync(join(byClock, "checkpoints")).sort()).toEqual(
    ["checkpoint-10", "checkpoint-3", "checkpoint-5", "checkpoint-7"].sort(),
  );
  expect(metricsOf(byClock)).toBe(metricsOf(bySteps));
});

describe("what is refused", () => {
  test("a second process on the same folder", async () => {
    const out = fresh();
    let second: Promise<unknown> | undefined;
    const onStage = async () => {
      second ??= run(short, out, { resume: true });
      await expect(second).rejects.toThrow(/in use by process/);
    };
    await run(short, out, { onStage });
    expect(second).toBeDefined();
  });

  test("a folder with a run in it, unless it is to be resumed", async () => {
    const out = fresh();
    await runAndCrash(short, out, 1);
    await expect(run(short, out)).rejects.toThrow(/a folder with a run in it/);
    expect(rowsOf(out)).toHaveLength(1);
  });

  test("another recipe; free keys may change", async () => {
    const out = fresh();
    await runAndCrash(short, out, 4);
    const other = applyOverrides(short, ["stages.0.learningRate=0.5", "seed=3"]);
    const attempt = run(other, out, { resume: true });
    await expect(attempt).rejects.toThrow(ConfigError);
    await expect(attempt).rejects.toThrow(/seed: 1 -> 3; stages.0.learningRate: 0.001 -> 0.5/);
    rmSync(join(out, "recipe.json"));
    await expect(run(other, out, { resume: true })).rejects.toThrow(/checkpoint-\d+ of another recipe;/);
    const { finished } = await run(applyOverrides(short, ["checkpointEvery=1", "keepCheckpoints=1"]), out, { resume: true });
    expect(finished).toBe(true);
  });

  test("R16: a checkpoint of another model, with what differs", async () => {
    const [out, theirs] = [fresh(), fresh()];
    await runAndCrash(short, out, 4);
    const other = applyOverrides(short, ["model.config.hidden_size=32", "model.config.num_key_value_heads=2", "stages.0.steps=2"]);
    await runAndCrash(other, theirs, 3);
    const attempt = run(other, out, { resume: true });
    await expect(attempt).rejects.toThrow(/hidden_size: 16 -> 32; model.config.num_key_value_heads: 1 -> 2/);
    // A checkpoint that was carried over from another run.
    rmSync(join(out, "checkpoints"), { recursive: true });
    cpSync(join(theirs, "checkpoints"), join(out, "checkpoints"), { recursive: true });
    const before = contents(out);
    const carried = run(short, out, { resume: true });
    await expect(carried).rejects.toThrow(ConfigError);
    await expect(carried).rejects.toThrow(/another recipe and another model \(hidden_size: 32 -> 16; num_key_value_heads: 2 -> 1\)/);
    expect(contents(out)).toEqual(before);
  });

  test("a data file that changed, an empty one, one that is missing", async () => {
    const path = join(root, "rows.jsonl");
    writeFileSync(path, Array.from({ length: 6 }, (_, i) => JSON.stringify({ prompt: `${i}+1=`, completion: `${i + 1}` })).join("\n"));
    const { stages: _stages, ...rest } = short;
    const recipe = defineRecipe({
      ...rest,
      stages: [{ kind: "sft", data: { kind: "file", path }, steps: 4, batchSize: 1, sequenceLength: 16 }],
    });
    const out = fresh();
    await runAndCrash(recipe, out, 3);
    appendFileSync(path, '\n{"prompt":"7+1=","completion":"8"}');
    await expect(run(recipe, out, { resume: true })).rejects.toThrow(/rows.jsonl.*which has changed since/);
    writeFileSync(path, "");
    await expect(run(recipe, fresh())).rejects.toThrow(/empty file/);
    rmSync(path);
    await expect(run(recipe, fresh())).rejects.toThrow(/no such file/);
  });

  test.each([
    ["sequences beyond the model's context", "stages.0.sequenceLength=65", /65 tokens.*context, 64/],
    ["a model with fewer tokens than the tokenizer", "model.config.vocab_size=100", /a tokenizer of 260 tokens/],
    ["a model config that makes no sense", "model.config.hidden_size=-3", /hidden_size/],
    ["rollouts beyond the context", "stages.2.maxCompletionLength=60", /72 tokens/],
    ["prompts that are too long", "stages.2.maxPromptLength=2", /maxPromptLength/],
    ["documents that do not fit", "stages.0.sequenceLength=4", /at most T = 4/],
    ["a tokenizer folder that is not there", 'tokenizer={"kind":"folder","path":"/nowhere"}', /nowhere/],
  ])("%s", async (_name, override, said) => {
    const attempt = run(applyOverrides(short, [override]), fresh());
    await expect(attempt).rejects.toThrow(said);
    await expect(attempt).rejects.toBeInstanceOf(GraduallyError);
  });

  test("an output path that is a file", async () => {
    const path = join(root, "a-file");
    writeFileSync(path, "x");
    await expect(run(short, path)).rejects.toBeInstanceOf(GraduallyError);
    expect(readFileSync(path, "utf8")).toBe("x");
  });
});
