// Compiles the kernels: which builds this engine can run, and their modules, once for a process. `wide` is the relaxed module with 16-column register
// blocks, compiled after V8 was told to fuse pairs of 128-bit operations. Unusual: few imports, because a program that is about to load a model
// begins here, before it loads the rest of itself.

import { base64Bytes } from "../../core/base64.ts";
import type { Host } from "../../core/host.ts";
import { relaxed, simd128 } from "./generated/modules.ts";
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

/** Compiled kernels, by what compiles them and their build: a process needs them once. */
const compiled = new WeakMap<object, Map<string, Promise<WebAssembly.Module>>>();

/** The kernels of a build, compiled; begins to compile them when asked for the first time. */
export function kernelsOf(host: Host, build: WasmBuild): Promise<WebAssembly.Module> {
  const shared = host.sharesMemory !== false;
  const compiler = host.compileFast ?? WebAssembly;
  const known = compiled.get(compiler) ?? new Map<string, Promise<WebAssembly.Module>>();
  compiled.set(compiler, known);
  const key = `${build} ${shared}`;
  const found = known.get(key);
  if (found) return found;
  const mark = build === "wide" ? wideSection : [];
  const named = base64Bytes(build === "simd128" ? simd128 : relaxed, mark.length);
  named.set(mark, named.length - mark.length);
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
