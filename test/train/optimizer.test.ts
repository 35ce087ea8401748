import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { dispose, fromArray, liveStorageCount, read, type Tensor, view, write } from "../../src/tensor/tensor.ts";
import { AdamW, adamwFields } from "../../src/train/optimizer.ts";
import { resolveOptions } from "../../src/train/options.ts";

type Fixture = {
  shapes: Record<string, number[]>;
  start: Record<string, number[]>;
  steps: { learningRate: number; gradients: Record<string, number[]>; norm: number; after: Record<string, number[]> | null }[];
};

const fixture: Fixture = JSON.parse(readFileSync(new URL("../fixtures/train/adamw.json", import.meta.url), "utf8"));
const defaults = resolveOptions("test", adamwFields, {});

function setUp(precision: "f32" | "f64", options = defaults) {
  const device = openReference({ precision });
  const parameters = new Map<string, Tensor>();
  for (const [name, shape] of Object.entries(fixture.shapes))
    parameters.set(name, fromArray(device, fixture.start[name] as number[], shape));
  const optimizer = new AdamW(device, parameters, options);
  const packed = fromArray(device, [0, 0, 0], [3]);
  const at = (offset: number) => ({ buffer: packed.storage.buffer, offset });
  async function step(gradients: Record<string, number[]>, learningRate: number, loss = 1) {
    write(packed, [loss, 0, 0]);
    optimizer.zeroGrads();
    for (const [name, gradient] of Object.entries(gradients)) write((parameters.get(name) as Tensor).grad as Tensor, gradient);
    optimizer.step(learningRate, { guard: at(0), sumSquares: at(1), factor: at(2) });
    const [, sumSquares, factor] = await read(packed);
    optimizer.settle((factor as number) >= 0);
    return { norm: Math.sqrt(sumSquares as number), factor: factor as number };
  }
  const numbers = async () =>
    Object.fromEntries(
      await Promise.all(Array.from(parameters, async ([name, tensor]) => [name, Array.from(await read(tensor))] as const)),
    );
  return { device, parameters, optimizer, packed, step, numbers };
}

function largestDifference(a: Record<string, number[]>, b: Record<string, number[]>): number {
  return Math.max(...Object.keys(b).flatMap((name) => (b[name] as number[]).map((x, i) => Math.abs(x - (a[name] as number[])[i]!))));
}

describe.each([
  ["f64", 1e-12],
  ["f32", 2e-6],
] as const)("twenty steps of PyTorch's AdamW with clipping, %s", (precision, tolerance) => {
  test("parameters and norms agree", async () => {
    const { optimizer, step, numbers } = setUp(precision);
    let compared = 0;
    let clipped = 0;
    for (const { learningRate, gradients, norm, after } of fixture.steps) {
      const found = await step(gradients, learningRate);
      expect(Math.abs(found.norm - norm) / norm).toBeLessThan(tolerance);
      if (found.factor < 1) clipped++;
      if (!after) continue;
      expect(largestDifference(await numbers(), after)).toBeLessThan(tolerance);
      compared++;
    }
    expect(compared).toBe(3);
    expect(clipped).toBe(7); // both branches were taken
    expect(optimizer.steps).toBe(20);
  });
});

test.each([
  ["NaN in a gradient", Number.NaN, 1],
  ["infinity in a gradient", Number.NEGATIVE_INFINITY, 1],
  ["a loss that is not finite", 0.5, Number.NaN],
])("%s: nothing moves, not a bit, and the step does not count", async (_name, value, loss) => {
  const { optimizer, step, numbers, parameters } = setUp("f32");
  const { gradients } = fixture.steps[0]!;
  await step(gradients, 0.1);
  const before = await numbers();
  const moments = await Promise.all(optimizer.tensors().map((tensor) => tensor.data()));
  const poisoned = { ...gradients, norm: [...(gradients.norm as number[]).slice(0, 4), value] };
  const { factor } = await step(poisoned, 0.1, loss);
  expect(factor).toBe(-1);
  expect(await numbers()).toEqual(before);
  expect(await Promise.all(optimizer.tensors().map((tensor) => tensor.data()))).toEqual(moments);
  expect(optimizer.steps).toBe(1);
  expect(await optimizer.findNonFinite()).toEqual(Number.isFinite(value) ? [] : ["gradient of norm"]);
  write(parameters.get("bias") as Tensor, [Number.NaN]);
  expect(await optimizer.findNonFinite()).toContain("bias");
});

test("without clipping the gradients pass as they are", async () => {
  const { step } = setUp("f64", { ...defaults, maxGradNorm: null });
  expect((await step(fixture.steps[0]!.gradients, 0.1)).factor).toBe(1);
});

test("a restored optimiser goes on bit for bit", async () => {
  const whole = setUp("f32");
  const first = setUp("f32");
  for (const { learningRate, gradients } of fixture.steps.slice(0, 9)) {
    await whole.step(gradients, learningRate);
    await first.step(gradients, learningRate);
  }
  const second = setUp("f32");
  for (const [name, numbers] of Object.entries(await first.numbers())) write(second.parameters.get(name) as Tensor, numbers);
  const saved = new Map(first.optimizer.tensors().map((tensor) => [tensor.name, tensor.data]));
  await second.optimizer.restore(first.optimizer.steps, async (name) => await (saved.get(name) as () => Promise<Float32Array>)());
  for (const { learningRate, gradients } of fixture.steps.slice(9)) {
    await whole.step(gradients, learningRate);
    await second.step(gradients, learningRate);
  }
  expect(await second.numbers()).toEqual(await whole.numbers());
  await expect(second.optimizer.restore(1, async () => new Float32Array(3))).rejects.toThrow(/restore the optimiser state/);
});

test("dispose gives everything back", () => {
  const before = liveStorageCount();
  const { optimizer, parameters, packed } = setUp("f32");
  optimizer.dispose();
  expect([...parameters.values()].every((parameter) => parameter.grad === undefined)).toBe(true);
  dispose(...parameters.values(), packed);
  expect(liveStorageCount()).toBe(before);
});

test("gradients of all parameters are cleared together", async () => {
  const { optimizer, parameters, step } = setUp("f32");
  await step(fixture.steps[0]!.gradients, 0.1);
  optimizer.zeroGrads();
  for (const parameter of parameters.values()) expect(Array.from(await read(parameter.grad as Tensor)).every((x) => x === 0)).toBe(true);
  expect(view(parameters.get("norm")!.grad as Tensor).offset % 16).toBe(0);
});
