// One kernel call as data: operands, scalars, and which parts of it a smaller call must repeat bit for bit. `checkCase` runs it on a device
// and on the f64 reference and returns what is wrong. Every operand lies at an odd offset between guard bands: NaN around inputs, so what
// reads past an end shows; a pattern around outputs, so what writes past an end shows.

import type { Device, DeviceBuffer, KernelName, Kernels, View } from "../../src/backend/backend.ts";
import { contents } from "../../src/backend/reference/buffer.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import type { DType, HostArray, PackedType } from "../../src/core/dtype.ts";
import type { Random } from "../../src/core/random.ts";

export type Operand = {
  readonly dtype: DType;
  /** Contents before the call. */
  readonly data: Float32Array | Int32Array;
  /** in: must not change. out: elements that the reference leaves alone must not change. sum: read and written. */
  readonly role: "in" | "out" | "sum";
  /** Largest Σ(got - want)² / max(Σ want², n·scale²); 0 demands equality. */
  readonly bound: number;
  readonly scale: number;
  /** When given, largest |got - want| / |want| of any element, instead. */
  readonly relative?: number;
  /** A packed weight, given by its bytes; data is empty then, and the device is not read back. */
  readonly packed?: {
    readonly type: PackedType;
    readonly matrices: number;
    readonly rows: number;
    readonly width: number;
    readonly bytes: Uint8Array;
  };
};

export type Closeness = { readonly bound?: number; readonly scale?: number; readonly relative?: number };

export const elementwise = 1e-12;
export const summed = 1e-10;

/** What must come out with the same bits: elements start.. of the crowd's operand are elements from.. of the piece's. */
export type Alone = {
  readonly piece: KernelCase;
  readonly same: readonly { readonly operand: string; readonly start: number; readonly from?: number; readonly length: number }[];
};

export type KernelCase = {
  readonly kernel: KernelName;
  readonly label: string;
  readonly operands: Readonly<Record<string, Operand>>;
  readonly scalars: Readonly<Record<string, unknown>>;
  /** Operand -> operand whose memory it uses: in place, or v inside k. */
  readonly sharing: Readonly<Record<string, string>>;
  readonly alone: readonly Alone[];
};

type Args<N extends KernelName> = Parameters<Kernels[N]>[0];
type ViewName<A> = { [P in keyof A]-?: NonNullable<A[P]> extends View ? P : never }[keyof A];
type Operands<N extends KernelName> = {
  readonly [P in ViewName<Args<N>> as P extends string ? P : never]: Args<N>[P] extends View ? Operand : Operand | undefined;
};

export type Cases = (random: Random) => KernelCase[];

/** A typed case: the compiler asks for every view as an operand and every scalar of the kernel. */
export function kernelCase<N extends KernelName>(
  kernel: N,
  operands: Operands<N>,
  scalars: Omit<Args<N>, ViewName<Args<N>>>,
  more: {
    readonly label?: string;
    readonly sharing?: Partial<Record<keyof Operands<N>, keyof Operands<N> & string>>;
    readonly alone?: readonly Alone[];
  } = {},
): KernelCase {
  const given: Record<string, Operand> = {};
  for (const [name, operand] of Object.entries<Operand | undefined>(operands)) if (operand) given[name] = operand;
  const sizes = Object.entries(scalars).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const sharing = (more.sharing ?? {}) as Record<string, string>;
  const shared = Object.entries(sharing).map(([a, b]) => `${a} on ${b}`);
  const label = [kernel, ...(more.label ? [`(${more.label})`] : []), ...sizes, ...shared].join(" ");
  return { kernel, label, operands: given, scalars, sharing, alone: more.alone ?? [] };
}

export function input(data: Float32Array | Int32Array): Operand {
  return { dtype: data instanceof Int32Array ? "i32" : "f32", data, role: "in", bound: 0, scale: 0 };
}

export function integers(...values: readonly number[]): Operand {
  return input(Int32Array.from(values));
}

/** Weights of a packed type: whole rows in the file's layout. */
export function packed(type: PackedType, matrices: number, rows: number, width: number, bytes: Uint8Array): Operand {
  return { ...input(new Float32Array(0)), packed: { type, matrices, rows, width, bytes } };
}

/** An output whose first contents are a pattern that no kernel computes. */
export function output(length: number, closeness: Closeness = {}): Operand {
  return {
    dtype: "f32",
    data: Float32Array.from({ length }, (_, i) => pattern(i)),
    role: "out",
    bound: elementwise,
    scale: 0.01,
    ...closeness,
  };
}

export function outputIntegers(length: number): Operand {
  return { dtype: "i32", data: Int32Array.from({ length }, (_, i) => integerPattern + i), role: "out", bound: 0, scale: 0 };
}

/** An output that the kernel adds to or updates. */
export function sum(data: Float32Array, closeness: Closeness = {}): Operand {
  return { dtype: "f32", data, role: "sum", bound: elementwise, scale: 0.01, ...closeness };
}

