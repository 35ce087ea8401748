// Register blocks of the matrix product, unrolled by hand. Each multiplies six rows of A, `rowStride` bytes apart with `step` bytes between elements (as A lies,
// or a packed strip [K][6]: 4 and 24), by a packed panel of B ([K][columns]) and keeps every sum in a vector register: one chain of multiply-adds over k for each output element. 6×8 is the most that 16 registers
// hold in the 128-bit builds (57 GFLOP/s a core where the peak is 59); 6×16 is for the wide build, where V8 fuses the pairs of adjacent vectors into 256-bit registers.
// Narrow blocks (one row) stream B for decoding. Each vector is stored once, pairs side by side: a second use of the sums (adding to what the output holds, say)
// keeps V8 from fusing, 59 instead of 113 GFLOP/s a core.

import { madd } from "./math";

/** 6 rows by 8 columns. */
export function tile6x8(a: usize, rowStride: usize, step: usize, b: usize, K: i32, out: usize, outStride: usize): void {
  let c0_0 = f32x4.splat(0);
  let c0_1 = f32x4.splat(0);
  let c1_0 = f32x4.splat(0);
  let c1_1 = f32x4.splat(0);
  let c2_0 = f32x4.splat(0);
  let c2_1 = f32x4.splat(0);
  let c3_0 = f32x4.splat(0);
  let c3_1 = f32x4.splat(0);
  let c4_0 = f32x4.splat(0);
  let c4_1 = f32x4.splat(0);
  let c5_0 = f32x4.splat(0);
  let c5_1 = f32x4.splat(0);
  let p0 = a;
  let p1 = p0 + rowStride;
  let p2 = p1 + rowStride;
  let p3 = p2 + rowStride;
  let p4 = p3 + rowStride;
  let p5 = p4 + rowStride;
  const end = b + (<usize>K << 5);
  while (b < end) {
    const b0 = v128.load(b, 0);
    const b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(p0);
    c0_0 = madd(a0, b0, c0_0);
    c0_1 = madd(a0, b1, c0_1);
    const a1 = v128.load32_splat(p1);
    c1_0 = madd(a1, b0, c1_0);
    c1_1 = madd(a1, b1, c1_1);
    const a2 = v128.load32_splat(p2);
    c2_0 = madd(a2, b0, c2_0);
    c2_1 = madd(a2, b1, c2_1);
    const a3 = v128.load32_splat(p3);
    c3_0 = madd(a3, b0, c3_0);
    c3_1 = madd(a3, b1, c3_1);
    const a4 = v128.load32_splat(p4);
    c4_0 = madd(a4, b0, c4_0);
    c4_1 = madd(a4, b1, c4_1);
    const a5 = v128.load32_splat(p5);
    c5_0 = madd(a5, b0, c5_0);
    c5_1 = madd(a5, b1, c5_1);
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    p4 += step;
    p5 += step;
    b += 32;
  }
  v128.store(out + 0 * outStride, c0_0, 0);
  v128.store(out + 0 * outStride, c0_1, 16);
  v128.store(out + 1 * outStride, c1_0, 0);
  v128.store(out + 1 * outStride, c1_1, 16);
  v128.store(out + 2 * outStride, c2_0, 0);
  v128.store(out + 2 * outStride, c2_1, 16);
  v128.store(out + 3 * outStride, c3_0, 0);
  v128.store(out + 3 * outStride, c3_1, 16);
  v128.store(out + 4 * outStride, c4_0, 0);
  v128.store(out + 4 * outStride, c4_1, 16);
  v128.store(out + 5 * outStride, c5_0, 0);
  v128.store(out + 5 * outStride, c5_1, 16);
}

