// The checks that every device must pass with every family: the numbers of transformers, cached = uncached bit for bit, absorbed = plain, the
// round trip, and no leaks. Call familySuite from a test file with a device.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { loadModel, saveModel } from "../../src/models/load.ts";
import type { ForwardInput, Model } from "../../src/models/model.ts";
import { affine } from "../../src/ops/affine.ts";
import { add } from "../../src/ops/binary.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { zeros } from "../../src/ops/fill.ts";
import { gatherRows } from "../../src/ops/gather-rows.ts";
import { sum } from "../../src/ops/sum-axis.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { dispose, keep, liveStorageCount, read, scope, type Tensor } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";
import { appended, appendedToPages, type Expected, fromRows, loadFixture, packed, readExpected } from "./fixtures.ts";

/** By family; deepseek_v2 is among DeepSeek's. What each is for stands in tools/reference/make_model_fixtures.py. */
export const fixtures = {
  llama: ["llama-gqa", "llama-tied-llama3", "llama-biases-head-dim", "llama-yarn", "llama-long-llama3", "llama-linear", "llama-f16"],
  qwen: [
    "qwen2-biases",
    "qwen2-tied-yarn",
    "qwen2-bf16",
    "qwen3-tied",
    "qwen3-biases-yarn",
    "qwen3-moe",
    "qwen3-moe-sparse",
    "qwen3-moe-bf16",
  ],
  deepseek: [
    "deepseek-groups",
    "deepseek-whole-query",
    "deepseek-yarn",
    "deepseek-mtp",
    "deepseek-masked-zero",
    "deepseek-long-yarn",
    "deepseek-f16",
    "deepseek-fp8",
    "deepseek-fp8-ue8m0",
    "deepseek-v2-lite",
    "deepseek-v2-groups",
    "deepseek-v2-bf16",
  ],
} as const;

type Form = { readonly expanded?: boolean; readonly absorbed?: boolean; readonly pageSize?: number };

const inPages: readonly Form[] = [{ pageSize: 1 }, { pageSize: 4 }];

type Family = keyof typeof fixtures;

/** `names`: those of the family's fixtures that are tried; default all. */
export function familySuite<F extends Family>(
  family: F,
  label: string,
  open: () => Device | Promise<Device>,
  names: readonly (typeof fixtures)[F][number][] = fixtures[family],
): void {
  const isLatent = family === "deepseek";
  for (const name of names) {
    describe(`${name} on ${label}`, () => {
      const opened = commonTests(
        name,
        open,
        isLatent ? [{}, { expanded: true }, ...inPages, { expanded: true, pageSize: 4 }] : [{}, ...inPages],
      );
      if (isLatent)
        test("the absorbed form gives the plain form's logits within 1e-5 of their size, in pages the same bits", () =>
          absorbedTest(opened()));
      if (isLatent || name.includes("moe")) test("routing says what the gates chose", () => routingTest(opened()));
      if (name !== "deepseek-mtp") return;
      test("multi-token prediction is transformers' within 1e-4", () => nextTest(opened()));
      for (const form of [{}, { expanded: true }])
        test(`multi-token prediction over a cache equals the whole pass bit for bit ${JSON.stringify(form)}`, () =>
          cachedNextTest(opened(), form));
      test("absorbed multi-token prediction is the plain one within 1e-5 of its size", () => absorbedNextTest(opened()));
    });
  }
}

type Opened = {
  readonly name: string;
  readonly device: Device;
  readonly model: Model;
  readonly expected: Expected;
  readonly tensors: Map<string, Float32Array>;
};

