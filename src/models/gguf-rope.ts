// Llama 3's rotary scaling in GGUF: the file holds one divisor for each pair of a head (rope_freqs.weight), config.json four numbers. In: one of
// them. Out: the other. Several settings give the same divisors (only ratios of the original length to the two factors count), so
// the published ones are tried first; divisors that no Llama 3 setting gives are not recovered.

import type { RopeConfig } from "./config.ts";
import { ropeFrequencies } from "./rope-tables.ts";

export type Llama3 =
  | "none"
  | {
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    };

type Llama3Rope = Extract<Llama3, object>;

/** By what each of the dims/2 frequencies is divided. */
export function llama3Factors(scaling: Llama3Rope, rope_theta: number, dims: number): Float32Array {
  const plain = ropeFrequencies({ rope_type: "default", rope_theta }, dims);
  const scaled = ropeFrequencies({ ...scaling, rope_type: "llama3", rope_theta }, dims);
  return Float32Array.from(plain, (frequency, i) => frequency / (scaled[i] as number));
}

const bounds = [
  [1, 4],
  [1, 2],
  [1, 8],
  [1, 32],
  [2, 4],
] as const;
const usualFactors = [2, 4, 8, 16, 32, 64];
const usualLengths = [8192, ...Array.from({ length: 22 }, (_, power) => 2 ** power)];
/** Converters compute in f32. */
const tolerance = 2e-5;

/** The settings that give these divisors; "none" when all are 1; undefined when there are none. */
export function recoverLlama3(factors: Float32Array, rope_theta: number, dims: number): Llama3 | undefined {
  if (factors.length !== dims / 2 || !factors.every((value) => value >= 1 && value <= 2 ** 20)) return undefined;
  const most = factors.reduce((high, value) => Math.max(high, value), 1);
  if (most === 1) return "none";
  // The largest divisor is the factor, unless the head is so small that no wave is long enough.
  for (const factor of [most, ...usualFactors.filter((usual) => usual > most)]) {
    for (const [low_freq_factor, high_freq_factor] of bounds) {
      for (const original_max_position_embeddings of lengthsFor(factors, factor, low_freq_factor, high_freq_factor, rope_theta, dims)) {
        const scaling = { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings };
        const made = llama3Factors(scaling, rope_theta, dims);
        if (made.every((value, i) => Math.abs(value / (factors[i] as number) - 1) < tolerance)) return scaling;
      }
    }
  }
  return undefined;
}

/** Original lengths worth trying: the one that a blended divisor tells, or without one those in use. */
function lengthsFor(factors: Float32Array, factor: number, low: number, high: number, rope_theta: number, dims: number): readonly number[] {
  const blended = factors.findIndex((value) => value > 1 + tolerance && value < factor * (1 - tolerance));
  if (blended < 0) return usualLengths;
  const smooth = (1 / (factors[blended] as number) - 1 / factor) / (1 - 1 / factor);
  const frequency = rope_theta ** ((-2 * blended) / dims);
  return [Math.max(1, Math.round(((low + smooth * (high - low)) * 2 * Math.PI) / frequency))];
}

/** rope_freqs.weight for a config with Llama 3 scaling; undefined for any other. */
export function ropeFactorsOf(rope: RopeConfig, dims: number): Float32Array | undefined {
  return rope.rope_type === "llama3" ? llama3Factors(rope, rope.rope_theta, dims) : undefined;
}
