// Two threads where another process has one of the cores: who waits for the other must not keep it from running. Counted is work, and the yardstick is one
// thread beside the same process, in turns with it.

import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import type { View } from "../../src/backend/backend.ts";
import type { WasmDevice } from "../../src/backend/wasm/device.ts";
import { openBegun } from "./begun-device.ts";

const n = 128;

/** Some milliseconds of work for one thread, in forty commands. */
function recordList(device: WasmDevice, [a, b, c]: readonly [View, View, View]): void {
  for (let i = 0; i < 20; i++) {
    device.kernels.matmul({ out: c, a, b, M: n, N: n, K: n, transposeB: true });
    device.kernels.softmax({ out: a, x: c, rows: n, width: n });
  }
}

async function listsOf(threads: number, begins: boolean) {
  const { device } = await openBegun(threads);
  const place = () => {
    const buffer = device.allocate("f32", n * n);
    device.write(buffer, 0, new Float32Array(n * n).fill(0.5));
    return { buffer, offset: 0 };
  };
  const places = [place(), place(), place()] as const;
  let seconds = 0;
  return {
    run: async (count: number): Promise<void> => {
      const start = performance.now();
      for (let i = 0; i < count; i++) {
        recordList(device, places);
        if (begins && device.begin()) await new Promise(setImmediate);
        await device.finish();
      }
      seconds += (performance.now() - start) / 1000;
    },
    perSecond: (count: number): number => count / seconds,
    close: () => device.close(),
  };
}

test.skipIf(availableParallelism() < 2)(
  "beside a busy process on all cores but one, two threads get at least 0.4 of what one gets done",
  async () => {
    const busy = Array.from({ length: availableParallelism() - 1 }, () =>
      spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }),
    );
    const [one, two, begun] = await Promise.all([listsOf(1, false), listsOf(2, false), listsOf(2, true)]);
    const all = [one, two, begun];
    try {
      const [rounds, count] = [12, 10];
      for (let round = 0; round < rounds; round++) for (const lists of all) await lists.run(count);
      const yardstick = one.perSecond(rounds * count);
      expect(two.perSecond(rounds * count) / yardstick).toBeGreaterThan(0.4);
      expect(begun.perSecond(rounds * count) / yardstick).toBeGreaterThan(0.4);
    } finally {
      for (const process of busy) process.kill("SIGKILL");
      for (const lists of all) await lists.close();
    }
  },
  120_000,
);
