// From a kernel's description to the WGSL text of one pipeline. A kernel names its operands and writes the body of `main`; what surrounds it (bindings,
// parameters, the flat index, the end of the work) is written here. Unusual: operands that lie in one buffer become one binding, because WebGPU refuses a
// buffer that is bound twice when one of the two is written; so the body never spells a variable but asks the operand for it.

import type { View } from "../backend.ts";
import { mathText } from "./math.ts";

/** How the shader sees the words of an operand. A vector's view begins at a multiple of its size, and so does its buffer. */
export type ElementType = "f32" | "i32" | "u32" | "vec4f" | "vec4i" | "vec4u";

export type Operand = { readonly view: View; readonly type: ElementType; readonly isWritten: boolean };

/** An operand that is only read. */
export function read(view: View, type: ElementType = "f32"): Operand {
  return { view, type, isWritten: false };
}

/** An operand that is written, or read and written. */
export function write(view: View, type: ElementType = "f32"): Operand {
  return { view, type, isWritten: true };
}

/** An operand in the text: `x("i")` is its element i, `x.array` the variable and `x.offset` where its view begins there, in elements of its type. */
export type Accessor = ((index: string) => string) & { readonly array: string; readonly offset: string };

type Operands = Readonly<Record<string, Operand | undefined>>;
type Accessors<O extends Operands> = { readonly [K in keyof O]: O[K] extends Operand ? Accessor : Accessor | undefined };

export type Program<O extends Operands = Operands> = {
  /** The kernel of the contract, for errors; with `variant` it says all that the text depends on beside the operands. */
  readonly kernel: string;
  readonly variant?: string;
  /** At most 8 different buffers: no device offers less. */
  readonly operands: O;
  /** u32 numbers of the text as `p.NAME`, modulo 2^32 (an i32 is to be bitcast). */
  readonly integers?: Readonly<Record<string, number>>;
  /** f32 numbers of the text as `p.NAME`. */
  readonly numbers?: Readonly<Record<string, number>>;
  /** One of the two. `invocations`: the body runs once for each, with `i` = 0 .. invocations - 1. `workgroups`: whole groups run, numbered `block`. */
  readonly invocations?: number;
  readonly workgroups?: number;
  /** Invocations of a group, numbered `local`. Default 64. At most 256. */
  readonly groupSize?: number;
  /** Multiply-adds in all, roughly (default: one for each invocation). What takes long is submitted in pieces of whole groups. */
  readonly work?: number;
  /** The body of `main`. With `declarations`: functions and workgroup variables that it uses. */
  readonly text: (operands: Accessors<O>) => string | { readonly declarations: string; readonly body: string };
};

export const defaultGroupSize = 64;

/** Numbers before those of the kernel: the groups of this dispatch, from and to; all invocations; 0. Then come an offset for each operand, integers, numbers. */
const header = ["first_block", "end_block", "invocations", "zero"];
export const headerWords = header.length;

/** One storage binding; operands in one buffer share it. */
export type Binding = { readonly type: ElementType; readonly isWritten: boolean };

/** The whole shader. `places[i]` is the binding of the i-th operand that is there. */
export function shaderText(program: Program, bindings: readonly Binding[], places: readonly number[]): string {
  const { operands, integers = {}, numbers = {}, invocations, groupSize = defaultGroupSize } = program;
  const accessors: Record<string, Accessor | undefined> = {};
  const offsets: string[] = [];
  for (const [name, operand] of Object.entries(operands)) {
    if (!operand) continue;
    const array = `buffer${places[offsets.length]}`;
    offsets.push(`${name}_offset`);
    const offset = `p.${name}_offset`;
    accessors[name] = Object.assign((index: string) => `${array}[${offset} + (${index})]`, { array, offset });
  }
  const given = program.text(accessors);
  const { declarations, body } = typeof given === "string" ? { declarations: "", body: given } : given;
  const fields = [...header, ...offsets, ...Object.keys(integers)].map((name) => `  ${name}: u32,`);
  const floats = Object.keys(numbers).map((name) => `  ${name}: f32,`);
  const storage = bindings.map(
    ({ type, isWritten }, i) =>
      `@group(0) @binding(${i + 1}) var<storage, ${isWritten ? "read_write" : "read"}> buffer${i}: array<${type}>;`,
  );
  const index = `let i = block * ${groupSize}u + local;
  if (i >= p.invocations) { return; }
`;
  return `struct Parameters {
${[...fields, ...floats].join("\n")}
}
@group(0) @binding(0) var<uniform> p: Parameters;
${storage.join("\n")}
${mathText}
${declarations}
@compute @workgroup_size(${groupSize})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = p.first_block + group.y * groups.x + group.x;
  if (block >= p.end_block) { return; }
${invocations === undefined ? "" : index}${body}
}
`;
}