function commonTests(name: string, open: () => Device | Promise<Device>, forms: readonly Form[]): () => Opened {
  let opened: Opened;
  beforeAll(async () => {
    const device = await open();
    opened = { name, device, ...(await loadFixture(device, name)), tensors: await readExpected(name) };
  });
  afterAll(async () => {
    opened?.model.dispose();
    await opened?.device.close();
  });
  test("logits are transformers' within 1e-4", () => logitsTest(opened));
  test("gradient norms are PyTorch's within 1e-3", () => gradientTest(opened));
  test("24 greedy tokens are transformers'", () => greedyTest(opened));
  for (const form of forms) {
    test(`cached decoding of two sequences equals the whole forward pass bit for bit ${JSON.stringify(form)}`, () =>
      cachedTest(opened, form));
  }
  test("saving and loading gives the same logits bit for bit", () => roundTripTest(opened));
  test("a forward pass outside of training leaves nothing behind", () => leakTest(opened));
  return () => opened;
}

/** Runs a forward pass and copies out its logits; everything else is freed. */
async function logitsOf(model: Model, make: () => ForwardInput): Promise<Float64Array> {
  const logits = scope(() => model.forward(make()).logits);
  const values = Float64Array.from(await read(logits));
  dispose(logits);
  return values;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= largest)) largest = difference; // NaN counts
  }
  return largest;
}

function expectedLogits({ expected, tensors }: Opened, prefix = "logits"): number[] {
  return expected.ids.flatMap((_, i) => [...(tensors.get(`${prefix}.${i}`) as Float32Array)]);
}

async function logitsTest(opened: Opened): Promise<void> {
  const { device, model, expected } = opened;
  const logits = await logitsOf(model, () => packed(device, expected.ids));
  expect(largestDifference(logits, expectedLogits(opened))).toBeLessThanOrEqual(1e-4);

  const total = expected.ids.flat().length;
  const wanted = [total - 1, 2];
  const some = await logitsOf(model, () => ({ ...packed(device, expected.ids), outputRows: fromRows(device, wanted) }));
  const V = model.vocabSize;
  expect([...some]).toEqual(wanted.flatMap((row) => [...logits.subarray(row * V, (row + 1) * V)]));
}

async function gradientTest({ device, model, expected }: Opened): Promise<void> {
  for (const parameter of model.parameters.values()) parameter.grad = keep(() => zeros(device, parameter.shape));
  const after = (step: number) => expected.ids.flatMap((ids) => ids.map((_, t) => ids[t + step] ?? -1));
  const count = (step: number) => after(step).filter((id) => id >= 0).length;
  const losses = scope(() => {
    const [loss, mtpLoss] = trackGradients(() => {
      const input = packed(device, expected.ids);
      const output = model.forward(expected.mtp_loss === null ? input : { ...input, nextIds: fromRows(device, after(1)) });
      const mean = (logits: Tensor, step: number) => affine(sum(crossEntropy(logits, fromRows(device, after(step)))), 1 / count(step));
      const main = mean(output.logits, 1);
      return [main, output.mtpLogits && mean(output.mtpLogits, 2)] as const;
    });
    backward(mtpLoss ? trackGradients(() => add(loss, affine(mtpLoss, expected.mtp_weight))) : loss);
    return mtpLoss ? [loss, mtpLoss] : [loss];
  });
  const values = await Promise.all(losses.map(async (loss) => (await read(loss))[0] as number));
  dispose(...losses);
  expect(values[0]).toBeCloseTo(expected.loss, 4);
  if (expected.mtp_loss !== null) expect(values[1]).toBeCloseTo(expected.mtp_loss, 4);

  const norms: Record<string, number> = {};
  for (const row of model.weightTable) {
    if (row.action !== "as-is" && row.action !== "stack") continue;
    const grad = model.parameters.get(row.parameter)?.grad;
    if (!grad) continue;
    const all = Float64Array.from(await read(grad));
    const parts = row.action === "stack" ? row.count : 1;
    for (let e = 0; e < parts; e++) {
      const part = all.subarray((e * all.length) / parts, ((e + 1) * all.length) / parts);
      norms[row.name.replace("{e}", String(e))] = Math.sqrt(part.reduce((total, x) => total + x * x, 0));
    }
  }
  for (const parameter of model.parameters.values()) {
    if (parameter.grad) dispose(parameter.grad);
    parameter.grad = undefined;
  }
  expect(Object.keys(norms).sort()).toEqual(Object.keys(expected.gradient_norms).sort());
  const wrong = Object.entries(expected.gradient_norms).filter(
    ([name, norm]) => !(Math.abs((norms[name] as number) - norm) <= 1e-3 * norm + 1e-6),
  );
  expect(wrong.map(([name, norm]) => `${name}: ${norms[name]}, expected ${norm}`)).toEqual([]);
}

