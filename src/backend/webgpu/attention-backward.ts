// attentionBackward: the probabilities are computed again from the log-sum-exp (FlashAttention-2, Dao 2023). One dispatch has a group of 64 invocations for every 16 queries of a key
// head and goes through their keys in blocks of 64: dq. Another has a group for every 16 keys and goes through the queries: dk, dv. Every sum is one chain over keys or queries in
// ascending order, carried from block to block in memory, so it depends on nothing else. Blocks in which nobody sees anybody are left out.

import type { Kernels, View } from "../backend.ts";
import { type BackwardArgs, keyGradients, own, queryGradients } from "./attention-gradients.ts";
import { findRanges, rangeWords } from "./attention-ranges.ts";
import { others } from "./attention-tiles.ts";
import { copy } from "./copy.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

/** Of the rows of some queries: the first key that one sees, the end of what one sees, and the range that all see. */
const boundWords = 4;

export function attentionBackward(recorder: Recorder): Kernels["attentionBackward"] {
  const add = copy(recorder);
  return (args) => {
    const { R, S, H, G, D, Dv } = args;
    if (R * H === 0) return;
    const queries = (R * H) / G;
    const tiles = Math.ceil(queries / own);
    const blocks = Math.ceil(queries / others);
    recorder.withScratch(
      R * rangeWords + (tiles + blocks) * boundWords,
      (ranges) => {
        findRanges(recorder, ranges, args);
        findBounds(recorder, args, ranges, R * rangeWords, own);
        findBounds(recorder, args, ranges, R * rangeWords + tiles * boundWords, others);
        recorder.withScratch(2 * R * H, (stats) => {
          findStats(recorder, args, stats);
          queryGradients(recorder, args, { ranges, stats }, tiles);
          if (S === 0) return;
          recorder.withScratch(S * G * (D + Dv), (sums) => {
            keyGradients(recorder, args, { ranges, stats }, sums, R * rangeWords + tiles * boundWords, blocks);
            const { dk, dv, dkRowStride, dkHeadStride, dvRowStride, dvHeadStride } = args;
            const dvSums = { ...sums, offset: sums.offset + S * G * D };
            const same = { accumulate: true };
            add({ ...same, out: dk, x: sums, shape: [S, G, D], outStrides: [dkRowStride, dkHeadStride, 1], xStrides: [G * D, D, 1] });
            add({ ...same, out: dv, x: dvSums, shape: [S, G, Dv], outStrides: [dvRowStride, dvHeadStride, 1], xStrides: [G * Dv, Dv, 1] });
          });
        });
      },
      "i32",
    );
  };
}

function findBounds(recorder: Recorder, { R, H, G }: BackwardArgs, ranges: View, at: number, size: number): void {
  const queries = (R * H) / G;
  recorder.run({
    kernel: "attention bounds",
    operands: { ranges: write(ranges, "i32") },
    integers: { at, size, queries, perGroup: H / G },
    invocations: Math.ceil(queries / size),
    work: R,
    text: ({ ranges }) => `
  var first = 0x7fffffff;
  var end = 0;
  var last_first = 0;
  var first_end = 0x7fffffff;
  for (var row = i * p.size / p.perGroup; row * p.perGroup < min((i + 1u) * p.size, p.queries); row++) {
    let begin = ${ranges("3 * row")};
    let keys = ${ranges("3 * row + 1")};
    if (keys > 0) {
      first = min(first, begin);
      end = max(end, begin + keys);
    }
    last_first = max(last_first, begin);
    first_end = min(first_end, select(0, begin + keys, keys > 0));
  }
  let at = p.at + 4 * i;
  ${ranges("at")} = min(first, end);
  ${ranges("at + 1")} = end;
  ${ranges("at + 2")} = last_first;
  ${ranges("at + 3")} = first_end;`,
  });
}

function findStats(recorder: Recorder, { dOut, out, lse, R, H, Dv }: BackwardArgs, stats: View): void {
  recorder.run({
    kernel: "attention stats",
    operands: { stats: write(stats), dOut: read(dOut), out: read(out), lse: read(lse) },
    integers: { Dv },
    invocations: R * H,
    work: R * H * Dv,
    text: ({ stats, dOut, out, lse }) => `
  var sum = 0.0;
  for (var d = i * p.Dv; d < (i + 1u) * p.Dv; d++) { sum = fma(${out("d")}, ${dOut("d")}, sum); }
  ${stats("2 * i")} = ${lse("i")};
  ${stats("2 * i + 1")} = sum;`,
  });
}
