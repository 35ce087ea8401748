import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { FormatError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import {
  bias,
  buffer,
  type CheckpointTensor,
  copyOf,
  disposeWeights,
  listTensors,
  loadWeights,
  makeWeights,
  matrix,
  norm,
  skip,
  stack,
} from "../../src/models/weights.ts";
import { liveStorageCount, read } from "../../src/tensor/tensor.ts";

const entries = [
  matrix("model.embed_tokens.weight", 4, 3),
  norm("model.layers.0.input_layernorm.weight", 3),
  bias("model.layers.0.o_proj.bias", 3),
  buffer("model.layers.0.mlp.gate.e_score_correction_bias", 2),
  stack("model.layers.0.mlp.experts.{e}.up_proj.weight", 2, 5, 3),
  copyOf("model.layers.1.embed_tokens.weight", "model.embed_tokens.weight", [4, 3]),
  skip("lm_head.weight", "tied"),
];

let device: Device;
beforeAll(() => {
  device = openReference({ precision: "f32" });
});
afterAll(() => device.close());

function tensor(name: string, ...shape: number[]): CheckpointTensor {
  const length = shape.reduce((a, b) => a * b, 1);
  const start = [...name].reduce((total, char) => total + (char.codePointAt(0) as number), 0);
  return { name, shape, readF32: async () => Float32Array.from({ length }, (_, i) => start + i) };
}

const complete = [
  tensor("model.embed_tokens.weight", 4, 3),
  tensor("model.layers.0.input_layernorm.weight", 3),
  tensor("model.layers.0.o_proj.bias", 3),
  tensor("model.layers.0.mlp.gate.e_score_correction_bias", 2),
  tensor("model.layers.0.mlp.experts.1.up_proj.weight", 5, 3),
  tensor("model.layers.0.mlp.experts.0.up_proj.weight", 5, 3),
];

async function complaint(tensors: Iterable<CheckpointTensor>): Promise<string> {
  const before = liveStorageCount();
  const error = await loadWeights(device, entries, tensors).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(FormatError);
  expect(liveStorageCount()).toBe(before);
  return (error as Error).message;
}

test("experts are stacked in the order of their numbers, whatever the order of the file; buffers need no gradient", async () => {
  const weights = await loadWeights(device, entries, complete);
  expect([...weights.parameters.keys()]).toEqual([
    "model.embed_tokens.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.0.o_proj.bias",
    "model.layers.0.mlp.experts.up_proj.weight",
  ]);
  const stacked = weights.parameters.get("model.layers.0.mlp.experts.up_proj.weight")!;
  expect(stacked.shape).toEqual([2, 5, 3]);
  const expected = await Promise.all([complete[5]!.readF32(), complete[4]!.readF32()]);
  expect([...(await read(stacked))]).toEqual([...expected[0], ...expected[1]]);
  expect([...weights.parameters.values()].every(({ requiresGrad }) => requiresGrad)).toBe(true);
  expect([...weights.buffers].map(([name, { requiresGrad }]) => [name, requiresGrad])).toEqual([
    ["model.layers.0.mlp.gate.e_score_correction_bias", false],
  ]);
  disposeWeights(weights);
});

test("what is listed for saving has the names of the file, one tensor per expert, copies written out, skipped rows not", async () => {
  const weights = await loadWeights(device, entries, complete);
  const listed = listTensors(
    entries.map(({ row }) => row),
    weights,
  );
  expect(listed.map(({ name }) => name)).toEqual([
    "model.embed_tokens.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.0.o_proj.bias",
    "model.layers.0.mlp.gate.e_score_correction_bias",
    "model.layers.0.mlp.experts.0.up_proj.weight",
    "model.layers.0.mlp.experts.1.up_proj.weight",
    "model.layers.1.embed_tokens.weight",
  ]);
  for (const { name, shape, readF32 } of listed) {
    const source = complete.find((other) => other.name === name) ?? complete[0]!;
    expect(shape).toEqual(source.shape);
    expect(await readF32()).toEqual(await source.readF32());
  }
  disposeWeights(weights);
});

describe("refused before anything is allocated", () => {
  test("a missing tensor and its misspelling are shown beside one another", async () => {
    const message = await complaint([...complete.filter(({ name }) => !name.includes("o_proj")), tensor("model.layers.0.o_prj.bias", 3)]);
    expect(message).toContain('no tensor "model.layers.0.o_proj.bias" (nearest: "model.layers.0.o_prj.bias")');
    expect(message).toContain('the unexpected tensor "model.layers.0.o_prj.bias" (nearest: "model.layers.0.o_proj.bias")');
  });
  test("a missing expert names the nearest that is there", async () => {
    const message = await complaint(complete.filter(({ name }) => !name.includes("experts.1")));
    expect(message).toContain(
      'no tensor "model.layers.0.mlp.experts.1.up_proj.weight" (nearest: "model.layers.0.mlp.experts.0.up_proj.weight"',
    );
  });
  test("an unexpected tensor", async () => {
    expect(await complaint([...complete, tensor("model.layers.0.mlp.experts.2.up_proj.weight", 5, 3)])).toContain(
      'unexpected tensor "model.layers.0.mlp.experts.2.up_proj.weight"',
    );
  });
  test("a tensor twice", async () => {
    expect(await complaint([...complete, complete[0]!])).toContain("twice");
  });
  test("another shape, of a plain tensor, of one expert, of a copy", async () => {
    const swap = (index: number, ...shape: number[]) => complete.map((one, i) => (i === index ? tensor(one.name, ...shape) : one));
    expect(await complaint(swap(0, 5, 3))).toContain('tensor "model.embed_tokens.weight" of shape [5, 3]; expected [4, 3]');
    expect(await complaint(swap(4, 3, 5))).toContain('experts.1.up_proj.weight" of shape [3, 5]; expected [5, 3]');
    expect(await complaint([...complete, tensor("model.layers.1.embed_tokens.weight", 4, 4)])).toContain(
      "model.layers.1.embed_tokens.weight",
    );
  });
  test("many wrong names are counted, hostile ones made harmless", async () => {
    const hostile = Array.from({ length: 50 }, (_, i) => tensor(`\u001b[2J${"x".repeat(5000)}${i}`, 1));
    const message = await complaint([...complete, ...hostile]);
    expect(message).toContain("and 47 more");
    expect(message).not.toContain("\u001b");
    expect(message.length).toBeLessThan(3000);
  });
});

test("numbers of another count than the shape says are refused, and what was allocated is freed", async () => {
  const short = complete.map((one, i) => (i === 3 ? { ...one, readF32: async () => new Float32Array(1) } : one));
  expect(await complaint(short)).toContain("1 numbers in tensor");
});

test("new weights: seeded by name, normal with the asked deviation, norms 1, biases and buffers 0", async () => {
  const large = [matrix("a.weight", 100, 50), matrix("b.weight", 100, 50), norm("n.weight", 7), bias("b.bias", 5), buffer("x", 2)];
  const first = makeWeights(device, large, new Random(5), 0.1);
  const again = makeWeights(device, [...large].reverse(), new Random(5), 0.1);
  const a = await read(first.parameters.get("a.weight")!);
  expect(a).toEqual(await read(again.parameters.get("a.weight")!));
  expect(a).not.toEqual(await read(first.parameters.get("b.weight")!));
  const deviation = Math.sqrt(Float64Array.from(a).reduce((total, x) => total + x * x, 0) / a.length);
  expect(deviation).toBeGreaterThan(0.097);
  expect(deviation).toBeLessThan(0.103);
  expect([...(await read(first.parameters.get("n.weight")!))]).toEqual([1, 1, 1, 1, 1, 1, 1]);
  expect([...(await read(first.parameters.get("b.bias")!))]).toEqual([0, 0, 0, 0, 0]);
  expect([...(await read(first.buffers.get("x")!))]).toEqual([0, 0]);
  disposeWeights(first);
  disposeWeights(again);
});
