// Rows as they lie in a file to the panels of packed-matmul.ts; any number of rows at any place. Threads share the panels that the rows touch. Each
// row is spread over its lane of the panel in pieces of 4 bytes, which stays in the nearest cache: about 10 GB/s a core.

import { share } from "./control";
import { halfRepack } from "./packed-half";
import {
  BF16, F16, IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K,
} from "./packed-matmul";
import { MINIMUM, PLAIN, q4Repack, SUPER } from "./packed-q4";
import { q5Repack } from "./packed-q5";
import { q6kRepack } from "./packed-q6k";
import { q8Repack } from "./packed-q8";
import { iq4nlRepack, iq4xsRepack, mxfp4Repack, q2kRepack, q3kRepack } from "./packed-rest";

/** Arguments: w, source, type, firstRow, rows, N (rows of a matrix), K, panelBytes, rowBytes, flip. */
export function packedRepack(p: usize, thread: i32, threads: i32): void {
  const w = <usize>load<u32>(p);
  const source = <usize>load<u32>(p, 4);
  const type = load<i32>(p, 8);
  const first = load<i32>(p, 12);
  const end = first + load<i32>(p, 16);
  const N = load<i32>(p, 20);
  const K = load<i32>(p, 24);
  const panelBytes = <usize>load<u32>(p, 28);
  const rowBytes = <usize>load<u32>(p, 32);
  const flip = load<i32>(p, 36);
  const panelRows = type == F16 || type == BF16 ? 16 : 8;
  const panels = (N + panelRows - 1) / panelRows;
  const firstPanel = (first / N) * panels + (first % N) / panelRows;
  const lastPanel = ((end - 1) / N) * panels + ((end - 1) % N) / panelRows;
  const units = lastPanel - firstPanel + 1;
  const to = firstPanel + share(units, thread + 1, threads);
  let infinite: u32 = 0;
  let denormal: u32 = 0;
  for (let panel = firstPanel + share(units, thread, threads); panel < to; panel++) {
    const base = (panel / panels) * N;
    const panelRow = base + (panel % panels) * panelRows;
    const fromRow = max(first, panelRow);
    const toRow = min(min(end, panelRow + panelRows), base + N);
    const target = w + 64 + <usize>panel * panelBytes;
    const from = source + <usize>(fromRow - first) * rowBytes;
    if (panelRows == 16) {
      infinite += halfRepack(type == F16, target, fromRow - panelRow, toRow - fromRow, from, K);
      continue;
    }
    for (let row = fromRow; row < toRow; row++) {
      const found = repackRow(type, target, row - panelRow, from + <usize>(row - fromRow) * rowBytes, K >> 5, flip);
      infinite += found & 0xffff;
      denormal += found >> 16;
    }
  }
  if (infinite != 0) atomic.add<u32>(w, infinite);
  if (denormal != 0) atomic.add<u32>(w + 4, denormal);
}

function repackRow(type: i32, target: usize, row: usize, from: usize, blocks: i32, flip: i32): u32 {
  switch (type) {
    case Q4_0: return q4Repack(PLAIN, target, row, from, blocks);
    case Q4_1: return q4Repack(MINIMUM, target, row, from, blocks);
    case Q4_K: return q4Repack(SUPER, target, row, from, blocks);
    case Q5_0: return q5Repack(PLAIN, target, row, from, blocks);
    case Q5_1: return q5Repack(MINIMUM, target, row, from, blocks);
    case Q5_K: return q5Repack(SUPER, target, row, from, blocks);
    case Q6_K: q6kRepack(target, row, from, blocks); return 0;
    case IQ4_NL: return iq4nlRepack(target, row, from, blocks, flip);
    case Q2_K: q2kRepack(target, row, from, blocks); return 0;
    case Q3_K: q3kRepack(target, row, from, blocks); return 0;
    case IQ4_XS: iq4xsRepack(target, row, from, blocks, flip); return 0;
    case MXFP4: mxfp4Repack(target, row, from, blocks); return 0;
    default: return q8Repack(target, row, from, blocks, flip);
  }
}