async function greedyTest({ device, model, expected }: Opened): Promise<void> {
  const prompt = expected.ids[1] as readonly number[];
  const cache = model.makeCache(1, prompt.length + expected.greedy.length);
  const generated: number[] = [];
  let past = 0;
  let ids = prompt;
  while (generated.length < expected.greedy.length) {
    const logits = await logitsOf(model, () => {
      const { rows, ...input } = appended(device, cache.length, [{ slot: 0, past, ids }]);
      return { ...input, cache: { cache, rows }, outputRows: fromRows(device, [ids.length - 1]) };
    });
    past += ids.length;
    ids = [logits.indexOf(Math.max(...logits))];
    generated.push(...ids);
  }
  cache.dispose();
  expect(generated).toEqual(expected.greedy);
}

const slots = [2, 0];
const pieces = [
  [0, 4],
  [4, 5],
  [5, 6],
  [6, 7],
  [7, 11],
  [11, 31],
] as const;

/** The logits of both sequences, fed in pieces into slots 2 and 0 of a cache, together in each call. */
async function inPieces({ device, model, expected }: Opened, { expanded, absorbed, pageSize }: Form): Promise<Float64Array[]> {
  const pages = pageSize === undefined ? undefined : { pageCount: 3 * Math.ceil(31 / pageSize), pageSize, slots: 3 };
  const cache = pages ? model.makeCache(pages.pageCount, pages.pageSize, { expanded }) : model.makeCache(3, 31, { expanded });
  const found: number[][] = expected.ids.map(() => []);
  for (const [from, to] of pieces) {
    const parts = expected.ids.map((ids, i) => ({ slot: slots[i] as number, past: from, ids: ids.slice(from, to) }));
    if (parts.every(({ ids }) => ids.length === 0)) continue;
    const logits = await logitsOf(model, () => {
      const { rows, pages: table, ...input } = pages ? appendedToPages(device, pages, parts) : { ...appended(device, cache.length, parts) };
      return { ...input, cache: { cache, rows, pages: table }, absorbed };
    });
    let row = 0;
    for (const [i, { ids }] of parts.entries()) {
      found[i]?.push(...logits.subarray(row * model.vocabSize, (row + ids.length) * model.vocabSize));
      row += ids.length;
    }
  }
  cache.dispose();
  return found.map((values) => Float64Array.from(values));
}

async function cachedTest(opened: Opened, form: Form): Promise<void> {
  const { device, model, expected } = opened;
  const whole = await logitsOf(model, () => packed(device, expected.ids));
  const pieces = await inPieces(opened, form);
  expect(pieces.map(({ length }) => length)).toEqual(expected.ids.map(({ length }) => length * model.vocabSize));
  expect([...(pieces[0] as Float64Array), ...(pieces[1] as Float64Array)]).toEqual([...whole]);
}

async function absorbedTest(opened: Opened): Promise<void> {
  const plain = await inPieces(opened, {});
  const absorbed = await inPieces(opened, { absorbed: true });
  for (const { pageSize } of inPages) expect(await inPieces(opened, { absorbed: true, pageSize })).toEqual(absorbed);
  for (const [i, logits] of absorbed.entries()) {
    const size = Math.max(...(plain[i] as Float64Array).map(Math.abs));
    expect(largestDifference(logits, plain[i] as Float64Array)).toBeLessThanOrEqual(1e-5 * Math.max(1, size));
    expect([...logits]).not.toEqual([...(plain[i] as Float64Array)]); // it is another sum, so this proves that it ran
  }
}

