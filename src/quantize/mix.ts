// Which type each tensor of a GGUF file gets. In: the name of a mix (q4_k_m …), and a tensor's name and shape. Out: its type. The mixes are llama.cpp's
// (src/llama-quant.cpp, 2026): more bits for the tensors that hurt most, at both ends of the
// model and in every third layer between; 32-wide or 16-bit types where rows are no multiple of a block. Vectors and the router stay f32.

import { type PackedType, packedTypes } from "../core/dtype.ts";
import type { Shape } from "../core/shape.ts";

export const mixes = [
  "f32",
  "f16",
  "bf16",
  "q8_0",
  "q4_0",
  "q4_1",
  "q5_0",
  "q5_1",
  "q4_k_m",
  "q4_k_s",
  "q5_k_m",
  "q5_k_s",
  "q6_k",
] as const;
export type Mix = (typeof mixes)[number];

export type TensorType = PackedType | "f32";

/** `general.file_type`, and the type of most tensors. */
const definitions: Readonly<Record<Mix, readonly [fileType: number, main: TensorType]>> = {
  f32: [0, "f32"],
  f16: [1, "f16"],
  bf16: [32, "bf16"],
  q8_0: [7, "q8_0"],
  q4_0: [2, "q4_0"],
  q4_1: [3, "q4_1"],
  q5_0: [8, "q5_0"],
  q5_1: [9, "q5_1"],
  q4_k_m: [15, "q4_k"],
  q4_k_s: [14, "q4_k"],
  q5_k_m: [17, "q5_k"],
  q5_k_s: [16, "q5_k"],
  q6_k: [18, "q6_k"],
};

export function fileTypeOf(mix: Mix): number {
  return definitions[mix][0];
}

export function isMix(name: string): name is Mix {
  return Object.hasOwn(definitions, name);
}

/** What the choice depends on beside the tensor itself. */
export type MixContext = {
  readonly layers: number;
  /** 0 without a mixture. */
  readonly experts: number;
  /** The head is the embedding table. */
  readonly tied: boolean;
  /** Llama-2-70B's and Qwen2-72B's shape: 80 layers whose value matrices are small and shared by many heads. */
  readonly sharesValues: boolean;
};

/** Throws nothing: every tensor has a type that fits its rows. */
export function typeFor(mix: Mix, name: string, shape: Shape, context: MixContext): TensorType {
  if (shape.length < 2 || !name.endsWith(".weight") || name.endsWith("_norm.weight") || name.includes("ffn_gate_inp")) return "f32";
  const [, main] = definitions[mix];
  if (main === "f32" || main === "f16" || main === "bf16") return main;
  const width = shape.at(-1) as number;
  return fitting(mixed(mix, main, name, width, context), width);
}

function mixed(mix: Mix, main: PackedType, name: string, width: number, { layers, experts, tied, sharesValues }: MixContext): PackedType {
  const isMedium = mix === "q4_k_m" || mix === "q5_k_m";
  if (name === "output.weight" || (tied && name === "token_embd.weight"))
    return main === "q8_0" || width % packedTypes[main].weights !== 0 ? "q8_0" : "q6_k";
  const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? 0);
  if (/attn_(v|kv_b)\.weight$/.test(name)) {
    if (experts === 8) return "q8_0";
    if (isMedium && usesMoreBits(layer, layers)) return "q6_k";
    const few = mix === "q4_k_s" && layer < 4 ? "q5_k" : main;
    return sharesValues && few === "q4_k" ? "q5_k" : few;
  }
  if (name.endsWith("attn_k.weight") && experts === 8) return "q8_0";
  if (name.includes("ffn_down")) {
    if (isMedium && usesMoreBits(layer, layers)) return "q6_k";
    if (mix === "q4_k_s" && layer < Math.floor(layers / 8)) return "q5_k";
  }
  if (name.endsWith("attn_output.weight") && experts === 8 && (mix === "q4_k_s" || mix === "q4_k_m")) return "q5_k";
  return main;
}

/** The first and the last eighth, and every third layer between. */
function usesMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}

const narrower: Partial<Record<PackedType, PackedType>> = { q4_k: "q5_0", q5_k: "q5_1", q6_k: "q8_0" };

/** Rows that are no whole number of blocks take the next type with blocks of 32, or 16-bit floats. */
function fitting(type: PackedType, width: number): PackedType {
  const fits = (candidate: PackedType) => width % packedTypes[candidate].weights === 0;
  if (fits(type)) return type;
  const other = narrower[type];
  return other && fits(other) ? other : "f16";
}
