// The types of a model's tensors, beside what llama.cpp's own files have: a 32-layer Llama-2-7B in q4_k_m has attn_v and ffn_down as q6_k in layers 0
// to 3, 28 to 31 and every third between.

import { describe, expect, test } from "vitest";
import { packedTypes } from "../../src/core/dtype.ts";
import { type MixContext, mixes, typeFor } from "../../src/quantize/mix.ts";

const seven: MixContext = { layers: 32, experts: 0, tied: false, sharesValues: false };
const at = (layer: number, name: string) => `blk.${layer}.${name}.weight`;

describe("llama.cpp's mixes", () => {
  test("q4_k_m and q5_k_m give more bits to attn_v and ffn_down of these layers", () => {
    const more = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];
    for (const [mix, main] of [
      ["q4_k_m", "q4_k"],
      ["q5_k_m", "q5_k"],
    ] as const) {
      for (const name of ["attn_v", "ffn_down"]) {
        const found = Array.from({ length: 32 }, (_, layer) => layer).filter(
          (layer) => typeFor(mix, at(layer, name), [4096, 4096], seven) === "q6_k",
        );
        expect(found, `${mix} ${name}`).toEqual(more);
      }
      for (const name of ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"])
        expect(typeFor(mix, at(0, name), [4096, 4096], seven)).toBe(main);
      expect(typeFor(mix, "token_embd.weight", [32000, 4096], seven)).toBe(main);
      expect(typeFor(mix, "output.weight", [32000, 4096], seven)).toBe("q6_k");
    }
  });

  test("q4_k_s: the first four attn_v and the first eighth of ffn_down are q5_k", () => {
    const of = (name: string) =>
      Array.from({ length: 32 }, (_, layer) => typeFor("q4_k_s", at(layer, name), [4096, 4096], seven)).filter((type) => type === "q5_k")
        .length;
    expect([of("attn_v"), of("ffn_down"), of("ffn_up")]).toEqual([4, 4, 0]);
  });

  test("a head that is tied takes the head's type", () => {
    expect(typeFor("q4_k_m", "token_embd.weight", [32000, 4096], { ...seven, tied: true })).toBe("q6_k");
    expect(typeFor("q4_0", "token_embd.weight", [32000, 4096], { ...seven, tied: true })).toBe("q6_k");
    expect(typeFor("q8_0", "output.weight", [32000, 4096], seven)).toBe("q8_0");
  });

  test("rows that are no multiple of 256 take a type with blocks of 32, others f16", () => {
    const of = (mix: (typeof mixes)[number], width: number) => typeFor(mix, at(5, "ffn_up"), [64, width], seven);
    expect([of("q4_k_m", 96), of("q5_k_m", 96), of("q6_k", 96), of("q4_0", 96), of("q4_0", 100), of("q4_k_m", 100)]).toEqual([
      "q5_0",
      "q5_1",
      "q8_0",
      "q4_0",
      "f16",
      "f16",
    ]);
    expect(typeFor("q4_k_m", "output.weight", [64, 96], seven)).toBe("q8_0");
  });

  test("eight experts: values and keys are q8_0, attn_output has more bits", () => {
    const eight = { ...seven, experts: 8 };
    expect(typeFor("q4_k_m", at(0, "attn_v"), [1024, 4096], eight)).toBe("q8_0");
    expect(typeFor("q4_k_m", at(0, "attn_k"), [1024, 4096], eight)).toBe("q8_0");
    expect(typeFor("q4_k_m", at(9, "attn_output"), [4096, 4096], eight)).toBe("q5_k");
  });

  test("norms, biases, the router and rope factors stay f32 in every mix", () => {
    for (const mix of mixes) {
      for (const [name, shape] of [
        ["blk.0.attn_norm.weight", [4096]],
        ["blk.0.attn_q.bias", [4096]],
        ["blk.0.exp_probs_b.bias", [64]],
        ["blk.0.ffn_gate_inp.weight", [64, 4096]],
        ["rope_freqs.weight", [64]],
      ] as const)
        expect(typeFor(mix, name, shape, seven)).toBe("f32");
    }
  });

  test("whatever the width, the type's blocks fit into it", () => {
    for (const mix of mixes) {
      for (const width of [1, 31, 32, 48, 64, 96, 128, 255, 256, 320, 512]) {
        for (const name of ["token_embd.weight", "output.weight", at(0, "attn_v"), at(3, "ffn_down"), at(3, "ffn_up_exps")]) {
          const type = typeFor(mix, name, [8, width], seven);
          if (type !== "f32") expect(width % packedTypes[type].weights, `${mix} ${name} ${width}: ${type}`).toBe(0);
        }
      }
    }
  });
});
