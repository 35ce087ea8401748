import { describe, expect, test } from "vitest";
import type { Batch } from "../../src/data/pack.ts";
import type { Model } from "../../src/models/model.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { dispose, fromArray, liveStorageCount, read, scope, type Tensor, write } from "../../src/tensor/tensor.ts";
import { noGradients, trackGradients } from "../../src/tensor/tracking.ts";
import { BiasBalancer, recordTokenLoss, totalsOf, trainedParameters } from "../../src/train/objective.ts";
import { readJson } from "../models/fixtures.ts";
import { deepseekConfig, documents, gradientsOf, llamaConfig, pack, tinyModel } from "./tiny.ts";

const weights = { mtpWeight: 0.3, balanceWeight: 0.1 };

/** Sums and gradients over microbatches, as the loop adds them up. */
async function measure(
  model: Model,
  batches: readonly Batch[],
  options: typeof weights & { mtpShare?: number } = weights,
): Promise<{ sums: Record<string, number>; gradients: Map<string, number[]>; loads: number[] }> {
  for (const parameter of model.parameters.values()) {
    if (parameter.grad) dispose(parameter.grad);
    parameter.grad = undefined;
  }
  const totals = totalsOf(batches, options.mtpShare);
  const sums: Record<string, number> = {};
  const loads: number[] = [];
  for (const batch of batches) {
    const made = scope(() => {
      const recorded = trackGradients(() => recordTokenLoss(model, batch, totals, options, true));
      backward(recorded.loss);
      return { ...recorded.sums, total: recorded.loss, counts: recorded.loads.map(({ counts }) => counts) };
    });
    const { counts, ...scalars } = made;
    for (const [name, sum] of Object.entries(scalars)) sums[name] = (sums[name] ?? 0) + ((await read(sum as Tensor))[0] as number);
    for (const [layer, count] of counts.entries()) {
      for (const [e, n] of (await read(count)).entries()) loads[layer * 4 + e] = (loads[layer * 4 + e] ?? 0) + (n as number);
    }
  }
  return { sums, gradients: await gradientsOf(model), loads };
}

function expectSame(a: Map<string, number[]>, b: Map<string, number[]>, tolerance: number): void {
  expect([...a.keys()].sort()).toEqual([...b.keys()].sort());
  for (const [name, numbers] of a) {
    const other = b.get(name) as number[];
    const size = Math.max(...numbers.map(Math.abs), 1e-30);
    for (const [i, x] of numbers.entries())
      if (!(Math.abs(x - other[i]!) <= tolerance * size)) expect.fail(`${name}[${i}]: ${x} and ${other[i]}`);
  }
}

