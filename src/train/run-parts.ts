// What a run is put together from: a new or saved model, the cost ledger, the tensors of a checkpoint. Small functions that run.ts
// calls when it opens; none of them knows of steps.

import type { Device } from "../backend/backend.ts";
import { quote } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { isJsonObject } from "../core/json.ts";
import { Ledger, type LedgerState } from "../cost/ledger.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { SavedCheckpoint } from "./checkpoint.ts";
import type { Recipe } from "./recipe.ts";

/** What the tokenizer decides about a new model, where the recipe does not say otherwise. */
export function completeConfig(recipe: Recipe, tokenizer: Tokenizer): Record<string, unknown> {
  const { bos, eos } = tokenizer.specialIds;
  return {
    vocab_size: tokenizer.vocabSize,
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
    ...recipe.model.config,
  };
}

export async function readModel(host: Host, device: Device, path: string): Promise<Model> {
  const folder = await openHfFolder(host.files, path);
  try {
    return await loadModel(device, folder);
  } finally {
    await folder.close();
  }
}

export function openLedger(recipe: Recipe, saved: SavedCheckpoint | undefined): Ledger {
  const state = isJsonObject(saved?.timing) ? saved.timing.ledger : undefined;
  if (!isJsonObject(state)) return new Ledger({ hourlyUsd: recipe.hourlyUsd });
  return Ledger.from({ ...(state as unknown as LedgerState), hourlyUsd: recipe.hourlyUsd });
}

export type SavedTensors = {
  readonly optimizer: (name: string) => Promise<Float32Array>;
  readonly frozen: (name: string) => Promise<Float32Array>;
  close(): Promise<void>;
};

export async function openSavedTensors(saved: SavedCheckpoint): Promise<SavedTensors> {
  const optimizer = await saved.openTensors("optimizer.safetensors");
  let reference: Awaited<ReturnType<SavedCheckpoint["openTensors"]>> | undefined;
  return {
    optimizer: optimizer.read,
    frozen: async (name) => {
      reference ??= await saved.openTensors("reference.safetensors");
      return await reference.read(name);
    },
    close: async () => {
      await optimizer.close();
      await reference?.close();
    },
  };
}

/** Which kernels compute: builds round differently (relaxed SIMD fuses multiply and add where the machine does). */
export function kernelsOf({ info }: Device): string {
  return `${info.name} ${info.build}`;
}

/** A resume on other kernels is allowed, but is no longer bit for bit the run that was never stopped. */
export function warnOfOtherKernels(saved: SavedCheckpoint | undefined, device: Device, onWarning?: (text: string) => void): void {
  const before = isJsonObject(saved?.timing) ? saved.timing.device : undefined;
  const now = kernelsOf(device);
  if (typeof before !== "string" || before === now) return;
  onWarning?.(
    `the run was computed by ${quote(before)} so far and goes on with ${quote(now)}: its numbers will differ in their last digits`,
  );
}
