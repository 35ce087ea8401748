// `gradually bench train`: tokens per second of a full training step (forward, backward, AdamW) of a model with random weights. In: a Llama shape
// such as d128,l4,ff384,h4,v256, or a config.json. Out: DESIGN.md's JSON. Steps are timed one by one; the median is reported.

import type { Device } from "../backend/backend.ts";
import { ConfigError } from "../core/errors.ts";
import { Random } from "../core/random.ts";
import { flopShape, trainingFlop } from "../cost/flop.ts";
import { type Batch, packBatch } from "../data/pack.ts";
import { createModel } from "../models/load.ts";
import { PackedScalars, recordStep } from "../train/loop.ts";
import { BiasBalancer, recordTokenLoss, totalsOf, trainedParameters } from "../train/objective.ts";
import { AdamW } from "../train/optimizer.ts";

/** Turns `d128,l4,ff384,h4,v256` (also kv2) into a Llama config. Throws ConfigError. */
export function llamaShape(text: string): Record<string, unknown> {
  const sizes = new Map<string, number>();
  for (const part of text.split(",")) {
    const match = /^(d|l|ff|h|kv|v)([1-9]\d{0,6})$/.exec(part.trim());
    if (!match) {
      throw new ConfigError({
        operation: "bench train --shape",
        got: JSON.stringify(part),
        expected: "d128,l4,ff384,h4,v256",
        cure: "give width, layers, feed-forward, heads and vocabulary",
      });
    }
    sizes.set(match[1] as string, Number(match[2]));
  }
  const size = (name: string, standard: number) => sizes.get(name) ?? standard;
  const heads = size("h", 4);
  return {
    model_type: "llama",
    hidden_size: size("d", 128),
    num_hidden_layers: size("l", 4),
    intermediate_size: size("ff", 384),
    num_attention_heads: heads,
    num_key_value_heads: size("kv", heads),
    vocab_size: size("v", 256),
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
  };
}

export type TrainBench = {
  readonly tok_s: number;
  readonly params: number;
  readonly ms_per_step: number;
  readonly gflop_s: number;
  readonly threads: number;
  readonly device: string;
};

/** Median of `steps` full steps on random tokens, after two to warm up. */
export async function benchTrain(
  device: Device,
  config: Record<string, unknown>,
  B: number,
  T: number,
  steps: number,
  now: () => number,
): Promise<TrainBench> {
  const random = new Random(1);
  const model = createModel(device, config, random);
  const batch = randomBatch(random, B, T, model.vocabSize);
  const trained = trainedParameters(model, true);
  const optimizer = new AdamW(device, trained, { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, maxGradNorm: 1 });
  const balancer = new BiasBalancer(0.001);
  const packed = new PackedScalars(device);
  const totals = totalsOf([batch]);
  const times: number[] = [];
  for (let step = 0; step < steps + 2; step++) {
    const start = now();
    const work = {
      microbatches: [() => recordTokenLoss(model, batch, totals, { mtpWeight: 0.3, balanceWeight: 1e-4 }, false)],
      tokens: B * T,
      processed: B * T,
      metrics: {},
    };
    recordStep(work, optimizer, balancer, packed, 1e-3);
    const { factor } = await packed.read();
    optimizer.settle(factor >= 0);
    balancer.apply();
    if (step >= 2) times.push(now() - start);
  }
  const seconds = times.sort((a, b) => a - b)[Math.floor(times.length / 2)] as number;
  const flop = trainingFlop(flopShape(model), B * T, (B * T * (T + 1)) / 2);
  const params = model.parameterCount.total;
  optimizer.dispose();
  balancer.dispose();
  packed.dispose();
  model.dispose();
  const { name, build, threads } = device.info;
  return {
    tok_s: (B * T) / seconds,
    params,
    ms_per_step: seconds * 1000,
    gflop_s: flop / seconds / 1e9,
    threads,
    device: `${name} ${build}`,
  };
}

/** B documents of T tokens each, one to a row. */
function randomBatch(random: Random, B: number, T: number, vocab: number): Batch {
  let made = 0;
  return packBatch(() => (made++ < B ? { ids: Array.from({ length: T }, () => random.integer(vocab)) } : undefined), { B, T });
}