describe.each([
  ["llama", llamaConfig],
  ["deepseek", deepseekConfig],
] as const)("%s", (name, config) => {
  const docs = documents(8, true);

  test("microbatches add up to one big batch", async () => {
    const model = tinyModel(config, "f64");
    // The sequences are the same, so the balance loss, which is per sequence, is too.
    const whole = await measure(model, [pack(docs, 8, 16)]);
    const sequences = Array.from({ length: 4 }, (_, b) => cut(pack(docs, 8, 16), 2 * b, 2 * b + 2)).filter((batch) => batch.used > 0);
    const parts = await measure(model, sequences);
    expect(sequences.length).toBeGreaterThan(1);
    expect(Object.keys(parts.sums).sort()).toEqual(Object.keys(whole.sums).sort());
    for (const [key, value] of Object.entries(whole.sums)) expect(parts.sums[key], key).toBeCloseTo(value, 10);
    expectSame(parts.gradients, whole.gradients, 1e-10);
    expect(parts.loads).toEqual(whole.loads);
  });

  test("mtpShare: the prediction head learns from the first sequences alone, the rest from all", async () => {
    const model = tinyModel(config, "f64");
    const batch = pack(docs, 8, 16);
    const whole = await measure(model, [batch]);
    const some = await measure(model, [batch], { ...weights, mtpShare: 0.25 });
    const first = await measure(model, [cut(batch, 0, 2)]);
    expect(some.sums.loss).toBeCloseTo(whole.sums.loss as number, 10);
    if (name === "llama") return;
    expect(some.sums.mtp_loss).toBeCloseTo(first.sums.mtp_loss as number, 10);
    expect(some.sums.mtp_loss).not.toBeCloseTo(whole.sums.mtp_loss as number, 3);
    expect(some.loads.slice(0, 4)).toEqual(whole.loads.slice(0, 4));
    expect(some.loads.slice(4)).toEqual(first.loads.slice(4));
    const head = [...some.gradients.keys()].filter((key) => key.includes("eh_proj"));
    expect(head).toHaveLength(1);
    const of = ({ gradients }: typeof some) => new Map(head.map((key) => [key, gradients.get(key) as number[]]));
    expectSame(of(some), of(first), 1e-9);
    const parts = await measure(model, [cut(batch, 0, 4), cut(batch, 4, 8)], { ...weights, mtpShare: 0.5 });
    expect(parts.sums.loss).toBeCloseTo(whole.sums.loss as number, 10);
  });

  test("padding changes nothing", async () => {
    const model = tinyModel(config, "f64");
    const list = documents(3, true).map((document) => ({ ...document, ids: document.ids.slice(0, 4), mask: document.mask?.slice(0, 4) }));
    const tight = await measure(model, [pack(list, 1, 12)]);
    const loose = await measure(model, [pack(list, 1, 20)]);
    expect(tight.sums).toMatchObject(mapped(loose.sums, (x) => expect.closeTo(x, 10)));
    expectSame(tight.gradients, loose.gradients, 1e-10);
    expect(tight.loads).toEqual(loose.loads);
    if (name === "deepseek") expect(tight.loads.reduce((a, b) => a + b)).toBe(12 * 2 * 2); // rows · K, in the mixture layer and the head's
  });

  test("the loss is that of the completion alone", async () => {
    const model = tinyModel(config, "f64");
    const masked = pack(docs, 8, 16);
    const { sums } = await measure(model, [masked]);
    // By hand: the mean of -log softmax over the rows whose next token is in a completion.
    const logits = await logitsOf(model, masked);
    let total = 0;
    let right = 0;
    let uncertainty = 0;
    let rows = 0;
    for (const [b, document] of docs.entries()) {
      const start = masked.starts[b] as number;
      for (let i = 0; i + 1 < document.ids.length; i++) {
        if (document.mask?.[i + 1] !== 1) continue;
        const row = logits.slice((start + i) * 13, (start + i + 1) * 13);
        const logp = logSoftmax(row);
        total -= logp[document.ids[i + 1] as number] as number;
        uncertainty -= logp.reduce((sum, l) => sum + Math.exp(l) * l, 0);
        if (row.indexOf(Math.max(...row)) === document.ids[i + 1]) right++;
        rows++;
      }
    }
    expect(rows).toBe(masked.tokens);
    expect(sums.loss).toBeCloseTo(total / rows, 10);
    expect(sums.entropy).toBeCloseTo(uncertainty / rows, 10);
    expect(sums.mean_token_accuracy).toBeCloseTo(right / rows, 10);
  });

  test("a batch without targets costs 0 and moves nothing", async () => {
    const model = tinyModel(config, "f64");
    const silent = pack(
      documents(2, false).map(({ ids }) => ({ ids, mask: ids.map(() => 0) })),
      2,
      16,
    );
    const { sums, gradients } = await measure(model, [silent], { mtpWeight: 0.3, balanceWeight: 0 });
    expect(sums.total).toBe(0);
    for (const numbers of gradients.values()) expect(numbers.every((x) => x === 0)).toBe(true);
  });

  test("gradients are those of finite differences", async () => {
    const model = tinyModel(config, "f64");
    const batches = [pack(docs.slice(0, 3), 2, 16)];
    const { gradients, sums } = await measure(model, batches);
    expect(sums.total).toBeGreaterThan((sums.loss as number) * 0.9);
    for (const [key, numbers] of gradients) {
      const tensor = model.parameters.get(key) as Tensor;
      const before = Array.from(await read(tensor));
      const index = numbers.map(Math.abs).indexOf(Math.max(...numbers.map(Math.abs)));
      const at = async (x: number) => {
        write(tensor, before.with(index, x));
        return (await lossOf(model, batches[0] as Batch)) as number;
      };
      const eps = 1e-6;
      const slope = ((await at((before[index] as number) + eps)) - (await at((before[index] as number) - eps))) / (2 * eps);
      write(tensor, before);
      expect(Math.abs(slope - numbers[index]!), key).toBeLessThan(1e-5 * Math.max(1e-2, Math.abs(slope)));
    }
  });
});

