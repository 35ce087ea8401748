// Checkpoints of a run: checkpoints/checkpoint-N is a Hugging Face folder that other engines open, with the optimiser's moments, the state of the trainer and
// a manifest beside it. In: model, optimiser, state. Out: a folder that is there whole or not at all; and back. N is the number of steps of the whole
// run. The latest is the highest N whose manifest verifies; old ones are removed only when a newer one is in place.
// Everything in it but timing.json (wall clock) and so manifest.json is the same, bit for bit, in two runs of one recipe.

import { ConfigError, FormatError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from "../core/json.ts";
import { fillHfFolder } from "../formats/hf-folder-writer.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { type SafetensorsEntry, writeSafetensors } from "../formats/safetensors-writer.ts";
import { saveModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { read, type Tensor } from "../tensor/tensor.ts";
import { findDamage, writeManifest } from "./manifest.ts";
import type { AdamW } from "./optimizer.ts";
import type { TokenizerFiles } from "./tokenizer-setup.ts";

/** 2 added `divergence`; a state of format 1 is read as one without it. */
export const stateFormat = 2;

/** trainer_state.json. Randomness is counter-based: (seed, stage, step) is the whole state of every generator. */
export type TrainerState = {
  readonly format: typeof stateFormat;
  /** Steps of the whole run: the N of checkpoint-N. */
  readonly step: number;
  readonly seed: number;
  /** The stage that goes on, by its place in the recipe, and the steps of it that are done; past the last stage when all is done. */
  readonly stage: number;
  readonly stageStep: number;
  readonly tokens: number;
  readonly skipped: number;
  readonly consecutiveSkips: number;
  /** Steps that AdamW applied in this stage. */
  readonly optimizerSteps: number;
  /** Whatever the stage needs to go on: data position, rollouts that are not used up. */
  readonly stageState: JsonValue;
  /** SHA-256 of recipe.json and of every data file by its path. */
  readonly recipe: string;
  readonly inputs: Readonly<Record<string, string>>;
  /** What DivergenceWatch has seen of the stage; null between two stages, and in what was format 1. */
  readonly divergence: JsonValue;
  /** Steps after which a stage ended; those checkpoints are kept. */
  readonly stageEnds: readonly number[];
  /** Bytes of each log that belong to the steps so far. */
  readonly logs: Readonly<Record<string, number>>;
};

export type CheckpointContent = {
  readonly model: Model;
  readonly tokenizer: TokenizerFiles;
  /** Left out between two stages. */
  readonly optimizer?: AdamW;
  readonly frozen?: ReadonlyMap<string, Tensor>;
  readonly state: TrainerState;
  /** Wall-clock figures; they never decide anything. */
  readonly timing: JsonValue;
};

export type SavedCheckpoint = {
  readonly path: string;
  readonly state: TrainerState;
  readonly timing: JsonValue;
  /** Reads tensors of optimizer.safetensors or reference.safetensors; close it. */
  openTensors(
    file: "optimizer.safetensors" | "reference.safetensors",
  ): Promise<{ read(name: string): Promise<Float32Array>; close(): Promise<void> }>;
};

export function checkpointPath(files: Files, root: string, step: number): string {
  return files.join(root, `checkpoint-${step}`);
}

/** Writes checkpoint-N, whole or not at all. Returns its path. Throws DeviceError when the disk fails; nothing at the path has changed then. */
export async function saveCheckpoint(files: Files, root: string, content: CheckpointContent): Promise<string> {
  const { model, tokenizer, optimizer, frozen, state, timing } = content;
  const path = checkpointPath(files, root, state.step);
  await files.makeFolder(root);
  await files.writeFolderAtomic(path, async (folder) => {
    const { bos_token_id, eos_token_id } = model.config;
    await fillHfFolder(files, folder, {
      ...saveModel(model),
      ...tokenizer,
      generationConfig: { ...(bos_token_id !== undefined && { bos_token_id }), ...(eos_token_id !== undefined && { eos_token_id }) },
    });
    const write = (name: string, data: string | AsyncIterable<Uint8Array>) => files.writeAtomic(files.join(folder, name), data);
    if (optimizer)
      await write("optimizer.safetensors", writeSafetensors(optimizer.tensors().map((tensor) => ({ ...tensor, dtype: "F32" as const }))));
    if (frozen) await write("reference.safetensors", writeSafetensors([...frozen].map(([name, tensor]) => frozenEntry(name, tensor))));
    await write("trainer_state.json", `${JSON.stringify(state, null, 2)}\n`);
    await write("timing.json", `${JSON.stringify(timing, null, 2)}\n`);
    await writeManifest(files, folder, state.step);
  });
  return path;
}

function frozenEntry(name: string, tensor: Tensor): SafetensorsEntry {
  return { name, shape: tensor.shape, dtype: "F32", data: async () => Float32Array.from(await read(tensor)) };
}

/** Numbers N of all folders checkpoint-N, whole or not, highest first. */
export async function listCheckpoints(files: Files, root: string): Promise<number[]> {
  const steps = (await files.list(root)).flatMap((name) => /^checkpoint-(0|[1-9]\d{0,14})$/.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a);
}

/** The newest checkpoint that verifies, or undefined. `onDamaged` hears of each that does not. */
export async function latestCheckpoint(
  files: Files,
  root: string,
  onDamaged: (path: string, damage: string) => void = () => {},
): Promise<SavedCheckpoint | undefined> {
  for (const step of await listCheckpoints(files, root)) {
    const path = checkpointPath(files, root, step);
    const damage = await findDamage(files, path, step);
    if (damage === undefined) return await readCheckpoint(files, path);
    onDamaged(path, damage);
  }
  return undefined;
}

/** Removes all but the `keep` newest up to `newest`, and those of `kept`. Later ones (damaged, from before a resume) are left alone. */
export async function pruneCheckpoints(files: Files, root: string, newest: number, keep: number, kept: readonly number[]): Promise<void> {
  const old = (await listCheckpoints(files, root)).filter((step) => step <= newest).slice(keep);
  for (const step of old) if (!kept.includes(step)) await files.remove(checkpointPath(files, root, step));
}

/** Removes what a killed process was writing or removing. Only for whoever holds the lock of the run: nobody else may be writing here. */
export async function sweepCheckpoints(files: Files, root: string): Promise<void> {
  for (const name of await files.list(root)) {
    if (/^checkpoint-\d+\.tmp-/.test(name)) await files.remove(files.join(root, name));
  }
}

async function readCheckpoint(files: Files, path: string): Promise<SavedCheckpoint> {
  const readJson = async (name: string) => {
    const file = files.join(path, name);
    return parseJson(await files.readText(file, 1_000_000_000), { source: file });
  };
  const state = await readJson("trainer_state.json");
  if (!isJsonObject(state)) throw damaged(path, "a trainer_state.json that is no object");
  const migrated = migrate(path, state);
  checkState(path, migrated);
  return {
    path,
    state: migrated as unknown as TrainerState,
    timing: await readJson("timing.json"),
    async openTensors(name) {
      const source = await files.open(files.join(path, name));
      try {
        const file = await openSafetensors(source);
        return { read: (tensor) => file.readF32(tensor), close: () => file.close() };
      } catch (error) {
        await source.close();
        throw error;
      }
    },
  };
}

/** The state as this version spells it. Throws ConfigError for a format that this version does not know. */
function migrate(path: string, state: JsonObject): JsonObject {
  if (state.format === stateFormat) return state;
  if (state.format === 1) return { ...state, format: stateFormat, divergence: null };
  throw new ConfigError({
    operation: `resume from ${quote(path, 300)}`,
    got: `a trainer state of format ${JSON.stringify(state.format)}`,
    expected: `format 1 to ${stateFormat}`,
    cure: "resume with the version of gradually that wrote it",
  });
}

function checkState(path: string, state: JsonObject): void {
  for (const key of ["step", "seed", "stage", "stageStep", "tokens", "skipped", "consecutiveSkips", "optimizerSteps"]) {
    if (!Number.isSafeInteger(state[key]) || (state[key] as number) < 0)
      throw damaged(path, `${key} ${JSON.stringify(state[key])} in trainer_state.json`);
  }
  for (const key of ["inputs", "logs"]) if (!isJsonObject(state[key])) throw damaged(path, `no ${key} in trainer_state.json`);
}

function damaged(path: string, got: string): FormatError {
  return new FormatError({
    operation: `resume from ${quote(path, 300)}`,
    got,
    expected: "a checkpoint written by gradually",
    cure: "remove this checkpoint and resume from the one before",
  });
}
