// Products with packed weights, host side: rows of x made ready, and the way for few rows (packed-few.ts) or for many (packed-tiles.ts). Both ways give the same bits: the
// integer products of a run are exact, and what joins the chain, and how, is one text (packed-sums.ts).

import type { PackedType } from "../../core/dtype.ts";
import type { View } from "../backend.ts";
import { isHalf } from "./packed-codes.ts";
import { fewBlocks, fewHalves } from "./packed-few.ts";
import { roundRows, rowBlockWords } from "./packed-rows.ts";
import type { Ready } from "./packed-sums.ts";
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

/** Up to so many rows for each matrix it is faster to read the weights again for every row. */
const mostAlone = 4;

export function packedProduct(recorder: Recorder, { kernel, out, x, w, offsets, S, E, N, K }: PackedProduct): void {
  const { type, operands, integers } = packedOperand(w, kernel, { matrices: E, rows: N, width: K });
  if (S === 0 || N === 0 || E === 0) return;
  const isFew = S <= mostAlone * E;
  const ready = <T extends PackedType>(type: T, rows: Operand): Ready<T> => {
    const all = { out: write(out), rows, ...operands, offsets: offsets && read(offsets, "i32") };
    return { kernel, type, S, E, N, K, operands: all, integers: { S, E, N, K, ...integers } };
  };
  if (isHalf(type)) (isFew ? fewHalves : tiledHalves)(recorder, ready(type, read(x)));
  else {
    // As q, k and v share x, and gate and up.
    const made = recorder.madeFrom(x, `rows ${S} ${K}`, ((S * K) / 32) * rowBlockWords, (rows) => roundRows(recorder, x, S, K, rows));
    (isFew ? fewBlocks : tiledBlocks)(recorder, ready(type, read(made, "vec4u")));
  }
}