test("the balance loss and the loads are those of the definition", async () => {
  const model = tinyModel(deepseekConfig, "f64");
  const docs = documents(5, false);
  const batch = pack(docs, 3, 24);
  const { sums, loads } = await measure(model, [batch], { mtpWeight: 0, balanceWeight: 1 });
  const { scores, indices } = await routingOf(model, batch);
  const [E, K] = [4, 2];
  let expected = 0;
  const counted = new Array<number>(E).fill(0);
  for (let b = 0; b < 3; b++) {
    const rows = Array.from({ length: 24 }, (_, t) => b * 24 + t).filter((r) => batch.nextIds[r] !== -1 || batch.first[r] !== r);
    if (rows.length === 0) continue;
    for (let e = 0; e < E; e++) {
      const chosen = rows.filter((r) => indices.slice(r * K, r * K + K).includes(e)).length;
      counted[e] = (counted[e] as number) + chosen;
      const f = (E / (K * rows.length)) * chosen;
      const P =
        rows.reduce((sum, r) => sum + (scores[r * E + e] as number) / scores.slice(r * E, r * E + E).reduce((a, x) => a + x, 0), 0) /
        rows.length;
      expected += f * P;
    }
  }
  const sequences = new Set(batch.starts.map((start) => Math.floor(start / 24))).size;
  expect(sums.balance_loss).toBeCloseTo(expected / sequences, 10);
  expect(loads).toEqual(counted);
  expect(batch.used).toBeLessThan(72); // there was padding to leave out
});

test("multi-token prediction is the cross-entropy of the token after the next", async () => {
  const model = tinyModel(deepseekConfig, "f64");
  const docs = documents(3, false);
  const batch = pack(docs, 3, 16);
  const { sums } = await measure(model, [batch], { mtpWeight: 0.5, balanceWeight: 0 });
  const logits = await logitsOf(model, batch, true);
  let total = 0;
  let rows = 0;
  for (const [d, { ids }] of docs.entries()) {
    for (let i = 0; i + 2 < ids.length; i++, rows++) {
      const r = (batch.starts[d] as number) + i;
      total -= logSoftmax(logits.slice(r * 13, r * 13 + 13))[ids[i + 2] as number] as number;
    }
  }
  expect(sums.mtp_loss).toBeCloseTo(total / rows, 10);
  expect(sums.total).toBeCloseTo((sums.loss as number) + 0.5 * (sums.mtp_loss as number), 10);
});

test("without its weight the prediction head is neither run nor trained", async () => {
  const model = tinyModel(deepseekConfig, "f64");
  const names = [...trainedParameters(model, false).keys()];
  expect(names.some((name) => name.startsWith("model.layers.2."))).toBe(false);
  expect([...trainedParameters(model, true).keys()].filter((name) => name.startsWith("model.layers.2.")).length).toBeGreaterThan(5);
  expect(names.length).toBeGreaterThan(5);
  const { sums } = await measure(model, [pack(documents(3, false), 3, 16)], { mtpWeight: 0, balanceWeight: 0 });
  expect(sums.mtp_loss).toBeUndefined();
});

