// What this machine can do at most, measured with the same threads and the same build as the kernels: bytes read, and multiply-adds on registers alone.
// probeRead(x, bytes, out): each thread reads its share. probeFma(out, rounds, chains): 24 or 12 independent
// chains of `rounds` multiply-adds; more than 16 registers hold would measure the stack.

import { share } from "./control";
import { madd } from "./math";
import { dot } from "./packed-codes";

export function probeRead(p: usize, thread: i32, threads: i32): void {
  const x = <usize>load<u32>(p);
  const blocks = load<i32>(p, 4) >> 7;
  const out = <usize>load<u32>(p, 8) + (<usize>thread << 6);
  let at = x + (<usize>share(blocks, thread, threads) << 7);
  const end = x + (<usize>share(blocks, thread + 1, threads) << 7);
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  for (; at < end; at += 128) {
    a = v128.xor(a, v128.xor(v128.load(at), v128.load(at, 16)));
    b = v128.xor(b, v128.xor(v128.load(at, 32), v128.load(at, 48)));
    c = v128.xor(c, v128.xor(v128.load(at, 64), v128.load(at, 80)));
    d = v128.xor(d, v128.xor(v128.load(at, 96), v128.load(at, 112)));
  }
  v128.store(out, v128.xor(v128.xor(a, b), v128.xor(c, d)));
}

export function probeFma(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p) + (<usize>thread << 9);
  const rounds = load<i32>(p, 4);
  if (load<i32>(p, 8) == 24) chains24(out, rounds);
  else chains12(out, rounds);
}

/** 12 pairs, which the wide build fuses: 12 chains of 8 lanes. */
function chains24(out: usize, rounds: i32): void {
  const x0 = v128.load(out);
  const x1 = v128.load(out, 16);
  const y0 = v128.load(out, 32);
  const y1 = v128.load(out, 48);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0);
  let c5 = f32x4.splat(0);
  let c6 = f32x4.splat(0);
  let c7 = f32x4.splat(0);
  let c8 = f32x4.splat(0);
  let c9 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c13 = f32x4.splat(0);
  let c14 = f32x4.splat(0);
  let c15 = f32x4.splat(0);
  let c16 = f32x4.splat(0);
  let c17 = f32x4.splat(0);
  let c18 = f32x4.splat(0);
  let c19 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let c23 = f32x4.splat(0);
  for (let k = 0; k < rounds; k++) {
    c0 = madd(x0, y0, c0);
    c1 = madd(x1, y1, c1);
    c2 = madd(x0, y0, c2);
    c3 = madd(x1, y1, c3);
    c4 = madd(x0, y0, c4);
    c5 = madd(x1, y1, c5);
    c6 = madd(x0, y0, c6);
    c7 = madd(x1, y1, c7);
    c8 = madd(x0, y0, c8);
    c9 = madd(x1, y1, c9);
    c10 = madd(x0, y0, c10);
    c11 = madd(x1, y1, c11);
    c12 = madd(x0, y0, c12);
    c13 = madd(x1, y1, c13);
    c14 = madd(x0, y0, c14);
    c15 = madd(x1, y1, c15);
    c16 = madd(x0, y0, c16);
    c17 = madd(x1, y1, c17);
    c18 = madd(x0, y0, c18);
    c19 = madd(x1, y1, c19);
    c20 = madd(x0, y0, c20);
    c21 = madd(x1, y1, c21);
    c22 = madd(x0, y0, c22);
    c23 = madd(x1, y1, c23);
  }
  v128.store(out, c0, 0);
  v128.store(out, c1, 16);
  v128.store(out, c2, 32);
  v128.store(out, c3, 48);
  v128.store(out, c4, 64);
  v128.store(out, c5, 80);
  v128.store(out, c6, 96);
  v128.store(out, c7, 112);
  v128.store(out, c8, 128);
  v128.store(out, c9, 144);
  v128.store(out, c10, 160);
  v128.store(out, c11, 176);
  v128.store(out, c12, 192);
  v128.store(out, c13, 208);
  v128.store(out, c14, 224);
  v128.store(out, c15, 240);
  v128.store(out, c16, 256);
  v128.store(out, c17, 272);
  v128.store(out, c18, 288);
  v128.store(out, c19, 304);
  v128.store(out, c20, 320);
  v128.store(out, c21, 336);
  v128.store(out, c22, 352);
  v128.store(out, c23, 368);
}

/** As many as 16 registers hold beside the factors. */
function chains12(out: usize, rounds: i32): void {
  const x0 = v128.load(out);
  const x1 = v128.load(out, 16);
  const y0 = v128.load(out, 32);
  const y1 = v128.load(out, 48);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  let c4 = f32x4.splat(0);
  let c5 = f32x4.splat(0);
  let c6 = f32x4.splat(0);
  let c7 = f32x4.splat(0);
  let c8 = f32x4.splat(0);
  let c9 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  for (let k = 0; k < rounds; k++) {
    c0 = madd(x0, y0, c0);
    c1 = madd(x1, y1, c1);
    c2 = madd(x0, y0, c2);
    c3 = madd(x1, y1, c3);
    c4 = madd(x0, y0, c4);
    c5 = madd(x1, y1, c5);
    c6 = madd(x0, y0, c6);
    c7 = madd(x1, y1, c7);
    c8 = madd(x0, y0, c8);
    c9 = madd(x1, y1, c9);
    c10 = madd(x0, y0, c10);
    c11 = madd(x1, y1, c11);
  }
  v128.store(out, c0, 0);
  v128.store(out, c1, 16);
  v128.store(out, c2, 32);
  v128.store(out, c3, 48);
  v128.store(out, c4, 64);
  v128.store(out, c5, 80);
  v128.store(out, c6, 96);
  v128.store(out, c7, 112);
  v128.store(out, c8, 128);
  v128.store(out, c9, 144);
  v128.store(out, c10, 160);
  v128.store(out, c11, 176);
}

/** probeDot(out): what a relaxed dot product of 4 × -127 and 4 bytes of 255 gives. */
export function probeDot(p: usize, thread: i32, threads: i32): void {
  if (thread != 0) return;
  // From memory, so that the engine does not compute it in advance.
  const out = <usize>load<u32>(p);
  store<u32>(out, 0x81818181);
  store<u32>(out, 0xffffffff, 4);
  store<i32>(out, i32x4.extract_lane(dot(v128.load32_splat(out), v128.load32_splat(out, 4), i32x4.splat(0)), 0));
}
