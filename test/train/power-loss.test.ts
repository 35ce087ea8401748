// R04: the power fails after any operation of a training run, and the disk forgets what was not fsynced. Whatever is left, the newest checkpoint whose saving had
// ended is there and whole, the logs reach as far as it says, and the run goes on to the bits of one that was never cut. `kill -9` cannot show this: it loses
// nothing that is in the page cache. GRADUALLY_POWER_CUTS sets how many states are tried (200 in the normal suite).

import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Random } from "../../src/core/random.ts";
import { defineRecipe } from "../../src/train/recipe.ts";
import { afterPowerLoss, type DiskRecord as DiskRecordType, type Fate, type Tree } from "./forgetful-disk.ts";

type Real = typeof import("node:fs/promises");
const recording = vi.hoisted(() => ({ disk: undefined as DiskRecordType | undefined }));
vi.mock("node:fs/promises", async (importOriginal) => {
  const { recordingFs } = await import("./forgetful-disk.ts");
  return recordingFs(await importOriginal<Real>(), () => recording.disk);
});

const fs = await vi.importActual<Real>("node:fs/promises");
const { DiskRecord } = await import("./forgetful-disk.ts");
const { nodeHost } = await import("../../src/platform/node.ts");
const { latestCheckpoint } = await import("../../src/train/checkpoint.ts");
const { runRecipe } = await import("../../src/train/run.ts");
const { files } = nodeHost();

const recipe = defineRecipe({
  name: "power",
  task: { name: "arithmetic", options: { steps: 1, max: 3, operators: "+" } },
  tokenizer: { vocabSize: 262, examples: 20 },
  model: {
    config: {
      model_type: "llama",
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-6,
      rope_theta: 10000,
      tie_word_embeddings: false,
    },
  },
  checkpointEvery: 1,
  keepCheckpoints: 1,
  stages: [
    { kind: "pretrain", steps: 4, batchSize: 1, sequenceLength: 24 },
    { kind: "sft", data: { examples: 3 }, steps: 2, batchSize: 1, sequenceLength: 24 },
  ],
});

let root = "";
let disk: DiskRecordType;
let unbroken: Record<string, string>;
const train = async (out: string, resume = false, onStep: (step: number) => void = () => {}) => {
  const { model } = await runRecipe(recipe, {
    out,
    host: nodeHost(),
    device: openReference(),
    resume,
    onProgress: ({ step }) => onStep(step),
  });
  model.dispose();
};

/** Everything in a run folder that must not depend on the clock. */
async function contents(out: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await fs.readdir(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || ["timing.json", "timing.jsonl", "manifest.json", "cost.json"].includes(entry.name)) continue;
    const at = path.join(entry.parentPath, entry.name);
    found[at.slice(out.length)] = (await fs.readFile(at)).toString("base64");
  }
  return found;
}

async function write(folder: string, tree: Tree): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  for (const [name, inner] of tree) {
    if (inner instanceof Uint8Array) await fs.writeFile(path.join(folder, name), inner);
    else await write(path.join(folder, name), inner);
  }
}

beforeAll(async () => {
  root = await fs.mkdtemp(path.join(tmpdir(), "gradually-power-"));
  const recorded = path.join(root, "recorded");
  await fs.mkdir(recorded);
  disk = new DiskRecord(recorded);
  recording.disk = disk;
  // The run folder itself is new, two folders deep. A mark says that the checkpoint of that step was saved: its step's progress is told before, the next one's after.
  const out = path.join(recorded, "runs", "power");
  let saved = 0;
  await train(out, false, () => {
    if (saved > 0) disk.mark(String(saved));
    saved++;
  });
  disk.mark("6");
  recording.disk = undefined;
  unbroken = await contents(out);
}, 60_000);
afterAll(() => fs.rm(root, { recursive: true, force: true }));

/** The step of the last checkpoint that had been saved by then. */
const promisedAt = (count: number) =>
  Number(disk.operations.slice(0, count).reduce((last, operation) => (operation.kind === "mark" ? operation.text : last), "0"));
const cuts = Number(process.env.GRADUALLY_POWER_CUTS ?? 200);
let places = 0;

/** The disk after the cut, as a folder, and the newest checkpoint in it. */
async function look(count: number, fate: Fate, random: Random) {
  const folder = path.join(root, `state-${++places}`);
  await write(folder, afterPowerLoss(disk.operations, count, fate, random));
  const out = path.join(folder, "runs", "power");
  const checkpoint = await latestCheckpoint(files, path.join(out, "checkpoints"));
  return { folder, out, checkpoint };
}

describe("R04: the power fails", () => {
  test("the recorded run: whole, with everything that a run does to a disk", () => {
    expect(promisedAt(disk.operations.length)).toBe(6);
    const kinds = new Set(disk.operations.map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(["data", "mark", "names", "sync"]);
    expect(disk.operations.length).toBeGreaterThan(300);
  });

  test(
    "no state of the disk loses a checkpoint that was saved, or shows one that is damaged",
    async () => {
      const random = new Random(4);
      const fates: Fate[] = ["nothing", "everything", "data", "names", "chance", "chance", "chance", "chance"];
      let [older, damaged] = [0, 0];
      for (let i = 0; i < cuts; i++) {
        const count = Math.round(((i + random.uniform()) / cuts) * disk.operations.length);
        const fate = fates[i % fates.length] as Fate;
        const { folder, out, checkpoint } = await look(count, fate, random.fork(i));
        const promised = promisedAt(count);
        const step = checkpoint?.state.step ?? 0;
        expect(step, `${fate} after operation ${count}`).toBeGreaterThanOrEqual(promised);
        if (checkpoint) {
          for (const [name, length] of Object.entries(checkpoint.state.logs)) {
            const wanted = Buffer.from(unbroken[`/${name}`] ?? "", "base64").subarray(0, length);
            expect((await fs.readFile(path.join(out, name))).subarray(0, length), `${name}, ${fate} after operation ${count}`).toEqual(
              wanted,
            );
          }
          older += step < 6 ? 1 : 0;
        } else damaged++;
        await fs.rm(folder, { recursive: true });
      }
      // There was something to lose: states before the first checkpoint and between two.
      expect(Math.min(older, damaged)).toBeGreaterThan(cuts / 50);
    },
    cuts * 400,
  );

  test("and the run goes on to the same bits", async () => {
    const random = new Random(5);
    for (const [share, fate] of [
      [0.1, "chance"],
      [0.35, "nothing"],
      [0.55, "chance"],
      [0.8, "data"],
      [0.97, "names"],
    ] as const) {
      const { folder, out } = await look(Math.round(share * disk.operations.length), fate, random);
      await fs.rm(path.join(out, "run.lock"), { force: true }); // its holder is this process, which did not die
      await train(out, true);
      expect(await contents(out), `${fate} at ${share}`).toEqual(unbroken);
      await fs.rm(folder, { recursive: true });
    }
  }, 60_000);
});
