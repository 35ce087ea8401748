// kv_b_proj of latent attention in two halves, as products with packed weights want it: the rows that give keys, transposed in each head, and the rows
// that give values. In: a checkpoint tensor that offers its halves (newer GGUF files hold them so), or one of 16-bit floats, which can be
// transposed as they are. Out: the halves, and kv_b again. Unusual: blocks of quantised types lie along a row, so kv_b in one piece of
// such a type cannot be transposed without rounding anew; it is decoded to f32 as a whole.

import type { Shape } from "../core/shape.ts";
import type { CheckpointTensor } from "./weights.ts";

/** Sizes of kv_b [heads·(keyRows + valueRows), rank]: for each head first the rows of keys, then those of values. */
export type HalfSizes = { readonly heads: number; readonly keyRows: number; readonly valueRows: number; readonly rank: number };

/** keys [heads, rank, keyRows], transposed in each head; values [heads, valueRows, rank]. */
export type Halves<T> = { readonly keys: T; readonly values: T };

/** The parameters that hold the halves of a parameter. */
export function halfNames(parameter: string): Halves<string> {
  return { keys: parameter.replace("kv_b_proj", "k_b_proj"), values: parameter.replace("kv_b_proj", "v_b_proj") };
}

export function halfShapes({ heads, keyRows, valueRows, rank }: HalfSizes): Halves<Shape> {
  return { keys: [heads, rank, keyRows], values: [heads, valueRows, rank] };
}

/** Halves whose packed rows are the numbers of `source`, bit for bit; undefined when there are none. */
export function packedHalves(source: CheckpointTensor, sizes: HalfSizes): Halves<CheckpointTensor> | undefined {
  const { keys, values } = source.halves ?? {};
  if (keys?.packed && values?.packed) return { keys, values };
  const { packed } = source;
  if (packed?.type !== "f16" && packed?.type !== "bf16") return undefined;
  const { type, readRows } = packed;
  const { keyRows, valueRows, rank } = sizes;
  const shapes = halfShapes(sizes);
  const per = keyRows + valueRows;
  // Loading asks for some thousand rows at a time, so a head is transposed once or twice.
  const head = async (h: number) => transposed(await readRows(h * per, keyRows), keyRows, rank);
  /** Rows of a half, head by head; `perHead` of them in each. */
  const half = (name: string, shape: Shape, perHead: number, make: (h: number, first: number, count: number) => Promise<Uint8Array>) => {
    const rowBytes = 2 * (shape.at(-1) as number);
    const read = async (first: number, count: number) => {
      const out = new Uint8Array(count * rowBytes);
      for (let at = first; at < first + count; ) {
        const inside = at % perHead;
        const some = Math.min(perHead - inside, first + count - at);
        out.set(await make(Math.floor(at / perHead), inside, some), (at - first) * rowBytes);
        at += some;
      }
      return out;
    };
    // Numbers are asked of the whole tensor only.
    return { name, shape, readF32: source.readF32, packed: { type, readRows: read } };
  };
  const names = halfNames(source.name);
  return {
    keys: half(names.keys, shapes.keys, rank, async (h, first, count) =>
      (await head(h)).subarray(first * keyRows * 2, (first + count) * keyRows * 2),
    ),
    values: half(names.values, shapes.values, valueRows, (h, first, count) => readRows(h * per + keyRows + first, count)),
  };
}

/** 16-bit numbers [rows, columns] -> [columns, rows]. */
function transposed(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const from = new Uint16Array(bytes.slice().buffer);
  const to = new Uint16Array(rows * columns);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c] as number;
  return new Uint8Array(to.buffer);
}

/** kv_b [heads·(keyRows + valueRows), rank] from the numbers of its halves. */
export function joinHalves({ keys, values }: Halves<Float32Array>, { heads, keyRows, valueRows, rank }: HalfSizes): Float32Array {
  const per = keyRows + valueRows;
  const out = new Float32Array(heads * per * rank);
  for (let h = 0; h < heads; h++) {
    const key = h * rank * keyRows;
    for (let n = 0; n < keyRows; n++) {
      const row = (h * per + n) * rank;
      for (let r = 0; r < rank; r++) out[row + r] = keys[key + r * keyRows + n] as number;
    }
    out.set(values.subarray(h * valueRows * rank, (h + 1) * valueRows * rank), (h * per + keyRows) * rank);
  }
  return out;
}
