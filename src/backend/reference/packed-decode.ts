// The weights of packed bytes as f32, exactly: d·q, d·q + m, d·sc·q - dmin·m in f32. In: whole blocks in the file's layout (core/dtype.ts).
// Plain loops after the block structures of ggml (ggml-common.h).

import { type PackedType, packedTypes } from "../../core/dtype.ts";
import { DeviceError } from "../../core/errors.ts";

/** Decodes one block that begins at `at`; weight i of it goes to put(i, value). */
type Decode = (view: DataView, at: number, put: (i: number, value: number) => void) => void;

const f32 = Math.fround;

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const halfAt = (view: DataView, at: number) => half(view.getUint16(at, true));

/** 32 weights whose low 4 bits lie in 16 bytes: the low nibbles first. `fifth`, when given, is where their 5th bits lie. */
function eachNibble(view: DataView, at: number, fifth: number | undefined, use: (i: number, q: number) => void): void {
  const high = fifth === undefined ? 0 : view.getUint32(fifth, true);
  for (let i = 0; i < 32; i++) {
    const byte = view.getUint8(at + (i % 16));
    use(i, (i < 16 ? byte & 15 : byte >> 4) + (((high >>> i) & 1) << 4));
  }
}

/** Scale and minimum of the 8 runs of 32 in a Q4_K or Q5_K block: 6 bits each in 12 bytes. */
function scaleAndMin(view: DataView, at: number, run: number): [number, number] {
  const byte = (i: number) => view.getUint8(at + i);
  if (run < 4) return [byte(run) & 63, byte(run + 4) & 63];
  return [(byte(run + 4) & 15) | ((byte(run - 4) >> 6) << 4), (byte(run + 4) >> 4) | ((byte(run) >> 6) << 4)];
}

function kBlock(view: DataView, at: number, codes: (run: number, i: number) => number, put: (i: number, value: number) => void): void {
  const [d, dmin] = [halfAt(view, at), halfAt(view, at + 2)];
  for (let run = 0; run < 8; run++) {
    const [scale, min] = scaleAndMin(view, at + 4, run);
    for (let i = 0; i < 32; i++) put(run * 32 + i, f32(f32(f32(d * scale) * codes(run, i)) - f32(dmin * min)));
  }
}

const decoders: Partial<Record<PackedType, Decode>> = {
  f16: (view, at, put) => put(0, halfAt(view, at)),
  bf16: (view, at, put) => {
    const bits = new DataView(new ArrayBuffer(4));
    bits.setUint32(0, view.getUint16(at, true) * 65536);
    put(0, bits.getFloat32(0));
  },
  q8_0: (view, at, put) => {
    for (let i = 0; i < 32; i++) put(i, halfAt(view, at) * view.getInt8(at + 2 + i));
  },
  q4_0: (view, at, put) => eachNibble(view, at + 2, undefined, (i, q) => put(i, halfAt(view, at) * (q - 8))),
  q4_1: (view, at, put) => eachNibble(view, at + 4, undefined, (i, q) => put(i, f32(halfAt(view, at) * q) + halfAt(view, at + 2))),
  q5_0: (view, at, put) => eachNibble(view, at + 6, at + 2, (i, q) => put(i, halfAt(view, at) * (q - 16))),
  q5_1: (view, at, put) => eachNibble(view, at + 8, at + 4, (i, q) => put(i, f32(halfAt(view, at) * q) + halfAt(view, at + 2))),
  q4_k: (view, at, put) => {
    const byte = (run: number, i: number) => view.getUint8(at + 16 + (run >> 1) * 32 + i);
    kBlock(view, at, (run, i) => (run % 2 === 0 ? byte(run, i) & 15 : byte(run, i) >> 4), put);
  },
  q5_k: (view, at, put) => {
    const byte = (run: number, i: number) => view.getUint8(at + 48 + (run >> 1) * 32 + i);
    const fifth = (run: number, i: number) => ((view.getUint8(at + 16 + i) >> run) & 1) << 4;
    kBlock(view, at, (run, i) => (run % 2 === 0 ? byte(run, i) & 15 : byte(run, i) >> 4) + fifth(run, i), put);
  },
  q6_k: (view, at, put) => {
    const d = halfAt(view, at + 208);
    for (let i = 0; i < 256; i++) {
      const [part, run, j] = [i >> 7, (i >> 5) & 3, i & 31];
      const low = view.getUint8(at + part * 64 + (run % 2) * 32 + j) >> (run < 2 ? 0 : 4);
      const high = view.getUint8(at + 128 + part * 32 + j) >> (2 * run);
      const q = ((low & 15) | ((high & 3) << 4)) - 32;
      put(i, f32(f32(d * view.getInt8(at + 192 + (i >> 4))) * q));
    }
  },
};

export const decodableTypes: ReadonlySet<PackedType> = new Set(Object.keys(decoders) as PackedType[]);

/** Decodes whole blocks into `out`, from its beginning. */
export function decodePacked(type: PackedType, bytes: Uint8Array, out: Float32Array | Float64Array): void {
  const { weights, bytes: blockBytes } = packedTypes[type];
  const decode = decoders[type];
  if (!decode) {
    throw new DeviceError({
      operation: "decode packed weights",
      got: type,
      expected: [...decodableTypes].join(", "),
      cure: "decode it to f32 when it is loaded",
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let block = 0; block * blockBytes < bytes.length; block++) {
    decode(view, block * blockBytes, (i, value) => {
      out[block * weights + i] = f32(value);
    });
  }
}
