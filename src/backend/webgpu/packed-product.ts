// Products with packed weights, host side: rows of x made ready, and the way for few rows (packed-few.ts) or for many (packed-tiles.ts). Both ways give the same bits: the
// integer products of a run are exact, and what joins the chain, and how, is one text (packed-sums.ts).

import type { PackedType } from "../../core/dtype.ts";
import type { View } from "../backend.ts";
import { isHalf } from "./packed-codes.ts";
import { fewBlocks, fewHalves } from "./packed-few.ts";
import { roundRows, rowBlockWords } from "./packed-rows.ts";
import { tiledBlocks, tiledHalves } from "./packed-tiles.ts";
import { packedOperand } from "./packed-weights.ts";
import { type Operand, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export type PackedProduct = {
  readonly kernel: "packedMatmul" | "packedGroupedMatmul";
  readonly out: View;
  readonly x: View;
  readonly w: View;
  /** Absent: one matrix for all rows. */
  readonly offsets: View | undefined;
  readonly S: number;
  readonly E: number;
  readonly N: number;
  readonly K: number;
};

/** What both ways need to record their kernel. For block types `rows` are those of packed-rows.ts, else x as it is. */
export type Ready = {
  readonly kernel: string;
  readonly type: PackedType;
  readonly S: number;
  readonly E: number;
  readonly N: number;
  readonly K: number;
  readonly operands: {
    readonly out: Operand;
    readonly rows: Operand;
    readonly w: Operand;
    readonly w4: Operand;
    readonly offsets: Operand | undefined;
  };
  readonly integers: Readonly<Record<string, number>>;
};

/** Up to so many rows for each matrix it is faster to read the weights again for every row. */
const mostAlone = 4;

export function packedProduct(recorder: Recorder, { kernel, out, x, w, offsets, S, E, N, K }: PackedProduct): void {
  const { type, operands, integers } = packedOperand(w, kernel, { matrices: E, rows: N, width: K });
  const isFew = S <= mostAlone * E;
  const product = (rows: Operand, few: typeof fewBlocks, tiled: typeof tiledBlocks) => {
    const all = { out: write(out), rows, ...operands, offsets: offsets && read(offsets, "i32") };
    (isFew ? few : tiled)(recorder, { kernel, type, S, E, N, K, operands: all, integers: { S, E, N, K, ...integers } });
  };
  if (S === 0 || N === 0 || E === 0) return;
  if (isHalf(type)) product(read(x), fewHalves, tiledHalves);
  else {
    // As q, k and v share x, and gate and up.
    const ready = recorder.madeFrom(x, `rows ${S} ${K}`, ((S * K) / 32) * rowBlockWords, (made) => roundRows(recorder, x, S, K, made));
    product(read(ready, "vec4u"), fewBlocks, tiledBlocks);
  }
}
