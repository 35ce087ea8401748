// Element types. Devices compute in f32 and index with i32. Weights may lie in device memory as packed types instead: the 16-bit floats, and the
// block types of GGUF files under ggml's names (formats/blocks/ holds their codecs). All other storage types of files
// are decoded when they are loaded (formats/).

export type DType = "f32" | "i32";
export type HostArray = Float32Array | Float64Array | Int32Array;

export const bytesPerElement = 4;

/** How keys and values lie in a cache. The narrow types are rounded once, when they are written (backend.ts, cacheWrite). */
export const cacheTypes = ["f32", "f16", "q8_0"] as const;
export type CacheType = (typeof cacheTypes)[number];

/** 32-bit words of a cached row of `width` numbers: f16 has one factor for the row, q8_0 a scale for each block of 32. */
export function cacheRowWords(type: CacheType, width: number): number {
  if (type === "f32") return width;
  return type === "f16" ? 1 + Math.ceil(width / 2) : 9 * Math.ceil(width / 32);
}

/** Weights per block and bytes per block, as they lie in files: ggml's block layouts, little-endian. */
export const packedTypes = {
  f16: { weights: 1, bytes: 2 },
  bf16: { weights: 1, bytes: 2 },
  q8_0: { weights: 32, bytes: 34 },
  q4_0: { weights: 32, bytes: 18 },
  q4_1: { weights: 32, bytes: 20 },
  q5_0: { weights: 32, bytes: 22 },
  q5_1: { weights: 32, bytes: 24 },
  q2_k: { weights: 256, bytes: 84 },
  q3_k: { weights: 256, bytes: 110 },
  q4_k: { weights: 256, bytes: 144 },
  q5_k: { weights: 256, bytes: 176 },
  q6_k: { weights: 256, bytes: 210 },
  iq4_nl: { weights: 32, bytes: 18 },
  iq4_xs: { weights: 256, bytes: 136 },
  mxfp4: { weights: 32, bytes: 17 },
} as const;

export type PackedType = keyof typeof packedTypes;

export function isPackedType(name: string): name is PackedType {
  return Object.hasOwn(packedTypes, name);
}

/** Bytes of a row of `width` weights in a file. */
export function packedRowBytes(type: PackedType, width: number): number {
  const { weights, bytes } = packedTypes[type];
  return (width / weights) * bytes;
}
