// What a stage of training is to the loop: how many steps, which parameters, and the work of each step. The loop (loop.ts) knows nothing of data, rewards
// or models beyond this. Stages are pretrain.ts, sft.ts and grpo.ts.

import type { Device } from "../backend/backend.ts";
import type { Host } from "../core/host.ts";
import type { JsonValue } from "../core/json.ts";
import type { Random } from "../core/random.ts";
import type { Ledger } from "../cost/ledger.ts";
import type { Model } from "../models/model.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Recorded } from "./objective.ts";
import type { AdamWOptions } from "./optimizer.ts";
import type { ScheduleOptions } from "./schedule.ts";
import type { TrainingTask } from "./task-table.ts";

/** One optimiser step. */
export type StepWork = {
  /** Each records a forward pass and its share of the loss; called while gradients are tracked. None at all: a step with zero gradients. */
  readonly microbatches: readonly (() => Recorded)[];
  /** New tokens that this step saw, for num_tokens. */
  readonly tokens: number;
  /** Tokens that were generated or trained on, for tokens per second. */
  readonly processed: number;
  /** Metrics known on the host, by TRL's names. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Lines for samples.jsonl. */
  readonly samples?: readonly JsonValue[];
};

export interface StageRunner {
  readonly steps: number;
  readonly schedule: ScheduleOptions;
  readonly adamw: AdamWOptions;
  /** Completions of a generation, for a stage that is judged by its reward and not by its loss. */
  readonly completions?: number;
  /** How the same stage would take less memory, for the error of a device that has too little. */
  readonly smaller: string;
  /** Speed of the bias that balances experts; 0: it stays. */
  readonly biasRate: number;
  /** The parameters to change. */
  readonly trained: ReadonlyMap<string, Tensor>;
  /** The work of step 0, 1, 2 …, asked for once each and in order. `detail`: log what costs time too. */
  prepare(step: number, detail: boolean): Promise<StepWork>;
  /** What a checkpoint after the present step must hold for `prepare` to go on exactly; plain JSON. */
  state(): JsonValue;
  /** Frozen tensors that belong into the checkpoint too (GRPO's reference model). */
  frozen?(): ReadonlyMap<string, Tensor>;
  dispose(): Promise<void> | void;
}

export type StageContext = {
  readonly host: Host;
  readonly device: Device;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly task: TrainingTask | undefined;
  /** This stage's own; fork it by name and step. */
  readonly random: Random;
  readonly ledger: Ledger;
  /** Name of the stage in the ledger. */
  readonly name: string;
  /** Notes the hash of a data file, so that a resumed run refuses a changed one. */
  noteInput(path: string, bytes: Uint8Array): Promise<void>;
  /** Present when the stage goes on from a checkpoint. */
  readonly restored?: {
    readonly state: JsonValue;
    readFrozen(name: string): Promise<Float32Array>;
  };
};
