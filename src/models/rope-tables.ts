// Rotary tables from the config, in float64: cos and sin [positions, dims/2] of position times frequency. The scalings are those of
// transformers' modeling_rope_utils.py: none, linear, Llama 3.1's, and YaRN (Peng et al. 2023) with DeepSeek's mscale. Two
// factors belong to YaRN: one on cos and sin (attentionFactor), one on the softmax scale, which DeepSeek alone uses (softmaxFactor).

import type { Device } from "../backend/backend.ts";
import { empty, keep, type Tensor } from "../tensor/tensor.ts";
import type { RopeConfig } from "./config.ts";

export type RopeTables = { readonly cos: Tensor; readonly sin: Tensor };

/** Rows between which an angle is split. */
const blockRows = 256;

/**
 * cos and sin [rows, dims/2], owned by the caller. An angle is the sum of its block's and its place in the block, so a table for 131,072
 * positions needs thousands of sines, not millions; the sum is exact to a few units of float64. Written block by block.
 */
export function makeRopeTables(device: Device, rope: RopeConfig, dims: number, rows: number): RopeTables {
  const frequencies = ropeFrequencies(rope, dims);
  const factor = attentionFactor(rope);
  const half = dims / 2;
  const inner = Math.min(blockRows, rows);
  const innerCos = new Float64Array(inner * half);
  const innerSin = new Float64Array(inner * half);
  for (let r = 0; r < inner; r++) {
    for (let i = 0; i < half; i++) {
      const angle = r * (frequencies[i] as number);
      innerCos[r * half + i] = Math.cos(angle) * factor;
      innerSin[r * half + i] = Math.sin(angle) * factor;
    }
  }
  const tables = keep(() => ({ cos: empty(device, [rows, half]), sin: empty(device, [rows, half]) }));
  const cos = new Float64Array(inner * half);
  const sin = new Float64Array(inner * half);
  for (let start = 0; start < rows; start += inner) {
    const outerCos = frequencies.map((frequency) => Math.cos(start * frequency));
    const outerSin = frequencies.map((frequency) => Math.sin(start * frequency));
    const count = Math.min(inner, rows - start);
    for (let r = 0, at = 0; r < count; r++) {
      for (let i = 0; i < half; i++, at++) {
        const c = outerCos[i] as number;
        const s = outerSin[i] as number;
        const innerC = innerCos[at] as number;
        const innerS = innerSin[at] as number;
        cos[at] = c * innerC - s * innerS;
        sin[at] = s * innerC + c * innerS;
      }
    }
    device.write(tables.cos.storage.buffer, start * half, cos.subarray(0, count * half));
    device.write(tables.sin.storage.buffer, start * half, sin.subarray(0, count * half));
  }
  return tables;
}

/** Radians per position of each of the dims/2 pairs. */
export function ropeFrequencies(rope: RopeConfig, dims: number): Float64Array {
  const frequencies = Float64Array.from({ length: dims / 2 }, (_, i) => rope.rope_theta ** ((-2 * i) / dims));
  if (rope.rope_type === "linear") return frequencies.map((frequency) => frequency / rope.factor);
  if (rope.rope_type === "llama3") return frequencies.map((frequency) => llama3Frequency(frequency, rope));
  if (rope.rope_type === "yarn") {
    const [low, high] = yarnRange(rope, dims);
    return frequencies.map((frequency, i) => {
      const ramp = Math.min(Math.max((i - low) / (high - low), 0), 1);
      return (frequency / rope.factor) * ramp + frequency * (1 - ramp);
    });
  }
  return frequencies;
}

/** Long waves are stretched by the factor, short ones kept, those between blended. */
function llama3Frequency(frequency: number, rope: RopeConfig & { rope_type: "llama3" }): number {
  const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = rope;
  const turns = (original_max_position_embeddings * frequency) / (2 * Math.PI); // over the original context
  if (turns < low_freq_factor) return frequency / factor;
  if (turns > high_freq_factor) return frequency;
  const smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** The pairs between which the ramp from kept to stretched frequencies lies. */
function yarnRange(rope: RopeConfig & { rope_type: "yarn" }, dims: number): readonly [number, number] {
  const pairOf = (rotations: number) =>
    (dims * Math.log(rope.original_max_position_embeddings / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.rope_theta));
  let low = pairOf(rope.beta_fast);
  let high = pairOf(rope.beta_slow);
  if (rope.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, dims - 1);
  return [low, low === high ? high + 0.001 : high];
}

function mscale(factor: number, weight: number): number {
  return factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1;
}

/** The factor on cos and sin: 1 unless YaRN. */
export function attentionFactor(rope: RopeConfig): number {
  if (rope.rope_type !== "yarn") return 1;
  if (rope.attention_factor) return rope.attention_factor;
  return rope.mscale && rope.mscale_all_dim
    ? mscale(rope.factor, rope.mscale) / mscale(rope.factor, rope.mscale_all_dim)
    : mscale(rope.factor, 1);
}

/** DeepSeek's factor on the softmax scale: mscale squared, when mscale_all_dim is given. */
export function softmaxFactor(rope: RopeConfig): number {
  return rope.rope_type === "yarn" && rope.mscale_all_dim ? mscale(rope.factor, rope.mscale_all_dim) ** 2 : 1;
}
