// f32, f16 and bf16 as block types of one weight. The codecs are those of the safetensors types of the same names.

import { decodeInto, encode, type WritableDType } from "../dtypes.ts";
import type { BlockCodec } from "./codec.ts";

function plain(ggmlType: number, bytes: number, dtype: WritableDType & ("F32" | "F16" | "BF16")): BlockCodec {
  return {
    ggmlType,
    weights: 1,
    bytes,
    decode: (from, out, offset) => decodeInto(dtype, from, out, offset),
    encode: (values, out) => out.set(encode(dtype, values)),
  };
}

export const f32 = plain(0, 4, "F32");
export const f16 = plain(1, 2, "F16");
export const bf16 = plain(30, 2, "BF16");
