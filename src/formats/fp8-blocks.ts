// DeepSeek-V3's FP8 weights: F8_E4M3 codes with one scale per block (128 x 128) of a matrix, in a companion tensor
// `NAME_scale_inv`. Despite the name the scale multiplies: weight = code * scale. Ragged edges have smaller blocks. DeepSeek-V3.1
// rounds the scales up to powers of two (ue8m0): as f32, or in their own byte type F8_E8M0.

import { ConfigError, DeviceError, FormatError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { type Shape, sameShape, showShape } from "../core/shape.ts";

export type Block = readonly [rows: number, columns: number];

export const scaleSuffix = "_scale_inv";
export const deepseekBlock: Block = [128, 128];
const largest = 448;

/** [rows, columns] -> how many blocks there are either way. */
export function blockGrid(shape: Shape, block: Block): [number, number] {
  return [Math.ceil((shape[0] as number) / block[0]), Math.ceil((shape[1] as number) / block[1])];
}

/** `quantization_config.weight_block_size` of a config.json. Throws ConfigError when it is missing or makes no sense. */
export function readBlockSize(config: JsonObject): Block {
  const settings = config.quantization_config;
  const size = isJsonObject(settings) ? settings.weight_block_size : undefined;
  if (Array.isArray(size) && size.length === 2 && size.every((n) => Number.isSafeInteger(n) && (n as number) > 0))
    return size as [number, number];
  throw new ConfigError({
    operation: "read FP8 weights",
    got: `quantization_config.weight_block_size ${JSON.stringify(size) ?? "missing"}`,
    expected: "two sizes above 0, as [128, 128]",
    cure: "correct config.json: the file has scales per block",
  });
}

/** Calls `visit` for each row's run of columns within one block: the run's start, its end, the block's index. The rows begin at row `first` of the matrix. */
function eachRun(shape: Shape, block: Block, visit: (start: number, end: number, blockIndex: number) => void, first = 0): void {
  const [rows, columns] = shape as [number, number];
  const across = Math.ceil(columns / block[1]);
  for (let row = 0; row < rows; row++) {
    const blockRow = Math.floor((first + row) / block[0]) * across;
    for (let at = 0, i = 0; at < columns; at += block[1], i++) {
      visit(row * columns + at, row * columns + Math.min(columns, at + block[1]), blockRow + i);
    }
  }
}

export function checkScales(name: string, shape: Shape, scaleShape: Shape, block: Block): void {
  if (shape.length === 2 && sameShape(scaleShape, blockGrid(shape, block))) return;
  throw new FormatError({
    operation: `read FP8 weight ${quote(name)} ${showShape(shape)}`,
    got: `scales ${showShape(scaleShape)}`,
    expected: shape.length === 2 ? `scales ${showShape(blockGrid(shape, block))} for blocks of ${block.join(" x ")}` : "a matrix",
    cure: "check weight_block_size in config.json against the file",
  });
}

/** Multiplies each block of `values`, [rows, columns] from row `first` of the matrix on, by its scale, in place. `scales` are the matrix's. */
export function applyScales(values: Float32Array, shape: Shape, scales: Float32Array, block: Block, first = 0): void {
  const multiply = (start: number, end: number, index: number) => {
    const scale = scales[index] as number;
    for (let i = start; i < end; i++) values[i] = (values[i] as number) * scale;
  };
  eachRun(shape, block, multiply, first);
}

/** The scale of each block, that brings its largest magnitude to 448; 1 for a block of zeros. Throws DeviceError for NaN or infinity. */
export function findScales(name: string, values: Float32Array, shape: Shape, block: Block): Float32Array {
  const [down, across] = blockGrid(shape, block);
  const scales = new Float32Array(down * across);
  eachRun(shape, block, (start, end, index) => {
    let most = scales[index] as number;
    for (let i = start; i < end; i++) {
      const magnitude = Math.abs(values[i] as number);
      if (!(magnitude < Number.POSITIVE_INFINITY)) {
        const got = `${values[i]} at index ${i}`;
        throw new DeviceError({
          operation: `store ${quote(name)} as FP8`,
          got,
          expected: "finite weights",
          cure: "save the last good checkpoint instead",
        });
      }
      if (magnitude > most) most = magnitude;
    }
    scales[index] = most;
  });
  // A scale that underflows to 0 would divide by zero later.
  return scales.map((most) => (most === 0 ? 1 : Math.max(most / largest, 2 ** -126)));
}

/** `values` divided by their block's scale: what is then rounded to F8_E4M3. */
export function divideByScales(values: Float32Array, shape: Shape, scales: Float32Array, block: Block): Float32Array {
  const scaled = new Float32Array(values.length);
  eachRun(shape, block, (start, end, index) => {
    const scale = scales[index] as number;
    for (let i = start; i < end; i++) scaled[i] = (values[i] as number) / scale;
  });
  return scaled;
}
