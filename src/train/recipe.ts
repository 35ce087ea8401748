// A recipe: everything that a run is, as plain data. In: what a recipe module says. Out: the same with every default filled in and every key
// checked, which is what recipe.json of the run folder holds. Stages are plain data too: `pretrain({...})` gives an object, not a function.
//   export const recipe = defineRecipe({ name: "tiny", task: { name: "arithmetic" }, model: { config }, stages: [pretrain({ steps: 200 }), sft(), grpo()] });

import { ConfigError, quote } from "../core/errors.ts";
import { isPlainObject } from "../core/json.ts";
import { defaultHourlyUsd } from "../cost/ledger.ts";
import { type GrpoOptions, type GrpoStage, grpo, openGrpo } from "./grpo.ts";
import { object, orNull, real, refuseUnknown, resolveOptions, show, text, type Values, whole } from "./options.ts";
import { openPretrain, type PretrainOptions, type PretrainStage, pretrain } from "./pretrain.ts";
import { openSft, type SftOptions, type SftStage, sft } from "./sft.ts";
import type { StageContext, StageRunner } from "./stage.ts";
import { openTask, type TaskConfig, taskFields } from "./task-table.ts";
import { type TokenizerConfig, tokenizerFields } from "./tokenizer-setup.ts";

export const modelFields = {
  /** config.json of a new model; vocab_size and the special ids follow from the tokenizer where they are left out. */
  config: orNull(object<Readonly<Record<string, unknown>>>({})),
  /** A Hugging Face folder to start from instead. */
  path: orNull(text("")),
} as const;

export type ModelConfig = Values<typeof modelFields>;

export const recipeFields = {
  name: text("run"),
  /** All randomness of a run follows from it. */
  seed: whole(1, { min: 0, max: 2 ** 32 - 1 }),
  /** What to learn; null for runs on files only. See task-table.ts. */
  task: orNull(object<Partial<TaskConfig>>({})),
  /** See tokenizer-setup.ts; default: trained on the task, or that of model.path. */
  tokenizer: orNull(object<Partial<TokenizerConfig>>({})),
  model: object<Partial<ModelConfig>>({}),
  /** Steps between two checkpoints within a stage; each stage ends with one anyway. */
  checkpointEvery: whole(100, { min: 1, max: 1e9 }),
  /** Also a checkpoint when so many seconds have passed since the last one: what a kill may cost. null: by steps alone. */
  checkpointSeconds: orNull(real(60, { above: 0, max: 1e9 })),
  /** How many of the newest checkpoints are kept; those at the ends of stages always are. */
  keepCheckpoints: whole(2, { min: 1, max: 1e6 }),
  /** Steps between two measurements of accuracy and entropy. */
  detailEvery: whole(10, { min: 1, max: 1e9 }),
  /** Skipped steps in a row that end the run. */
  maxSkipped: whole(3, { min: 1, max: 1e6 }),
  /**
   * Nats by which the loss may lie above that of its stage's first step: more, in 8 steps in a row, is divergence and ends the run, as does reinforcement that
   * lost all its reward. null: never.
   */
  maxRise: orNull(real(3, { above: 0, max: 1e6 }), 3),
  /** Price of this machine, US dollars an hour. */
  hourlyUsd: real(defaultHourlyUsd, { min: 0, max: 1e6 }),
} as const;

/** Keys that may change when a run resumes: they change no number of it. */
export const freeKeys = ["checkpointEvery", "checkpointSeconds", "keepCheckpoints", "maxRise", "hourlyUsd"] as const;

export type Stage = PretrainStage | SftStage | GrpoStage;
export type StageInput =
  | ({ readonly kind: "pretrain" } & PretrainOptions)
  | ({ readonly kind: "sft" } & SftOptions)
  | ({ readonly kind: "grpo" } & GrpoOptions);

export type RecipeInput = Partial<Values<typeof recipeFields>> & { readonly stages: readonly StageInput[] };
export type Recipe = Omit<Values<typeof recipeFields>, "task" | "tokenizer" | "model"> & {
  readonly task: TaskConfig | null;
  readonly tokenizer: TokenizerConfig;
  readonly model: ModelConfig;
  readonly stages: readonly Stage[];
};

const kinds = {
  pretrain: { resolve: pretrain, open: openPretrain },
  sft: { resolve: sft, open: openSft },
  grpo: { resolve: grpo, open: openGrpo },
} as const;

/** Fills in defaults and checks everything that can be checked without data. Throws ConfigError, with the nearest match for an unknown key. */
export function defineRecipe(input: RecipeInput | Recipe): Recipe {
  const operation = "recipe";
  if (!isPlainObject(input))
    throw new ConfigError({ operation, got: show(input), expected: "an object", cure: "export what defineRecipe returns" });
  refuseUnknown(operation, Object.keys(input), [...Object.keys(recipeFields), "stages"]);
  const { stages, ...rest } = input as RecipeInput;
  const values = resolveOptions(operation, recipeFields, rest);
  const task = values.task && resolveOptions("recipe: task", taskFields, values.task);
  if (task) openTask(task);
  const model = resolveOptions("recipe: model", modelFields, values.model);
  if ((model.config === null) === (model.path === null)) {
    throw new ConfigError({
      operation: "recipe: model",
      got: model.path === null ? "neither config nor path" : "both config and path",
      expected: "one of them",
      cure: "give a new model's config, or the folder of one to start from",
    });
  }
  const tokenizer = resolveOptions(
    "recipe: tokenizer",
    tokenizerFields,
    values.tokenizer ?? (model.path === null ? {} : { kind: "folder", path: model.path }),
  );
  return { ...values, task, tokenizer, model, stages: resolveStages(stages, task?.name) };
}

function resolveStages(stages: unknown, taskName: string | undefined): Stage[] {
  const operation = "recipe: stages";
  if (!Array.isArray(stages) || stages.length === 0) {
    throw new ConfigError({
      operation,
      got: show(stages),
      expected: "a list with at least one stage",
      cure: "stages: [pretrain({...}), sft({...}), grpo({...})]",
    });
  }
  const resolved = stages.map((stage: unknown, i) => {
    const kind = isPlainObject(stage) ? stage.kind : undefined;
    if (!isPlainObject(stage) || typeof kind !== "string" || !Object.hasOwn(kinds, kind)) {
      throw new ConfigError({
        operation: `${operation}.${i}`,
        got: `kind ${show(kind)}`,
        expected: Object.keys(kinds).join(", "),
        cure: "make stages with pretrain, sft and grpo",
      });
    }
    const { kind: _kind, ...options } = stage;
    return kinds[kind as keyof typeof kinds].resolve(options, taskName);
  });
  const names = resolved.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new ConfigError({
      operation,
      got: `two stages named ${quote(twice)}`,
      expected: "a name for each",
      cure: `name them apart: { name: "${twice}-2" }`,
    });
  }
  return resolved;
}

/** Prepares a stage for the loop. */
export function openStage(stage: Stage, context: StageContext): Promise<StageRunner> {
  const open = kinds[stage.kind].open as (stage: Stage, context: StageContext) => Promise<StageRunner>;
  return open(stage, context);
}

/** recipe.json. */
export function recipeText(recipe: Recipe): string {
  return `${JSON.stringify(recipe, null, 2)}\n`;
}
