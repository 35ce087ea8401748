// Who runs a list: a small one the caller, at once and without threads; a larger one the threads, which start with the first of them. Both see what the other wrote.

import { expect, test } from "vitest";
import { commands } from "../../src/backend/wasm/commands.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import type { Host } from "../../src/core/host.ts";
import { nodeHost } from "../../src/platform/node.ts";

function countingHost(): { host: Host; spawned: () => number } {
  let spawned = 0;
  const host = nodeHost();
  return {
    host: {
      ...host,
      spawnWasmWorker: () => {
        spawned++;
        return host.spawnWasmWorker?.() as ReturnType<NonNullable<Host["spawnWasmWorker"]>>;
      },
    },
    spawned: () => spawned,
  };
}

test("threads start with the first list that is worth it, and small lists before and after see its results", async () => {
  const { host, spawned } = countingHost();
  const device = await openWasm(host, { threads: 2, build: "simd128" });
  const n = 256;
  const [a, b, c] = [n * n, n * n, n * n].map((length) => ({ buffer: device.allocate("f32", length), offset: 0 })) as [Place, Place, Place];
  const small = () => device.kernels.affine({ out: a, x: a, n: 8, scale: 2, shift: 0 });
  const large = () => device.kernels.matmul({ out: c, a, b, M: n, N: n, K: n, transposeB: true });
  device.write(a.buffer, 0, new Float32Array(n * n).fill(1));
  device.write(b.buffer, 0, new Float32Array(n * n).fill(1));
  small();
  expect([...(await device.read(a.buffer, 0, 9))]).toEqual([2, 2, 2, 2, 2, 2, 2, 2, 1]);
  expect(spawned()).toBe(0);
  large();
  expect((await device.read(c.buffer, 0, 1))[0]).toBe(n + 8);
  expect(spawned()).toBe(2);
  // One behind another without waiting: the order is that of recording, whoever runs them.
  for (let i = 0; i < 5; i++) {
    small();
    large();
  }
  small();
  expect((await device.read(c.buffer, 0, 1))[0]).toBe(n + 8 * 63);
  expect((await device.read(a.buffer, 7, 2)).at(0)).toBe(128);
  expect(spawned()).toBe(2);
  await device.close();
});

type Place = { buffer: ReturnType<Awaited<ReturnType<typeof openWasm>>["allocate"]>; offset: number };

test("what a command's work is made of are arguments of it", () => {
  for (const { name, args, work } of commands) {
    const names = args.map((text) => text.replace(/^[!@?~]/, ""));
    for (const factor of work.factors) expect(names, name).toContain(factor);
    expect(work.weight, name).toBeGreaterThanOrEqual(0);
  }
  // Everything that multiplies matrices counts.
  for (const { name, work } of commands) if (/matmul$|^attention/i.test(name)) expect(work.factors, name).not.toEqual([]);
});
