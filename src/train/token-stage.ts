// What pretraining and fine-tuning have in common: packed batches from a document stream, the shared objective (objective.ts), microbatches. They
// differ in their defaults and in what counts as a target. In: resolved options. Out: a stage for the loop, whose state is one integer.

import { ConfigError } from "../core/errors.ts";
import { isJsonObject, type JsonValue } from "../core/json.ts";
import { attendedKeys, flopShape } from "../cost/flop.ts";
import type { Batch } from "../data/pack.ts";
import { DataStream, type DocumentSource } from "../data/stream.ts";
import { type DataConfig, openSource } from "./data-source.ts";
import { hasNextHead, objectiveFields, recordTokenLoss, totalsOf, trainedParameters } from "./objective.ts";
import { adamwFields } from "./optimizer.ts";
import { type Values, whole } from "./options.ts";
import { scheduleFields } from "./schedule.ts";
import type { StageContext, StageRunner } from "./stage.ts";
import { encoderOf } from "./tokenizer-setup.ts";

export const tokenStageFields = {
  /** Sequences in a microbatch. */
  batchSize: whole(16, { min: 1, max: 65536 }),
  /** Tokens in a sequence; documents are packed into it and never see one another. */
  sequenceLength: whole(256, { min: 2, max: 2 ** 20 }),
  /** Microbatches in a step; their gradients add up as if they were one. */
  microbatches: whole(1, { min: 1, max: 4096 }),
  ...scheduleFields,
  ...adamwFields,
  ...objectiveFields,
} as const;

export type TokenStageOptions = Values<typeof tokenStageFields> & { readonly data: DataConfig };
export type StageLength = { readonly steps: number } | { readonly epochs: number };

export async function openTokenStage(
  options: TokenStageOptions,
  length: StageLength,
  learnPrompts: boolean,
  context: StageContext,
): Promise<StageRunner> {
  const { batchSize: B, sequenceLength: T, microbatches } = options;
  const { model, tokenizer, restored } = context;
  checkModelFits(context, T);
  const { source, count } = await openSource(options.data, context, encoderOf(tokenizer), T, learnPrompts);
  const steps = "steps" in length ? length.steps : stepsOfEpochs(source, count, length.epochs, options);
  const pad = tokenizer.specialIds.pad ?? 0;
  const stream = new DataStream(source, { B, T }, { pad, ...(restored && { state: { index: readIndex(restored.state) } }) });
  const withNext = options.mtpWeight > 0 && hasNextHead(model);
  const shape = flopShape(model);

  return {
    steps,
    schedule: options,
    adamw: options,
    smaller: B > 1 ? `batchSize ${Math.ceil(B / 2)} with microbatches ${microbatches * 2}` : `a sequenceLength below ${T}`,
    biasRate: options.biasRate,
    trained: trainedParameters(model, withNext),
    async prepare(_step, detail) {
      const batches: Batch[] = Array.from({ length: microbatches }, () => stream.next());
      const totals = totalsOf(batches, options.mtpShare);
      const used = batches.reduce((sum, batch) => sum + batch.used, 0);
      // Padding rows attend to themselves; they are no work that anyone asked for.
      for (const batch of batches)
        context.ledger.train(context.name, shape, batch.used, attendedKeys(batch.first, batch.last) - (B * T - batch.used));
      return {
        microbatches: batches.map((batch) => () => recordTokenLoss(model, batch, totals, options, detail)),
        tokens: used,
        processed: used,
        metrics: {},
      };
    },
    state: () => ({ index: stream.state.index }),
    dispose() {},
  };
}

/** Throws ConfigError when the model cannot take sequences of this length or knows fewer tokens than the tokenizer. */
export function checkModelFits({ model, tokenizer, name }: StageContext, T: number): void {
  if (T > model.contextLength) {
    throw new ConfigError({
      operation: `open ${name}`,
      got: `sequences of ${T} tokens`,
      expected: `at most the model's context, ${model.contextLength}`,
      cure: "shorten the sequences or raise max_position_embeddings",
    });
  }
  if (tokenizer.vocabSize > model.vocabSize) {
    throw new ConfigError({
      operation: `open ${name}`,
      got: `a tokenizer of ${tokenizer.vocabSize} tokens`,
      expected: `at most the model's vocab_size, ${model.vocabSize}`,
      cure: "use the tokenizer that belongs to the model",
    });
  }
}

/** Optimiser steps until every document was seen `epochs` times, found by packing them once. */
function stepsOfEpochs(
  source: DocumentSource,
  count: number | undefined,
  epochs: number,
  { batchSize: B, sequenceLength: T, microbatches }: TokenStageOptions,
): number {
  if (count === undefined) {
    throw new ConfigError({
      operation: "count the steps of a stage",
      got: "epochs of endless data",
      expected: "a number of steps",
      cure: "set steps, or data.examples",
    });
  }
  const wanted = Math.max(1, Math.round(epochs * count));
  const rehearsal = new DataStream(source, { B, T });
  let batches = 0;
  for (; rehearsal.state.index < wanted; batches++) rehearsal.next();
  return Math.ceil(batches / microbatches);
}

function readIndex(state: JsonValue): number {
  const index = isJsonObject(state) ? state.index : undefined;
  return typeof index === "number" ? index : Number.NaN; // DataStream refuses it
}
