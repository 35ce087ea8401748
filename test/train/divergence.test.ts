// R27: a learning rate far too high is noticed while every number is still finite, the run ends, and the checkpoint that is named is one from before; what the rule
// says of given series of losses and rewards.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { recipe as tiny } from "../../recipes/tiny.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { DivergenceWatch } from "../../src/train/divergence.ts";
import { defineRecipe } from "../../src/train/recipe.ts";
import { applyOverrides } from "../../src/train/recipe-overrides.ts";
import { runRecipe } from "../../src/train/run.ts";

const root = mkdtempSync(join(tmpdir(), "gradually-divergence-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The step at which the watch ends the run, from 1, or undefined. */
function endOf(watch: DivergenceWatch, values: readonly (number | null)[], name = "loss"): number | undefined {
  const at = values.findIndex((value) => watch.observe({ [name]: value }) !== undefined);
  return at < 0 ? undefined : at + 1;
}

describe("a learning rate 100 times too high", () => {
  const runTo = async (name: string, overrides: string[], resume = false) => {
    const out = join(root, name);
    const recipe = applyOverrides(tiny, overrides);
    const result = await runRecipe(recipe, { out, host: nodeHost(), device: openReference(), resume });
    result.model.dispose();
    return result;
  };
  const rowsOf = (name: string) =>
    readFileSync(join(root, name, "metrics.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));

  test("from the first step: ended within 20 steps, though nothing is infinite; no checkpoint holds such weights", async () => {
    const attempt = runTo("first", ["stages.pretrain.learningRate=2"]);
    await expect(attempt).rejects.toThrow(DeviceError);
    await expect(attempt).rejects.toThrow(
      /train pretrain: got a loss of .+ where the stage began with 5\.\d+, .*: step \d+; .*; the last good/,
    );
    const rows = rowsOf("first");
    expect(rows.length).toBeLessThanOrEqual(20);
    expect(rows.every(({ loss, skipped }) => typeof loss === "number" && skipped === undefined)).toBe(true);
    // Checkpoints come every three steps; the one that stays is from before the loss rose.
    expect(readdirSync(join(root, "first", "checkpoints"))).toEqual(["checkpoint-3"]);
    expect(Math.max(...rows.slice(0, 3).map(({ loss }) => loss))).toBeLessThan(rows[0].loss + 3);
  });

  test("in a later stage: the checkpoint at the end of the stage before is named, and the run goes on from it with the rule off", async () => {
    const overrides = ["stages.pretrain.steps=30", "stages.sft.learningRate=5", "stages.sft.epochs=20", "stages.grpo.steps=1"];
    await expect(runTo("later", overrides)).rejects.toThrow(/train sft: .*last good checkpoint is .*checkpoint-30;.*maxRise/);
    expect(rowsOf("later").length).toBeLessThanOrEqual(50);
    const { finished } = await runTo("later", [...overrides, "maxRise=null"], true);
    expect(finished).toBe(true);
  });
});

test("it takes eight bad steps in a row; what is not a number of a loss counts for nothing", () => {
  const high = new Array(8).fill(9.1);
  expect(endOf(new DivergenceWatch(3), [6, ...high])).toBe(9);
  expect(endOf(new DivergenceWatch(3), [6, ...high.slice(1), 8.9, ...high.slice(1)])).toBeUndefined();
  expect(endOf(new DivergenceWatch(3), [0, null, 6, 9.1, null, 9.1, 0, ...high.slice(2)])).toBe(13);
  expect(endOf(new DivergenceWatch(4), [6, ...high])).toBeUndefined();
  expect(endOf(new DivergenceWatch(null), [6, ...new Array(100).fill(1e9)])).toBeUndefined();
  // Bad weights to begin with: losses of 40 scatter by more than 3.
  expect(endOf(new DivergenceWatch(3), [40, ...new Array(100).fill(49)])).toBeUndefined();
  expect(endOf(new DivergenceWatch(3), [40, ...new Array(100).fill(51)])).toBe(9);
});

test("reinforcement is judged by its reward, where the first step says enough of it", () => {
  const lost = [0.7, ...new Array(20).fill(0)];
  expect(endOf(new DivergenceWatch(3, 256), lost, "reward")).toBe(9);
  expect(endOf(new DivergenceWatch(3, 63), lost, "reward")).toBeUndefined();
  expect(endOf(new DivergenceWatch(3, 256), [0.09, ...lost.slice(1)], "reward")).toBeUndefined();
  expect(endOf(new DivergenceWatch(3, 256), [0.7, ...new Array(50).fill(0.04)], "reward")).toBeUndefined();
  expect(endOf(new DivergenceWatch(3, 256), [0.1, 50, ...new Array(20).fill(50)])).toBeUndefined(); // its loss
});

test("a run that stops and resumes between two steps ends at the same step", () => {
  const losses = [5, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9];
  let state: DivergenceWatch["state"] = new DivergenceWatch(3).state;
  const ends = losses.map((loss) => {
    const watch = new DivergenceWatch(3, undefined, JSON.parse(JSON.stringify(state)));
    const end = watch.observe({ loss });
    state = watch.state;
    return end !== undefined;
  });
  expect(ends.indexOf(true) + 1).toBe(endOf(new DivergenceWatch(3), losses));
  for (const nonsense of [null, [], { first: "x", streak: -1 }, { first: null, streak: 2.5 }])
    expect(new DivergenceWatch(3, undefined, nonsense).state).toEqual({ first: null, streak: 0 });
});

test("the option is checked, and is null or a number above 0", () => {
  expect(applyOverrides(tiny, ["maxRise=null"]).maxRise).toBeNull();
  for (const maxRise of [0, -1, Number.NaN]) expect(() => defineRecipe({ ...tiny, maxRise })).toThrow(/maxRise/);
});