async function nextTest(opened: Opened): Promise<void> {
  const { device, model, expected } = opened;
  const nextIds = expected.ids.flatMap((ids) => ids.map((_, t) => ids[t + 1] ?? -1));
  const logits = scope(() => model.forward({ ...packed(device, expected.ids), nextIds: fromRows(device, nextIds) }).mtpLogits as Tensor);
  const values = await read(logits);
  dispose(logits);
  const V = model.vocabSize;
  const known = nextIds.flatMap((id, row) => (id < 0 ? [] : [...values.subarray(row * V, (row + 1) * V)]));
  expect(largestDifference(known, expectedLogits(opened, "mtp_logits"))).toBeLessThanOrEqual(1e-4);
}

/**
 * mtpLogits of both sequences over a cache. The forward passes know the next token of all rows but each piece's last; there it comes from
 * predictNext afterwards, as a draft does once the token was sampled.
 */
async function nextInPieces({ device, model, expected }: Opened, { expanded, absorbed }: Form): Promise<Float64Array[]> {
  const cache = model.makeCache(3, 31, { expanded, nextHead: true });
  const V = model.vocabSize;
  const found: number[][] = expected.ids.map(() => []);
  for (const [from, to] of pieces) {
    const parts = expected.ids.map((ids, i) => ({ slot: slots[i] as number, past: from, ids: ids.slice(from, to) }));
    const kept = parts.flatMap(({ ids }, i) => ids.map((_, t) => ({ i, at: from + t, isLast: t === ids.length - 1 })));
    if (kept.length === 0) continue;
    const next = ({ i, at }: { i: number; at: number }) => expected.ids[i]?.[at + 1] ?? -1;
    const ends = kept.flatMap(({ isLast }, row) => (isLast ? [row] : []));
    const rest = kept.flatMap(({ isLast }, row) => (isLast ? [] : [row]));
    const outputs = scope(() => {
      const { rows, ...input } = appended(device, cache.length, parts);
      const before = model.forward({
        ...input,
        cache: { cache, rows },
        absorbed,
        withHidden: true,
        nextIds: fromRows(
          device,
          kept.map((row) => (row.isLast ? -1 : next(row))),
        ),
        ...(rest.length > 0 && { nextRows: fromRows(device, rest) }),
      });
      const pick = (tensor: Tensor) => gatherRows(tensor, fromRows(device, ends));
      const after = model.predictNext?.({
        hidden: pick(before.hidden as Tensor),
        nextIds: fromRows(
          device,
          ends.map((row) => next(kept[row] as (typeof kept)[number])),
        ),
        positions: pick(input.positions),
        first: pick(input.first),
        last: pick(input.last),
        cache: { cache, rows: pick(rows) },
        absorbed,
      });
      return [before.mtpLogits as Tensor, after?.logits as Tensor] as const;
    });
    const [before, after] = await Promise.all(outputs.map(read));
    dispose(...outputs);
    for (const [row, { i }] of kept.entries()) {
      const place = ends.indexOf(row);
      const [values, index] = place < 0 ? [before, rest.indexOf(row)] : [after, place];
      found[i]?.push(...(values?.subarray(index * V, (index + 1) * V) ?? []));
    }
  }
  cache.dispose();
  return found.map((values) => Float64Array.from(values));
}

async function cachedNextTest(opened: Opened, form: Form): Promise<void> {
  const { device, model, expected } = opened;
  const nextIds = expected.ids.flatMap((ids) => ids.map((_, t) => ids[t + 1] ?? -1));
  const whole = scope(() => model.forward({ ...packed(device, expected.ids), nextIds: fromRows(device, nextIds) }).mtpLogits as Tensor);
  const values = await read(whole);
  dispose(whole);
  const found = await nextInPieces(opened, form);
  expect([...(found[0] as Float64Array), ...(found[1] as Float64Array)]).toEqual([...values]);
}

async function absorbedNextTest(opened: Opened): Promise<void> {
  const plain = await nextInPieces(opened, {});
  for (const [i, logits] of (await nextInPieces(opened, { absorbed: true })).entries()) {
    const size = Math.max(...(plain[i] as Float64Array).map(Math.abs));
    expect(largestDifference(logits, plain[i] as Float64Array)).toBeLessThanOrEqual(1e-5 * Math.max(1, size));
    expect([...logits]).not.toEqual([...(plain[i] as Float64Array)]);
  }
}

