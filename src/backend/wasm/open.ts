// Opens the WebAssembly device: picks the build, waits for its kernels (compile.ts), starts the threads. Whoever opens the wide build must self-test it
// first (../self-test.ts).

import { DeviceError } from "../../core/errors.ts";
import type { Host } from "../../core/host.ts";
import { availableBuilds, kernelsOf, type WasmBuild } from "./compile.ts";
import { WasmDevice } from "./device.ts";
import { SharedHeap } from "./memory.ts";
import type { DotKind } from "./packed.ts";
import { Pool } from "./pool.ts";
import { Recorder } from "./recorder.ts";

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
