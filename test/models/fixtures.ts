// Reads test/fixtures/models: checkpoints and what transformers made of them (tools/reference/make_model_fixtures.py). Also builds
// the flat rows of a forward pass from sequences of ids.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/backend.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { loadModel } from "../../src/models/load.ts";
import type { ForwardInput, Model } from "../../src/models/model.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { fromArray } from "../../src/tensor/tensor.ts";

export type Expected = {
  readonly ids: readonly (readonly number[])[];
  readonly loss: number;
  readonly mtp_loss: number | null;
  readonly mtp_weight: number;
  /** By checkpoint name. */
  readonly gradient_norms: Readonly<Record<string, number>>;
  readonly greedy: readonly number[];
  readonly masked_group_score: 0 | null;
};

export function fixturePath(name: string): string {
  return fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url));
}

export function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(fixturePath(name), "utf8")) as T;
}

export async function loadFixture(device: Device, name: string): Promise<{ readonly model: Model; readonly expected: Expected }> {
  const expected = readJson<Expected>(`${name}/expected.json`);
  const folder = await openHfFolder(nodeFiles, fixturePath(name));
  try {
    const options = expected.masked_group_score === 0 ? { maskedGroupScore: 0 as const } : {};
    return { model: await loadModel(device, folder, options), expected };
  } finally {
    await folder.close();
  }
}

/** Tensors of expected.safetensors by name, e.g. "logits.0". */
export async function readExpected(name: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(await nodeFiles.open(fixturePath(`${name}/expected.safetensors`)));
  const tensors = new Map<string, Float32Array>();
  for (const key of file.tensors.keys()) tensors.set(key, await file.readF32(key));
  await file.close();
  return tensors;
}

type Rows = Pick<ForwardInput, "ids" | "positions" | "first" | "last">;

/** Whole sequences one after the other, each row seeing its own sequence up to itself. */
export function packed(device: Device, sequences: readonly (readonly number[])[]): Rows {
  const start = (i: number) => sequences.slice(0, i).flat().length;
  const rows = (value: (i: number, t: number) => number) =>
    fromRows(
      device,
      sequences.flatMap((ids, i) => ids.map((_, t) => value(i, t))),
    );
  return {
    ids: fromRows(device, sequences.flat()),
    positions: rows((_, t) => t),
    first: rows((i) => start(i)),
    last: rows((i, t) => start(i) + t),
  };
}

export function fromRows(device: Device, values: readonly number[]) {
  return fromArray(device, values, [values.length], "i32");
}

/** New tokens for the slots of a cache of `length` rows each: slot, its tokens so far, its new ids. */
export function appended(
  device: Device,
  length: number,
  parts: readonly { readonly slot: number; readonly past: number; readonly ids: readonly number[] }[],
): Rows & { readonly rows: Rows["ids"] } {
  const rows = (value: (part: (typeof parts)[number], t: number) => number) =>
    fromRows(
      device,
      parts.flatMap((part) => part.ids.map((_, t) => value(part, t))),
    );
  const last = rows(({ slot, past }, t) => slot * length + past + t);
  return {
    ids: fromRows(
      device,
      parts.flatMap(({ ids }) => ids),
    ),
    positions: rows(({ past }, t) => past + t),
    first: rows(({ slot }) => slot * length),
    last,
    rows: last,
  };
}

/**
 * The same for slots whose keys lie in pages of a cache of `pageCount` pages: page n of a slot lies somewhere else than page n + 1, and the
 * table has an entry more than there are pages, out of every range.
 */
export function appendedToPages(
  device: Device,
  { pageCount, pageSize, slots }: { readonly pageCount: number; readonly pageSize: number; readonly slots: number },
  parts: Parameters<typeof appended>[2],
): Rows & Pick<NonNullable<ForwardInput["cache"]>, "rows" | "pages"> {
  const width = Math.floor(pageCount / slots);
  const pageOf = (slot: number, n: number) => pageCount - 1 - ((n * slots + slot) % pageCount);
  const table = Array.from({ length: slots }, (_, slot) => [...Array.from({ length: width }, (_, n) => pageOf(slot, n)), -9e8]);
  const perRow = <T>(value: (part: (typeof parts)[number], t: number) => T) =>
    parts.flatMap((part) => part.ids.map((_, t) => value(part, t)));
  const positions = perRow(({ past }, t) => past + t);
  const rows = perRow(({ slot, past }, t) => pageOf(slot, Math.floor((past + t) / pageSize)) * pageSize + ((past + t) % pageSize));
  return {
    ids: fromRows(
      device,
      parts.flatMap(({ ids }) => ids),
    ),
    positions: fromRows(device, positions),
    first: fromRows(
      device,
      positions.map(() => 0),
    ),
    last: fromRows(device, positions),
    rows: fromRows(device, rows),
    pages: {
      table: fromArray(device, table.flat(), [slots, width + 1], "i32"),
      slot: fromRows(
        device,
        perRow(({ slot }) => slot),
      ),
      size: pageSize,
    },
  };
}