test("gates without a selection bias (DeepSeek-V2, Qwen3-MoE) are balanced by the loss alone", async () => {
  for (const name of ["qwen3-moe", "deepseek-v2-lite"]) {
    const model = tinyModel(readJson<Record<string, unknown>>(`${name}/config.json`), "f64");
    const { sums, gradients, loads } = await measure(model, [pack(documents(3, false), 3, 16)], { mtpWeight: 0, balanceWeight: 1 });
    expect(sums.balance_loss).toBeGreaterThan(0.5); // 1 when experts are used evenly
    expect(sums.total).toBeCloseTo((sums.loss as number) + (sums.balance_loss as number), 10);
    expect(gradients.get("model.layers.1.mlp.gate.weight")?.some((x) => x !== 0)).toBe(true);
    expect(loads).toEqual([]);
  }
});

test("the bias falls for experts above the mean load and rises below it, over all microbatches", async () => {
  const model = tinyModel(llamaConfig, "f32");
  const before = liveStorageCount();
  const bias = fromArray(model.device, [0, 0, 0, 0], [4]);
  const balancer = new BiasBalancer(0.25);
  for (let step = 0; step < 2; step++) {
    balancer.clear();
    expect(await balancer.loads()).toBeUndefined();
    for (const counts of [
      [9, 1, 0, 2],
      [0, 1, 2, 1],
    ]) {
      scope(() => balancer.add([{ layer: 1, bias, counts: fromArray(model.device, counts, [4]) }]));
    }
    // What the logs show: this step alone, all microbatches together.
    expect(await balancer.loads()).toEqual({ 1: [9, 2, 2, 3] });
    balancer.apply();
  }
  expect(Array.from(await read(bias))).toEqual([-0.5, 0.5, 0.5, 0.5]); // sums 9, 2, 2, 3: mean 4
  balancer.dispose();
  dispose(bias);
  expect(liveStorageCount()).toBe(before);
});

function mapped<T>(record: Record<string, number>, f: (x: number) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));
}

function logSoftmax(row: readonly number[]): number[] {
  const top = Math.max(...row);
  const lse = top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return row.map((x) => x - lse);
}

/** Sequences from..to-1 of a batch. */
function cut(batch: Batch, from: number, to: number): Batch {
  const { T } = batch;
  const part = (data: Int32Array) => data.slice(from * T, to * T);
  const shifted = (data: Int32Array) => part(data).map((row) => row - from * T);
  const targets = part(batch.targets);
  const starts = batch.starts.filter((start) => start >= from * T && start < to * T);
  return {
    ...batch,
    B: to - from,
    ids: part(batch.ids),
    targets,
    positions: part(batch.positions),
    first: shifted(batch.first),
    last: shifted(batch.last),
    nextIds: part(batch.nextIds),
    mtpTargets: part(batch.mtpTargets),
    tokens: targets.filter((target) => target >= 0).length,
    used: starts.length,
    documents: starts.length,
    starts,
  };
}

function inputOf(model: Model, batch: Batch, next: boolean) {
  const indices = (data: Int32Array) => fromArray(model.device, data, [data.length], "i32");
  const { ids, positions, first, last, nextIds, B } = batch;
  return {
    ids: indices(ids),
    positions: indices(positions),
    first: indices(first),
    last: indices(last),
    parts: B,
    ...(next && { nextIds: indices(nextIds) }),
  };
}

async function logitsOf(model: Model, batch: Batch, next = false): Promise<number[]> {
  const logits = noGradients(() =>
    scope(() => {
      const output = model.forward(inputOf(model, batch, next));
      return next ? (output.mtpLogits as Tensor) : output.logits;
    }),
  );
  return Array.from(await read(logits));
}

async function routingOf(model: Model, batch: Batch): Promise<{ scores: number[]; indices: number[] }> {
  const routing = noGradients(() => scope(() => model.forward(inputOf(model, batch, false)).routing[0]));
  if (!routing) throw new Error("no mixture layer");
  return { scores: Array.from(await read(routing.scores)), indices: Array.from(await read(routing.indices)) };
}

async function lossOf(model: Model, batch: Batch): Promise<number> {
  const loss = noGradients(() => scope(() => recordTokenLoss(model, batch, totalsOf([batch]), weights, false).loss));
  const value = (await read(loss))[0] as number;
  dispose(loss);
  return value;
}