/** output or sum, whichever `accumulate` asks for. */
export function result(random: Random, length: number, accumulate: boolean, closeness: Closeness = {}): Operand {
  return accumulate ? sum(normals(random, length), closeness) : output(length, closeness);
}

export function normals(random: Random, length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, () => random.normal() * scale);
}

export function part<T extends Float32Array | Int32Array>(data: T, start: number, length: number): T {
  return data.slice(start, start + length) as T;
}

const integerPattern = 0x5a5a0000;
const inputGuard = 0x7ffffff0;

function pattern(i: number): number {
  return -7777.5 - (i % 1000);
}

type Placed = { readonly before: number; readonly after: number };

/** Guard sizes by label, so that cases lie at all alignments. */
function placement(label: string, name: string): Placed {
  let hash = 0;
  for (const char of label + name) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0;
  return { before: 8 + (hash % 7), after: 9 + (hash % 5) };
}

function guardValue(operand: Operand, i: number): number {
  if (operand.role === "in") return operand.dtype === "i32" ? inputGuard : Number.NaN;
  return operand.dtype === "i32" ? integerPattern - 1 - i : pattern(i) - 0.25;
}

/** Contents of every operand's buffer, guards included. */
function initialContents(c: KernelCase, name: string): Float32Array | Int32Array {
  const operand = c.operands[name] as Operand;
  const { before, after } = placement(c.label, name);
  const length = before + operand.data.length + after;
  const whole = operand.dtype === "i32" ? new Int32Array(length) : new Float32Array(length);
  for (let i = 0; i < length; i++) whole[i] = guardValue(operand, i);
  whole.set(operand.data, before);
  return whole;
}

function record(device: Device, c: KernelCase): Record<string, DeviceBuffer> {
  const buffers: Record<string, DeviceBuffer> = {};
  const views: Record<string, View> = {};
  for (const name of Object.keys(c.operands)) {
    if (c.sharing[name]) continue;
    const { packed } = c.operands[name] as Operand;
    if (packed) {
      buffers[name] = packedBuffer(device, packed);
      views[name] = { buffer: buffers[name], offset: 0 };
      continue;
    }
    const whole = initialContents(c, name);
    const buffer = device.allocate(c.operands[name]!.dtype, whole.length);
    device.write(buffer, 0, whole);
    buffers[name] = buffer;
    views[name] = { buffer, offset: placement(c.label, name).before };
  }
  for (const [name, owner] of Object.entries(c.sharing)) views[name] = views[owner] as View;
  const call = device.kernels[c.kernel] as (args: Record<string, unknown>) => void;
  call({ ...c.scalars, ...views });
  return buffers;
}

/** Written in three unequal parts, last rows first. */
function packedBuffer(device: Device, { type, matrices, rows, width, bytes }: NonNullable<Operand["packed"]>): DeviceBuffer {
  const buffer = device.allocatePacked(type, matrices, rows, width);
  const all = matrices * rows;
  const rowBytes = bytes.length / Math.max(all, 1);
  const cuts = [0, Math.floor(all * 0.4), Math.floor(all * 0.55), all];
  for (const i of [2, 1, 0]) {
    const [from = 0, to = 0] = [cuts[i], cuts[i + 1]];
    const part = bytes.slice(from * rowBytes, to * rowBytes);
    if (to > from) device.writePacked(buffer, from, part);
    part.fill(0xff);
  }
  return buffer;
}

/** Runs a case; the result holds each operand's buffer with its guards. */
async function run(device: Device, c: KernelCase): Promise<Record<string, HostArray>> {
  const buffers = record(device, c);
  const read: Record<string, HostArray> = {};
  for (const [name, buffer] of Object.entries(buffers)) {
    read[name] = c.operands[name]?.packed ? new Float32Array(0) : await device.read(buffer, 0, buffer.length);
  }
  for (const buffer of Object.values(buffers)) device.release(buffer);
  return read;
}

const computed = new WeakMap<KernelCase, Record<string, HostArray>>();

/** What the f64 reference computes, at once, without guards; once for each case. */
export function referenceResult(c: KernelCase): Record<string, HostArray> {
  const before = computed.get(c);
  if (before) return before;
  const buffers = record(openReference({ precision: "f64" }), c);
  const result: Record<string, HostArray> = Object.fromEntries(
    Object.keys(c.operands)
      .filter((name) => !c.operands[name]?.packed)
      .map((name) => [name, withoutGuards(c, name, contents(buffers[c.sharing[name] ?? name]!))]),
  );
  computed.set(c, result);
  return result;
}

export function referenceFloats(c: KernelCase, name: string): Float32Array {
  return Float32Array.from(referenceResult(c)[name] as HostArray);
}

