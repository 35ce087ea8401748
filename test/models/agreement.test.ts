// The same prompts on every device (reference, each WebAssembly build, WebGPU): the bundled model with f32 weights names the same next token, but where its two best
// are a thousandth apart. GRADUALLY_PROMPTS=1000 asks so many (about a minute); else some.

import * as path from "node:path";
import { expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { availableWasmBuilds, openDevice } from "../../src/backend/open.ts";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { Random } from "../../src/core/random.ts";
import { openModelFiles } from "../../src/models/files.ts";
import { loadModel } from "../../src/models/load.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { dispose, fromArray, read, scope } from "../../src/tensor/tensor.ts";
import { testGpu } from "../backend/webgpu-adapter.ts";

const host = nodeHost();
const count = Number(process.env.GRADUALLY_PROMPTS ?? 100);
const perPass = 50;

/** Three numbers, a target, and sometimes a beginning of the answer. */
function makePrompts(): string[] {
  const random = new Random(11);
  const draw = (most: number) => 1 + (random.uint32() % most);
  return Array.from({ length: count }, () => {
    const [a, b, c] = [draw(12), draw(12), draw(12)];
    const begun = ["", "<think>", `<think>${a}+${b}=${a + b},`, `<think>${a}*${b}=`][random.uint32() % 4] as string;
    return `${a} ${b} ${c}=${draw(99)}${begun}`;
  });
}

/** The logits behind each prompt. */
async function logitsOf(device: Device): Promise<Float32Array[]> {
  const files = await openModelFiles(host.files, path.join(import.meta.dirname, "../../models/countdown-reasoner"));
  const { tokenizer } = await files.openText();
  const model = await loadModel(device, files, { weights: "f32" });
  await files.close();
  const prompts = makePrompts().map((text) => tokenizer.encode(text));
  const found: Float32Array[] = [];
  for (let from = 0; from < prompts.length; from += perPass) {
    const columns: Record<"ids" | "positions" | "first" | "last" | "ends", number[]> = {
      ids: [],
      positions: [],
      first: [],
      last: [],
      ends: [],
    };
    for (const ids of prompts.slice(from, from + perPass)) {
      const start = columns.ids.length;
      ids.forEach((id, i) => {
        columns.ids.push(id);
        columns.positions.push(i);
        columns.first.push(start);
        columns.last.push(start + i);
      });
      columns.ends.push(columns.ids.length - 1);
    }
    const i32 = (values: readonly number[]) => fromArray(device, Int32Array.from(values), [values.length], "i32");
    const logits = scope(() => {
      const { ids, positions, first, last, ends } = columns;
      return model.forward({ ids: i32(ids), positions: i32(positions), first: i32(first), last: i32(last), outputRows: i32(ends) }).logits;
    });
    const values = (await read(logits)) as Float32Array;
    dispose(logits);
    const V = logits.shape[1] as number;
    for (let i = 0; i < columns.ends.length; i++) found.push(values.slice(i * V, (i + 1) * V));
  }
  model.dispose();
  await device.close();
  return found;
}

const best = (row: Float32Array) => row.indexOf(Math.max(...row));

test("devices agree on the next token", { timeout: 600_000 }, async () => {
  const devices = new Map<string, () => Promise<Device>>();
  for (const build of await availableWasmBuilds(host)) devices.set(build, () => openDevice(host, { build, threads: 2 }));
  const gpu = testGpu;
  if (gpu) devices.set("webgpu", () => openWebGpu(gpu));
  const truth = await logitsOf(await openDevice(host, { device: "reference" }));
  expect(truth).toHaveLength(count);
  for (const [name, open] of devices) {
    let differ = 0;
    for (const [i, row] of (await logitsOf(await open())).entries()) {
      const expected = truth[i] as Float32Array;
      const [mine, its] = [best(row), best(expected)];
      if (mine === its) continue;
      differ++;
      expect((expected[its] as number) - (expected[mine] as number), `${name}, prompt ${i}`).toBeLessThan(1e-3);
    }
    expect(differ, name).toBeLessThanOrEqual(count / 1000);
  }
});
