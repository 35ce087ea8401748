// W18: models that are loaded, asked and closed again and again leave nothing behind: no tensor, no thread, no open file, no memory. GRADUALLY_CYCLES sets how often
// (12 in the normal suite; 1,000 is the case). What the first cycles leave (compiled kernels, the tokenizer's tables) is theirs to keep.

import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { load } from "../../src/platform/load.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";

const cycles = Number(process.env.GRADUALLY_CYCLES ?? 12);
const first = Math.max(4, Math.floor(cycles / 4));
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** What a process holds, after the collector has had its chance: bytes outside the heap, wasm memories among them, and things of the system. */
async function held() {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
  }
  const { arrayBuffers, external, heapUsed } = process.memoryUsage();
  const count = (folder: string) => (process.platform === "linux" ? readdirSync(folder).length : 0);
  return { outside: arrayBuffers + external, heapUsed, files: count("/proc/self/fd"), threads: count("/proc/self/task") };
}

test(
  "W18: load, ask and close, again and again",
  async () => {
    const storages = liveStorageCount();
    const texts = new Set<string>();
    let before = await held();
    for (let i = 0; i < cycles; i++) {
      if (i === first) before = await held();
      const model = await load(undefined, { threads: 2, contextLength: 512 });
      let text = "";
      for await (const part of model.generate("3 5 7=22", { temperature: 0, maxTokens: 4 })) text += part.reasoning + part.content;
      texts.add(text);
      await model.close();
    }
    const after = await held();
    expect(texts.size).toBe(1);
    expect(liveStorageCount()).toBe(storages);
    expect(after.outside - before.outside).toBeLessThan(1_000_000);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(2_000_000);
    expect(after.files).toBeLessThanOrEqual(before.files);
    expect(after.threads).toBeLessThanOrEqual(before.threads);
  },
  30_000 + cycles * 5_000,
);
