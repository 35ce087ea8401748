import { describe, expect, test } from "vitest";
import { recipe as tiny } from "../../recipes/tiny.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { grpo } from "../../src/train/grpo.ts";
import { pretrain } from "../../src/train/pretrain.ts";
import { defineRecipe, type RecipeInput, recipeText } from "../../src/train/recipe.ts";
import { applyOverrides, differences } from "../../src/train/recipe-overrides.ts";
import { sft } from "../../src/train/sft.ts";
import { llamaConfig } from "./tiny.ts";

const input: RecipeInput = { task: { name: "countdown" }, model: { config: llamaConfig }, stages: [pretrain({ steps: 5 }), sft(), grpo()] };

test("a resolved recipe is plain data, complete, and resolves to itself", () => {
  for (const recipe of [tiny, defineRecipe(input)]) {
    const again = JSON.parse(recipeText(recipe));
    expect(again).toEqual(recipe);
    expect(defineRecipe(again)).toEqual(recipe);
  }
  const { stages, tokenizer } = defineRecipe(input);
  expect(stages.map(({ kind, name }) => [kind, name])).toEqual([
    ["pretrain", "pretrain"],
    ["sft", "sft"],
    ["grpo", "grpo"],
  ]);
  expect(stages[1]).toMatchObject({ data: { kind: "task", examples: 1000 }, epochs: 3 });
  expect(stages[2]).toMatchObject({ lossType: "dapo", beta: 0, epsilon: 0.2, epsilonHigh: null, numIterations: 1, temperature: 1 });
  expect(tokenizer.kind).toBe("bpe");
});

test("a model from a folder brings its tokenizer", () => {
  const recipe = defineRecipe({ model: { path: "models/x" }, stages: [sft({ data: { kind: "file", path: "rows.jsonl" } })] });
  expect(recipe.tokenizer).toMatchObject({ kind: "folder", path: "models/x" });
  expect(recipe.stages[0]).toMatchObject({ data: { kind: "file", path: "rows.jsonl", examples: null } });
});

describe("what is refused", () => {
  const cases: [string, unknown, RegExp][] = [
    ["an unknown key", { ...input, sede: 1 }, /unknown key "sede".*did you mean "seed"/],
    [
      "an unknown key of a stage",
      { ...input, stages: [{ kind: "pretrain", learnigRate: 1 }] },
      /pretrain.*"learnigRate".*did you mean "learningRate"/,
    ],
    ["an unknown key of data", { ...input, stages: [{ kind: "sft", data: { exmples: 3 } }] }, /"exmples".*did you mean "examples"/],
    ["an unknown trace option", { ...input, stages: [{ kind: "sft", data: { trace: { wait: 3 } } }] }, /"wait".*did you mean "waits"/],
    ["an unknown stage", { ...input, stages: [{ kind: "dpo" }] }, /kind "dpo"/],
    ["an unknown task", { ...input, task: { name: "chess" } }, /countdown or arithmetic/],
    ["an unknown task option", { ...input, task: { name: "countdown", options: { cuont: 3 } } }, /did you mean "count"/],
    ["a task option that makes no sense", { ...input, task: { name: "countdown", options: { count: 99 } } }, /count/],
    ["no stages", { ...input, stages: [] }, /at least one stage/],
    ["stages of one name", { ...input, stages: [{ kind: "sft" }, { kind: "sft" }] }, /two stages named "sft"/],
    ["no model", { ...input, model: {} }, /neither config nor path/],
    ["two models", { ...input, model: { config: {}, path: "x" } }, /both config and path/],
    [
      "a learning rate that is not finite",
      { ...input, stages: [{ kind: "pretrain", learningRate: Number.NaN }] },
      /learningRate.*NaN.*finite/,
    ],
    ["a negative learning rate", { ...input, stages: [{ kind: "grpo", learningRate: -1e-3 }] }, /learningRate.*above 0/],
    ["a loss type that is none", { ...input, stages: [{ kind: "grpo", lossType: "gprt" }] }, /"grpo", "bnpo", "dapo", "dr_grpo"/],
    ["a group of one", { ...input, stages: [{ kind: "grpo", numGenerations: 1 }] }, /at least 2/],
    ["a file stage without a path", { ...input, stages: [{ kind: "sft", data: { kind: "file" } }] }, /without a path/],
    ["a list", [], /an object/],
    ["nothing", undefined, /an object/],
  ];
  test.each(cases)("%s", (_name, recipe, said) => {
    const attempt = () => defineRecipe(recipe as RecipeInput);
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(said);
  });
});

describe("overrides", () => {
  const recipe = defineRecipe(input);

  test("set by index, by name, in free-form parts", () => {
    const changed = applyOverrides(recipe, [
      "stages.0.learningRate=1e-2",
      "stages.sft.epochs=5",
      "stages.grpo.epsilonHigh=0.28",
      "seed=9",
      "name=second",
      "model.config.hidden_size=32",
      "model.config.rope_scaling.factor=8",
      "task.options.count=4",
      "stages.sft.data.trace.waits=2",
    ]);
    expect(changed.stages[0]).toMatchObject({ learningRate: 1e-2 });
    expect(changed.stages[1]).toMatchObject({ epochs: 5, data: { trace: { waits: 2 } } });
    expect(changed.stages[2]).toMatchObject({ epsilonHigh: 0.28 });
    expect(changed).toMatchObject({
      seed: 9,
      name: "second",
      task: { options: { count: 4 } },
      model: { config: { hidden_size: 32, rope_scaling: { factor: 8 } } },
    });
    expect(recipe.seed).toBe(1); // the old one is as it was
    expect(differences(recipe, changed)).toContain("seed: 1 -> 9");
    expect(differences(recipe, changed)).toContain("stages.1.epochs: 3 -> 5");
    expect(differences(recipe, recipe)).toEqual([]);
  });

  test.each([
    ["stages.0.learningRat=1", /did you mean "stages.0.learningRate"/],
    ["stages.7.steps=1", /0 \(pretrain\), 1 \(sft\), 2 \(grpo\)/],
    ["stages.distill.steps=1", /0 \(pretrain\)/],
    ["seed", /no =/],
    ["=1", /no =/],
    ["seed.x=1", /unknown key|an object on the way/],
    ["stages.0.learningRate=NaN", /finite number/],
    ["stages.0.learningRate=-1", /above 0/],
    ["task.options.cuont=3", /did you mean "count"/],
    ["__proto__.polluted=1", /unknown key/],
    ["model.config.__proto__.polluted=1", /unknown key/],
  ])("%s is refused", (override, said) => {
    expect(() => applyOverrides(recipe, [override])).toThrow(ConfigError);
    expect(() => applyOverrides(recipe, [override])).toThrow(said);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});
