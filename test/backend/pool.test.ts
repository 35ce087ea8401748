// Who runs a list: a small one the caller, at once and without threads; a short one the caller and the other threads; a long one the threads, which start with the
// first that wants them. All see what the others wrote, and who waits for a thread that died hears of it.

import { expect, test } from "vitest";
import { commands } from "../../src/backend/wasm/commands.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import type { Host, WorkerHandle } from "../../src/core/host.ts";
import { nodeHost } from "../../src/platform/node.ts";

function countingHost(): { host: Host; threads: WorkerHandle[]; runs: () => Promise<void> } {
  const threads: WorkerHandle[] = [];
  const running: Promise<void>[] = [];
  const host = nodeHost();
  return {
    host: {
      ...host,
      spawnWasmWorker: () => {
        const worker = host.spawnWasmWorker?.() as WorkerHandle;
        threads.push(worker);
        running.push(new Promise((resolve) => worker.onMessage(() => resolve())));
        return worker;
      },
    },
    threads,
    runs: async () => void (await Promise.all(running)),
  };
}

const n = 256;

/** c = a·b of ones with lists of three kinds. */
async function threeKinds(host: Host) {
  const device = await openWasm(host, { threads: 2, build: "simd128" });
  const [a, b, c] = [n * n, n * n, n * n].map((length) => ({ buffer: device.allocate("f32", length), offset: 0 })) as [Place, Place, Place];
  const small = () => device.kernels.affine({ out: a, x: a, n: 8, scale: 2, shift: 0 });
  const short = () => device.kernels.matmul({ out: c, a, b, M: n, N: n, K: n, transposeB: true });
  const long = () => {
    for (let i = 0; i < 60; i++) short();
  };
  device.write(a.buffer, 0, new Float32Array(n * n).fill(1));
  device.write(b.buffer, 0, new Float32Array(n * n).fill(1));
  return { device, a, c, small, short, long };
}

test("threads start with the first list that is worth it, and small lists before and after see its results", async () => {
  const { host, threads, runs } = countingHost();
  const { device, a, c, small, short, long } = await threeKinds(host);
  const read = async (place: Place) => (await device.read(place.buffer, 0, 1))[0];
  small();
  expect([...(await device.read(a.buffer, 0, 9))]).toEqual([2, 2, 2, 2, 2, 2, 2, 2, 1]);
  expect(threads.length).toBe(0);
  // The caller is one of the two; it does not wait for the other to begin.
  short();
  expect(await read(c)).toBe(n + 8);
  expect(threads.length).toBe(1);
  await runs();
  short();
  expect(await read(c)).toBe(n + 8);
  expect(threads.length).toBe(1);
  long();
  expect(await read(c)).toBe(n + 8);
  expect(threads.length).toBe(2);
  // One kind behind another: the order is that of recording, whoever runs them.
  for (let i = 1; i <= 10; i++) {
    small();
    if (i % 3 === 0) long();
    else short();
    expect(await read(c)).toBe(n + 8 * (2 ** (i + 1) - 1));
    if (i % 4 === 0) await runs();
  }
  // Without waiting between them.
  for (let i = 0; i < 5; i++) {
    small();
    short();
  }
  small();
  expect(await read(c)).toBe(n + 8 * (2 ** 16 - 1));
  expect(await read(a)).toBe(2 ** 17);
  await device.close();
});

test("lists of both kinds from several waiters, each done when its waiter is told", async () => {
  const { host, runs } = countingHost();
  const { device, a, c, short, long, small } = await threeKinds(host);
  short();
  await device.finish();
  await runs();
  for (let round = 0; round < 20; round++) {
    const waits = [short, long, small, short].map(async (record) => {
      record();
      await device.finish();
      return (await device.read(a.buffer, 0, 1))[0];
    });
    expect((await Promise.all(waits)).at(-1)).toBe(2 ** (round + 1));
    short();
    expect((await device.read(c.buffer, 0, 1))[0]).toBe(n + 8 * (2 ** (round + 1) - 1));
  }
  await device.close();
});

test("a thread that is gone when the caller waits for its share: a DeviceError after seconds, not a hang", async () => {
  const { host, threads, runs } = countingHost();
  const { device, short } = await threeKinds(host);
  short();
  await device.finish();
  await runs();
  await threads[0]?.terminate();
  short();
  await expect(device.finish()).rejects.toThrow(/a thread that died/);
  expect(device.isLost).toBe(true);
  await expect(device.finish()).rejects.toThrow(/a thread that died/);
  await device.close();
}, 30_000);

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