function withoutGuards(c: KernelCase, name: string, whole: HostArray): HostArray {
  const { before } = placement(c.label, c.sharing[name] ?? name);
  return whole.slice(before, before + c.operands[name]!.data.length);
}

/** Runs a case, its pieces and (when given) a twin that must agree bit for bit; returns complaints, none when all is well. */
export async function checkCase(device: Device, c: KernelCase, twin?: Device): Promise<string[]> {
  const complaints: string[] = [];
  const got = await run(device, c);
  const want = referenceResult(c);
  for (const [name, operand] of Object.entries(c.operands)) {
    if (operand.packed) continue;
    const owner = c.sharing[name] ?? name;
    const whole = got[owner] as HostArray;
    if (owner === name) {
      const written = Object.entries(c.sharing).some(([sharer, of]) => of === name && c.operands[sharer]!.role !== "in");
      complaints.push(...untouched(c, name, whole, written));
    }
    if (operand.role !== "in") complaints.push(...compare(operand, name, withoutGuards(c, name, whole), want[name] as HostArray));
  }
  for (const { piece, same } of c.alone) complaints.push(...(await checkPiece(device, c, got, piece, same)));
  if (twin) {
    const other = await run(twin, c);
    for (const name of Object.keys(got)) {
      const at = firstDifference(got[name]!, 0, other[name]!, 0, got[name]!.length);
      if (at >= 0) complaints.push(`${name}: differs from the twin device at ${at}: ${got[name]![at]} and ${other[name]![at]}`);
    }
  }
  return complaints.map((complaint) => `${c.label}: ${complaint}`);
}

/** Guards, and inputs as a whole, must hold what they held. */
function untouched(c: KernelCase, name: string, whole: HostArray, written: boolean): string[] {
  const operand = c.operands[name] as Operand;
  const { before } = placement(c.label, name);
  const initial = initialContents(c, name);
  const complaints: string[] = [];
  for (let i = 0; i < initial.length && complaints.length < 3; i++) {
    const inside = i >= before && i < before + operand.data.length;
    if (inside && (written || operand.role !== "in")) continue;
    if (!Object.is(whole[i], initial[i])) complaints.push(`${name}[${i - before}] of ${operand.data.length} was overwritten: ${whole[i]}`);
  }
  return complaints;
}

function compare(operand: Operand, name: string, got: HostArray, want: HostArray): string[] {
  let error = 0;
  let norm = 0;
  let count = 0;
  for (let i = 0; i < want.length; i++) {
    const w = want[i]!;
    const g = got[i]!;
    const rounded = operand.dtype === "i32" ? w : Math.fround(w);
    const leftAlone = operand.role === "out" && Object.is(rounded, operand.data[i]);
    const mustEqual = leftAlone || operand.bound === 0 || !Number.isFinite(rounded);
    if (mustEqual) {
      if (g !== rounded && !(Number.isNaN(g) && Number.isNaN(rounded))) return [`${name}[${i}]: got ${g}, expected exactly ${rounded}`];
      continue;
    }
    if (!Number.isFinite(g)) return [`${name}[${i}]: got ${g}, expected ${w}`];
    if (operand.relative !== undefined && Math.abs(g - w) > operand.relative * Math.abs(w) + 1e-37) {
      return [`${name}[${i}]: got ${g}, expected ${w}: relative error ${Math.abs(g - w) / Math.abs(w)}, allowed ${operand.relative}`];
    }
    error += (g - w) ** 2;
    norm += w * w;
    count++;
  }
  if (operand.relative !== undefined) return [];
  const allowed = operand.bound * Math.max(norm, count * operand.scale ** 2);
  if (error <= allowed) return [];
  return [`${name}: Σ error² ${error}, allowed ${allowed} (${count} elements); got ${got.slice(0, 6)}, expected ${want.slice(0, 6)}`];
}

async function checkPiece(
  device: Device,
  c: KernelCase,
  crowd: Record<string, HostArray>,
  piece: KernelCase,
  same: Alone["same"],
): Promise<string[]> {
  const alone = await run(device, piece);
  const complaints: string[] = [];
  for (const { operand, start, from = 0, length } of same) {
    const a = withoutGuards(c, operand, crowd[c.sharing[operand] ?? operand]!);
    const b = withoutGuards(piece, operand, alone[piece.sharing[operand] ?? operand]!);
    if (start + length > a.length || from + length > b.length) throw new Error(`${c.label}: a wrong piece ${piece.label}`);
    const at = firstDifference(a, start, b, from, length);
    if (at >= 0) complaints.push(`bitwise law: ${operand}[${start + at}] is ${a[start + at]}, alone ${b[from + at]} in ${piece.label}`);
  }
  return complaints;
}

function firstDifference(a: HostArray, aStart: number, b: HostArray, bStart: number, length: number): number {
  for (let i = 0; i < length; i++) if (!Object.is(a[aStart + i], b[bStart + i])) return i;
  return -1;
}