/** 6 rows by 16 columns: 24 vectors, 12 when fused. */
export function tile6x16(a: usize, rowStride: usize, step: usize, b: usize, K: i32, out: usize, outStride: usize): void {
  let c0_0 = f32x4.splat(0);
  let c0_1 = f32x4.splat(0);
  let c0_2 = f32x4.splat(0);
  let c0_3 = f32x4.splat(0);
  let c1_0 = f32x4.splat(0);
  let c1_1 = f32x4.splat(0);
  let c1_2 = f32x4.splat(0);
  let c1_3 = f32x4.splat(0);
  let c2_0 = f32x4.splat(0);
  let c2_1 = f32x4.splat(0);
  let c2_2 = f32x4.splat(0);
  let c2_3 = f32x4.splat(0);
  let c3_0 = f32x4.splat(0);
  let c3_1 = f32x4.splat(0);
  let c3_2 = f32x4.splat(0);
  let c3_3 = f32x4.splat(0);
  let c4_0 = f32x4.splat(0);
  let c4_1 = f32x4.splat(0);
  let c4_2 = f32x4.splat(0);
  let c4_3 = f32x4.splat(0);
  let c5_0 = f32x4.splat(0);
  let c5_1 = f32x4.splat(0);
  let c5_2 = f32x4.splat(0);
  let c5_3 = f32x4.splat(0);
  let p0 = a;
  let p1 = p0 + rowStride;
  let p2 = p1 + rowStride;
  let p3 = p2 + rowStride;
  let p4 = p3 + rowStride;
  let p5 = p4 + rowStride;
  const end = b + (<usize>K << 6);
  while (b < end) {
    const b0 = v128.load(b, 0);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(b, 32);
    const b3 = v128.load(b, 48);
    const a0 = v128.load32_splat(p0);
    c0_0 = madd(a0, b0, c0_0);
    c0_1 = madd(a0, b1, c0_1);
    c0_2 = madd(a0, b2, c0_2);
    c0_3 = madd(a0, b3, c0_3);
    const a1 = v128.load32_splat(p1);
    c1_0 = madd(a1, b0, c1_0);
    c1_1 = madd(a1, b1, c1_1);
    c1_2 = madd(a1, b2, c1_2);
    c1_3 = madd(a1, b3, c1_3);
    const a2 = v128.load32_splat(p2);
    c2_0 = madd(a2, b0, c2_0);
    c2_1 = madd(a2, b1, c2_1);
    c2_2 = madd(a2, b2, c2_2);
    c2_3 = madd(a2, b3, c2_3);
    const a3 = v128.load32_splat(p3);
    c3_0 = madd(a3, b0, c3_0);
    c3_1 = madd(a3, b1, c3_1);
    c3_2 = madd(a3, b2, c3_2);
    c3_3 = madd(a3, b3, c3_3);
    const a4 = v128.load32_splat(p4);
    c4_0 = madd(a4, b0, c4_0);
    c4_1 = madd(a4, b1, c4_1);
    c4_2 = madd(a4, b2, c4_2);
    c4_3 = madd(a4, b3, c4_3);
    const a5 = v128.load32_splat(p5);
    c5_0 = madd(a5, b0, c5_0);
    c5_1 = madd(a5, b1, c5_1);
    c5_2 = madd(a5, b2, c5_2);
    c5_3 = madd(a5, b3, c5_3);
    p0 += step;
    p1 += step;
    p2 += step;
    p3 += step;
    p4 += step;
    p5 += step;
    b += 64;
  }
  v128.store(out + 0 * outStride, c0_0, 0);
  v128.store(out + 0 * outStride, c0_1, 16);
  v128.store(out + 0 * outStride, c0_2, 32);
  v128.store(out + 0 * outStride, c0_3, 48);
  v128.store(out + 1 * outStride, c1_0, 0);
  v128.store(out + 1 * outStride, c1_1, 16);
  v128.store(out + 1 * outStride, c1_2, 32);
  v128.store(out + 1 * outStride, c1_3, 48);
  v128.store(out + 2 * outStride, c2_0, 0);
  v128.store(out + 2 * outStride, c2_1, 16);
  v128.store(out + 2 * outStride, c2_2, 32);
  v128.store(out + 2 * outStride, c2_3, 48);
  v128.store(out + 3 * outStride, c3_0, 0);
  v128.store(out + 3 * outStride, c3_1, 16);
  v128.store(out + 3 * outStride, c3_2, 32);
  v128.store(out + 3 * outStride, c3_3, 48);
  v128.store(out + 4 * outStride, c4_0, 0);
  v128.store(out + 4 * outStride, c4_1, 16);
  v128.store(out + 4 * outStride, c4_2, 32);
  v128.store(out + 4 * outStride, c4_3, 48);
  v128.store(out + 5 * outStride, c5_0, 0);
  v128.store(out + 5 * outStride, c5_1, 16);
  v128.store(out + 5 * outStride, c5_2, 32);
  v128.store(out + 5 * outStride, c5_3, 48);
}

/** 1 row by 8 columns. */
export function tile1x8(a: usize, b: usize, K: i32, out: usize, outStride: usize): void {
  let c0_0 = f32x4.splat(0);
  let c0_1 = f32x4.splat(0);
  for (let k = 0; k < K; k++) {
    const b0 = v128.load(b, 0);
    const b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a, 0);
    c0_0 = madd(a0, b0, c0_0);
    c0_1 = madd(a0, b1, c0_1);
    a += 4;
    b += 32;
  }
  v128.store(out + 0 * outStride, c0_0, 0);
  v128.store(out + 0 * outStride, c0_1, 16);
}

/** 1 row by 16 columns. */
export function tile1x16(a: usize, b: usize, K: i32, out: usize, outStride: usize): void {
  let c0_0 = f32x4.splat(0);
  let c0_1 = f32x4.splat(0);
  let c0_2 = f32x4.splat(0);
  let c0_3 = f32x4.splat(0);
  for (let k = 0; k < K; k++) {
    const b0 = v128.load(b, 0);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(b, 32);
    const b3 = v128.load(b, 48);
    const a0 = v128.load32_splat(a, 0);
    c0_0 = madd(a0, b0, c0_0);
    c0_1 = madd(a0, b1, c0_1);
    c0_2 = madd(a0, b2, c0_2);
    c0_3 = madd(a0, b3, c0_3);
    a += 4;
    b += 64;
  }
  v128.store(out + 0 * outStride, c0_0, 0);
  v128.store(out + 0 * outStride, c0_1, 16);
  v128.store(out + 0 * outStride, c0_2, 32);
  v128.store(out + 0 * outStride, c0_3, 48);
}
