// Opens the WebAssembly device: picks the build, compiles the module, starts the threads. `wide` is the relaxed module with 16-column register
// blocks, compiled after V8 was told to fuse pairs of 128-bit operations; whoever opens it must self-test it first (../self-test.ts).

import { DeviceError } from "../../core/errors.ts";
import type { Host } from "../../core/host.ts";
import { WasmDevice } from "./device.ts";
import { relaxed, simd128 } from "./generated/modules.ts";
import { SharedHeap } from "./memory.ts";
import type { DotKind } from "./packed.ts";
import { Pool } from "./pool.ts";
import { Recorder } from "./recorder.ts";
import { withUnsharedMemory } from "./unshared.ts";

export type WasmBuild = "wide" | "relaxed" | "simd128";

/** (module (func (result v128) (f32x4.relaxed_madd (v128.const 0) …))): valid only where relaxed SIMD is. */
const relaxedProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0, 253, 15, 65, 0, 253, 15, 253,
  133, 2, 11,
]);

/** A custom section that holds nothing: the engine keeps compiled code by a module's bytes, and the relaxed build must never get the fused code of the wide one. */
const wideSection = [0, 5, 4, 119, 105, 100, 101];

export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(relaxedProbe);
}

/** Builds that this engine can run, fastest first. */
export function availableBuilds(host: Host): WasmBuild[] {
  if (!hasRelaxedSimd()) return ["simd128"];
  return host.canFuseSimd ? ["wide", "relaxed", "simd128"] : ["relaxed", "simd128"];
}

export type WasmOptions = {
  readonly threads?: number;
  readonly build?: WasmBuild;
  /** Memories for packed weights beside the first; 0 by default. */
  readonly farMemories?: number;
  /** Bytes of weights in each of them, at most 3.75 GiB. */
  readonly farCapacity?: number;
  /** For tests: takes the engine's dot product for less than it is. */
  readonly dots?: DotKind;
};

/** What a far memory holds beside the rows of x that visit it and what a load stages. */
export const mostFarBytes = 3.75 * 2 ** 30;

/** So many bytes of weights leave room for cache and intermediates in the first memory. */
const nearBytes = 2.5 * 2 ** 30;
/** Weights planned into each further memory: what it holds at most, less what its last tensor may waste. */
const farBytes = 3.25 * 2 ** 30;

/** Memories beside the first that so many bytes of packed weights need. */
export function farMemoriesFor(weightBytes: number): number {
  return weightBytes > nearBytes ? Math.ceil(weightBytes / farBytes) : 0;
}

/** Compiled kernels, by what compiles them and their build: a process needs them once. */
const compiled = new WeakMap<object, Map<string, Promise<WebAssembly.Module>>>();

/** The bytes of a module in base64, and some behind it. A loop: Uint8Array.from with a callback takes ten times as long. */
function kernelBytes(base64: string, more: readonly number[]): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length + more.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  bytes.set(more, text.length);
  return bytes;
}

function kernelsOf(host: Host, build: WasmBuild): Promise<WebAssembly.Module> {
  const shared = host.sharesMemory !== false;
  const compiler = host.compileFast ?? WebAssembly;
  const known = compiled.get(compiler) ?? new Map<string, Promise<WebAssembly.Module>>();
  compiled.set(compiler, known);
  const key = `${build} ${shared}`;
  const found = known.get(key);
  if (found) return found;
  const named = kernelBytes(build === "simd128" ? simd128 : relaxed, build === "wide" ? wideSection : []);
  const bytes = shared ? named : withUnsharedMemory(named);
  const compile = () => WebAssembly.compile(bytes);
  const module = host.compileFast?.(build === "wide", compile) ?? compile();
  known.set(key, module);
  module.catch(() => known.delete(key));
  return module;
}

/** Begins to compile what openWasm would choose. */
export function prepareKernels(host: Host, wanted: string | undefined): void {
  const builds = availableBuilds(host);
  const build = builds.find((name) => name === wanted) ?? builds[0];
  if (build) kernelsOf(host, build).catch(() => {});
}

export async function openWasm(host: Host, options: WasmOptions = {}): Promise<WasmDevice> {
  const threads = host.sharesMemory === false ? 1 : (options.threads ?? host.parallelism);
  const builds = availableBuilds(host);
  const build = options.build ?? (builds[0] as WasmBuild);
  if (!builds.includes(build)) {
    throw new DeviceError({
      operation: "open the wasm device",
      got: `build ${build}`,
      expected: builds.join(" or "),
      cure: "leave the build out",
    });
  }
  const shared = host.sharesMemory !== false;
  const module = await kernelsOf(host, build);
  const budget = { left: host.memoryBytes ?? Number.POSITIVE_INFINITY };
  const heap = new SharedHeap(shared, budget);
  const far = Array.from({ length: options.farMemories ?? 0 }, () => new SharedHeap(shared, budget));
  const pool = new Pool(
    host,
    module,
    heap,
    threads,
    far.map(({ memory }) => memory),
  );
  if (host.startsThreadsLate) await pool.start();
  const dots = build === "simd128" ? "none" : (options.dots ?? (await probeDots(heap, pool)));
  return new WasmDevice(heap, pool, build, dots, far, options.farCapacity ?? mostFarBytes);
}

/** -127·255·4 comes out exactly, as -127·-1·4, or neither: what the relaxed dot product of bytes does above 7 bits is the engine's choice, the same each time. */
async function probeDots(heap: SharedHeap, pool: Pool): Promise<DotKind> {
  const recorder = new Recorder(heap, pool);
  const out = heap.fresh(64);
  recorder.record("probeDot", { out });
  await pool.settle(recorder.submit());
  const found = heap.words[out >>> 2];
  return found === -127 * 255 * 4 ? "unsigned" : found === 127 * 4 ? "signed" : "sevenBits";
}
