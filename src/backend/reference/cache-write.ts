// cacheWrite: rounds rows of keys or values to fewer bits where an index says, and the way back, which attention reads through. The words of a
// stored row are looked at as bytes in the processor's order, little-endian on everything that runs this.

import { type CacheType, cacheRowWords } from "../../core/dtype.ts";
import type { Kernels, View } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export type NarrowCache = Exclude<CacheType, "f32">;

const tiny = 1e-30;
const { fround } = Math;

export const cacheWrite: Kernels["cacheWrite"] = ({ cache, x, index, rows, width, cacheRows, type }) => {
  const words = cacheRowWords(type, width);
  const to = ints(cache, cacheRows * words);
  const from = floats(x, rows * width);
  const at = ints(index, rows);
  for (let r = 0; r < rows; r++) {
    const row = at[r]!;
    if (row < 0 || row >= cacheRows) continue;
    const bytes = new DataView(to.buffer, to.byteOffset + row * words * 4, words * 4);
    const numbers = Float32Array.from(from.subarray(r * width, (r + 1) * width));
    if (type === "f16") roundHalves(bytes, numbers);
    else roundBlocks(bytes, numbers);
  }
};

/** Largest magnitude; NaN when there is one. */
function largest(x: Float32Array): number {
  return x.reduce((top, value) => (Number.isNaN(top) || Math.abs(value) <= top ? top : Math.abs(value)), 0);
}

function roundHalves(row: DataView, x: Float32Array): void {
  const top = largest(x);
  // The power of two that leaves top / step in 2^14 .. 2^15; log2 may err beside a power of two.
  let exponent = top >= tiny ? Math.floor(Math.log2(top)) - 14 : 0;
  while (top / 2 ** exponent >= 2 ** 15) exponent++;
  while (top >= tiny && top / 2 ** exponent < 2 ** 14) exponent--;
  const step = 2 ** exponent;
  const isSound = top < 2 ** 30;
  row.setFloat32(0, isSound ? (top < tiny ? 0 : step * 2 ** 112) : Number.NaN, true);
  for (const [i, value] of x.entries()) {
    const scaled = isSound && top >= tiny ? value / step : 0;
    row.setUint16(4 + 2 * i, halfBits(scaled), true);
  }
}

/** The nearest 16-bit float, ties to even, of a number below 2^15 in magnitude; 0 below 2^-14. */
function halfBits(value: number): number {
  const sign = Object.is(Math.sign(value), -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude < 2 ** -14) return sign;
  const exponent = Math.floor(Math.log2(magnitude));
  const ulp = 2 ** (exponent - 10);
  const steps = magnitude / ulp;
  const below = Math.floor(steps);
  const rest = steps - below;
  const mantissa = below + (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? 1 : 0);
  // mantissa is 1024 .. 2048: what overflows it raises the exponent.
  return sign | (((exponent + 15) << 10) + (mantissa - 1024));
}

function roundBlocks(row: DataView, x: Float32Array): void {
  for (let from = 0, at = 0; from < x.length; from += 32, at += 36) {
    const block = x.subarray(from, from + 32);
    const top = largest(block);
    const isSound = Number.isFinite(top);
    row.setFloat32(at, top < tiny ? 0 : isSound ? fround(top / 127) : Number.NaN, true);
    const inverse = top < tiny || !isSound ? 0 : fround(127 / top);
    for (let i = 0; i < 32; i++)
      row.setUint8(at + 4 + i, 128 + (isSound && i < block.length ? toEven(fround((block[i] as number) * inverse)) : 0));
  }
}

/** The nearest integer, ties to even. */
function toEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Number `element` of row `row` of a stored cache, as f32. */
export type CachedNumber = (row: number, element: number) => number;

/** Reads rows of `rowWords` words of a narrow cache. */
export function openCache(cache: View, rows: number, rowWords: number, type: NarrowCache): CachedNumber {
  const words = ints(cache, rows * rowWords);
  const view = new DataView(words.buffer, words.byteOffset, words.byteLength);
  if (type === "f16") {
    return (row, element) => {
      const at = row * rowWords * 4;
      const bits = view.getUint16(at + 4 + 2 * element, true);
      const exponent = (bits >> 10) & 31;
      const magnitude = exponent === 0 ? 0 : (1 + (bits & 1023) / 1024) * 2 ** (exponent - 127);
      return fround((bits & 0x8000 ? -magnitude : magnitude) * view.getFloat32(at, true));
    };
  }
  return (row, element) => {
    const at = row * rowWords * 4 + (element >> 5) * 36;
    return fround(view.getFloat32(at, true) * (view.getUint8(at + 4 + (element & 31)) - 128));
  };
}
