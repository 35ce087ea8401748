// Rows of a packed table by id, decoded exactly: the row's panel is unpacked to the thread's scratch (as for products with many rows), and the row read from it.
// Rows outside the table are zeros. 8 times the work of one row, which is small beside everything else that a token costs.

import { share } from "./control";
import { codesBlockBytes } from "./packed-sums";
import { halfRow } from "./packed-half";
import { BF16, F16, isAwkward, panelCodes, storeConstants } from "./packed-matmul";

/** Arguments: out, table, ids, rows, width, vocab, N (rows of a matrix), type, halves, minimum, offset, panelBytes, scratch, scratchStride. */
export function packedEmbedding(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const table = <usize>load<u32>(p, 4);
  const ids = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = load<i32>(p, 16);
  const vocab = load<u32>(p, 20);
  const N = load<u32>(p, 24);
  const type = load<i32>(p, 28);
  const halves = load<i32>(p, 32);
  const minimum = load<i32>(p, 36) != 0;
  const offset = load<i32>(p, 40);
  const panelBytes = <usize>load<u32>(p, 44);
  const scratch = <usize>load<u32>(p, 48) + <usize>thread * <usize>load<u32>(p, 52);
  const panelRows: u32 = type == F16 || type == BF16 ? 16 : 8;
  const panels = (N + panelRows - 1) / panelRows;
  const careful = isAwkward(table, <u64>vocab * <u64>(width >> 5));
  storeConstants(scratch);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const id = load<u32>(ids + (<usize>r << 2));
    const target = out + (<usize>r * <usize>width << 2);
    if (id >= vocab) {
      memory.fill(target, 0, <usize>width << 2);
      continue;
    }
    const row = id % N;
    const panel = table + 64 + <usize>((id / N) * panels + row / panelRows) * panelBytes;
    if (panelRows == 16) halfRow(type == F16, panel, row & 15, width, target);
    else decodeRow(panelCodes(type, careful, panel, width >> 5, scratch + 64, scratch), row & 7, width >> 5, halves, minimum, offset, target);
  }
}

/** Row `row` of a panel of codes. */
function decodeRow(codes: usize, row: usize, blocks: i32, halves: i32, minimum: bool, offset: i32, out: usize): void {
  const scalesBytes = codesBlockBytes(halves, minimum) - 256;
  for (let b = 0; b < blocks; b++) {
    for (let group = 0; group < 8; group++) {
      const half: usize = halves == 2 && group >= 4 ? 32 : 0;
      const scale = load<f32>(codes + half + (row << 2));
      const least = minimum ? load<f32>(codes + <usize>halves * 32 + half + (row << 2)) : 0;
      const four = codes + scalesBytes + (<usize>group << 5) + (row << 2);
      for (let j: usize = 0; j < 4; j++) {
        // A minimum of 0 must not turn -0 into 0.
        // Codes are below 128 unless they are signed (offset 0) or signed + 128.
        const code = offset == 128 ? <i32>load<u8>(four + j) : <i32>load<i8>(four + j);
        const value = <f32>(code - offset) * scale;
        store<f32>(out, minimum ? value + least : value);
        out += 4;
      }
    }
    codes += scalesBytes + 256;
  }
}