/** Recomputes the choice of every gate from the scores and the bias that it reports. */
async function routingTest({ device, model, expected }: Opened): Promise<void> {
  const { modelType, config } = model;
  const isV3 = modelType === "deepseek_v3";
  const isGrouped = isV3 || config.topk_method === "group_limited_greedy";
  const E = (config.n_routed_experts ?? config.num_experts ?? config.num_local_experts) as number;
  const K = config.num_experts_per_tok as number;
  const groups = isGrouped ? (config.n_group as number) : 1;
  const kept = isGrouped ? (config.topk_group as number) : 1;
  const { routing } = scope(() => model.forward(packed(device, expected.ids)));
  const layers = model.weightTable.flatMap(({ name }) => Number(/layers\.(\d+)\.mlp\.gate\.weight$/.exec(name)?.[1] ?? -1));
  expect(routing.map(({ layer }) => layer)).toEqual(layers.filter((layer) => layer >= 0 && layer < (config.num_hidden_layers as number)));
  expect(routing.length).toBeGreaterThan(0);
  for (const { layer, indices, scores, bias } of routing) {
    expect(bias).toBe(model.buffers.get(`model.layers.${layer}.mlp.gate.e_score_correction_bias`));
    const [chosen, score, lift] = await Promise.all([read(indices), read(scores), bias ? read(bias) : new Float32Array(E)]);
    expect(lift.some((x) => x !== 0)).toBe(isV3);
    const R = expected.ids.flat().length;
    expect([indices.shape, scores.shape]).toEqual([
      [R, K],
      [R, E],
    ]);
    const size = E / groups;
    for (let r = 0; r < R; r++) {
      const choice = Array.from({ length: E }, (_, e) => (score[r * E + e] as number) + (lift[e] as number));
      if (!isV3) expect(choice.reduce((a, b) => a + b)).toBeCloseTo(1, 5); // softmax
      const groupScores = Array.from({ length: groups }, (_, g) =>
        choice
          .slice(g * size, (g + 1) * size)
          .sort((a, b) => b - a)
          .slice(0, isV3 ? 2 : 1)
          .reduce((a, b) => a + b, 0),
      );
      const best = [...groupScores.keys()].sort((a, b) => (groupScores[b] as number) - (groupScores[a] as number)).slice(0, kept);
      const masked = choice.map((x, e) =>
        best.includes(Math.floor(e / size)) ? x : (expected.masked_group_score ?? Number.NEGATIVE_INFINITY),
      );
      const order = [...masked.keys()].sort((a, b) => (masked[b] as number) - (masked[a] as number) || a - b).slice(0, K);
      expect([...chosen.subarray(r * K, (r + 1) * K)]).toEqual(order);
    }
    dispose(indices, scores);
  }
}

async function roundTripTest({ device, model, expected }: Opened): Promise<void> {
  const options = expected.masked_group_score === 0 ? { maskedGroupScore: 0 as const } : {};
  const again = await loadModel(device, saveModel(model), options);
  const input = () => packed(device, expected.ids);
  const before = await logitsOf(model, input);
  const after = await logitsOf(again, input);
  expect([...again.parameters.keys()]).toEqual([...model.parameters.keys()]);
  expect(again.parameterCount).toEqual(model.parameterCount);
  again.dispose();
  expect([...after]).toEqual([...before]);
}

async function leakTest({ device, model, expected }: Opened): Promise<void> {
  const before = liveStorageCount();
  await logitsOf(model, () => packed(device, expected.ids));
  const cache = model.makeCache(1, 4);
  await logitsOf(model, () => {
    const { rows, ...input } = appended(device, cache.length, [{ slot: 0, past: 0, ids: [1, 2] }]);
    return { ...input, cache: { cache, rows } };
  });
  cache.dispose();
  expect(liveStorageCount()).toBe(before);
}
