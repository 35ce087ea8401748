// The door `gradually/train`: recipes, the run, and the parts that a trainer of one's own is made of (optimiser, loop, objective).

export { latestCheckpoint, type SavedCheckpoint, saveCheckpoint, type TrainerState } from "./checkpoint.ts";
export { type GrpoOptions, grpo } from "./grpo.ts";
export { type LoopOptions, PackedScalars, recordStep, type StepReport, trainStage } from "./loop.ts";
export { BiasBalancer, type Recorded, recordTokenLoss, totalsOf, trainedParameters } from "./objective.ts";
export { AdamW, type AdamWOptions } from "./optimizer.ts";
export { type PretrainOptions, pretrain } from "./pretrain.ts";
export { defineRecipe, type Recipe, type RecipeInput, type Stage } from "./recipe.ts";
export { applyOverrides } from "./recipe-overrides.ts";
export { type RunOptions, type RunProgress, type RunResult, runRecipe, type StageEvent } from "./run.ts";
export { learningRateAt, type ScheduleOptions } from "./schedule.ts";
export { type SftOptions, sft } from "./sft.ts";
export type { StageContext, StageRunner, StepWork } from "./stage.ts";
export { openTask, type TaskConfig, type TrainingTask } from "./task-table.ts";
