// fill: sets n elements to one value, f32 or i32.

import type { Kernels } from "../backend.ts";
import { write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function fill(recorder: Recorder): Kernels["fill"] {
  return ({ out, n, value }) =>
    recorder.run({
      kernel: "fill",
      operands: { out: write(out, "u32") },
      integers: { bits: out.buffer.dtype === "i32" ? value : bitsOf(value) },
      invocations: n,
      text: ({ out }) => `${out("i")} = p.bits;`,
    });
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0] as number;
}
