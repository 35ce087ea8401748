// A WebAssembly device with threads that run, whose lists may all begin without the caller, however short or long they seem. In: how many threads. Out: the
// device, its memory, to look at while a list runs, and its threads. `openWandering`: one that begins every list by itself and comes at a drawn moment.

import { kernelsOf } from "../../src/backend/wasm/compile.ts";
import { WasmDevice } from "../../src/backend/wasm/device.ts";
import { SharedHeap } from "../../src/backend/wasm/memory.ts";
import { Pool } from "../../src/backend/wasm/pool.ts";
import type { WorkerHandle } from "../../src/core/host.ts";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";

class EagerPool extends Pool {
  override mayBegin(): boolean {
    return super.mayBegin(false, 0);
  }
}

type Parts = { readonly heap: SharedHeap; readonly pool: Pool; readonly workers: readonly WorkerHandle[] };

async function parts(threads: number): Promise<Parts> {
  const workers: WorkerHandle[] = [];
  const host = nodeHost();
  const spawnWasmWorker = () => {
    const worker = host.spawnWasmWorker?.() as WorkerHandle;
    workers.push(worker);
    return worker;
  };
  const heap = new SharedHeap();
  const pool = new EagerPool({ ...host, spawnWasmWorker }, await kernelsOf(host, "simd128"), heap, threads);
  await pool.start();
  return { heap, pool, workers };
}

export async function openBegun(threads: number): Promise<Parts & { readonly device: WasmDevice }> {
  const all = await parts(threads);
  return { ...all, device: new WasmDevice(all.heap, all.pool, "simd128", "none") };
}

/** How often lists began, and how often the caller found them ended. */
export type Wanderings = { begun: number; late: number };

export async function openWandering(threads: number, seed: number): Promise<{ readonly device: WasmDevice; readonly counts: Wanderings }> {
  const { heap, pool } = await parts(threads);
  const counts: Wanderings = { begun: 0, late: 0 };
  const random = new Random(seed);
  class Wandering extends WasmDevice {
    override async finish(): Promise<void> {
      if (this.begin()) {
        counts.begun++;
        const kind = random.uint32() % 4;
        if (kind === 1) for (let looks = random.uint32() % 20_000; looks > 0; looks--) Atomics.load(heap.words, 0);
        if (kind === 2) await new Promise(setImmediate);
        while (kind === 3 && !pool.isDone(pool.submitted)) await new Promise(setImmediate);
        if (pool.isDone(pool.submitted)) counts.late++;
      }
      await super.finish();
    }
  }
  return { device: new Wandering(heap, pool, "simd128", "none"), counts };
}
