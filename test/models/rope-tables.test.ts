import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { parseRope, type RawConfig } from "../../src/models/config.ts";
import { attentionFactor, makeRopeTables, ropeFrequencies, softmaxFactor } from "../../src/models/rope-tables.ts";
import { dispose, read } from "../../src/tensor/tensor.ts";
import { readJson } from "./fixtures.ts";

type Row = {
  readonly name: string;
  readonly config: RawConfig;
  readonly dims: number;
  readonly frequencies: number[];
  readonly attention_factor: number;
  readonly softmax_factor: number;
};

for (const { name, config, dims, frequencies, attention_factor, softmax_factor } of readJson<Row[]>("rope.json")) {
  test(`${name}: frequencies and factors are transformers'`, () => {
    const rope = parseRope(config);
    const ours = ropeFrequencies(rope, dims);
    expect(ours.length).toBe(frequencies.length);
    // transformers computes in float32.
    for (const [i, frequency] of frequencies.entries()) expect(Math.abs((ours[i] as number) / frequency - 1)).toBeLessThan(2e-6);
    expect(attentionFactor(rope)).toBeCloseTo(attention_factor, 12);
    expect(softmaxFactor(rope)).toBeCloseTo(softmax_factor, 12);
  });
}

test("far positions are as exact as near ones", async () => {
  const device = openReference({ precision: "f64" });
  const rope = parseRope({ rope_theta: 1e6 });
  const rows = 131072;
  const tables = makeRopeTables(device, rope, 8, rows);
  const [cos, sin] = await Promise.all([read(tables.cos), read(tables.sin)]);
  const frequencies = ropeFrequencies(rope, 8);
  for (const position of [131071, 130816, 130815, 65535, 255, 256]) {
    for (const [i, frequency] of frequencies.entries()) {
      expect(Math.abs((cos[position * 4 + i] as number) - Math.cos(position * frequency))).toBeLessThan(1e-10);
      expect(Math.abs((sin[position * 4 + i] as number) - Math.sin(position * frequency))).toBeLessThan(1e-10);
    }
  }
  dispose(tables.cos, tables.sin);
});

test("DeepSeek-V3's factors: mscale(40) = 1.3689, its square on the softmax scale, none on cos and sin", () => {
  const rope = parseRope({
    rope_scaling: { type: "yarn", factor: 40, mscale: 1, mscale_all_dim: 1, original_max_position_embeddings: 4096 },
  });
  expect(softmaxFactor(rope)).toBeCloseTo(1.8739, 4);
  expect(attentionFactor(rope)).toBe(1);
});

test("tables hold cos and sin of position times frequency, times the factor", async () => {
  const device = openReference({ precision: "f64" });
  const rope = parseRope({ rope_theta: 100, rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32 } });
  const rows = 2 * 256 + 9; // two whole blocks and a part
  const tables = makeRopeTables(device, rope, 6, rows);
  const frequencies = ropeFrequencies(rope, 6);
  expect(tables.cos.shape).toEqual([rows, 3]);
  const [cos, sin] = await Promise.all([read(tables.cos), read(tables.sin)]);
  const factor = 0.1 * Math.log(4) + 1;
  for (let position = 0; position < rows; position++) {
    for (const [i, frequency] of frequencies.entries()) {
      expect(cos[position * 3 + i]).toBeCloseTo(Math.cos(position * frequency) * factor, 12);
      expect(sin[position * 3 + i]).toBeCloseTo(Math.sin(position * frequency) * factor, 12);
    }
  }
  dispose(tables.cos, tables.sin);
});
