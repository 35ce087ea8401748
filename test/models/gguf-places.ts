// Test helper: fixtures of test/fixtures/models as GGUF files in a temporary folder, and files with changed metadata or tensors.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { type Gguf, openGguf } from "../../src/formats/gguf.ts";
import type { GgufValue } from "../../src/formats/gguf-values.ts";
import { type GgufEntry, writeGguf } from "../../src/formats/gguf-writer.ts";
import { openModelFiles } from "../../src/models/files.ts";
import { type GgufModel, mapGguf } from "../../src/models/gguf-map.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import type { Mix } from "../../src/quantize/mix.ts";
import { type WriteReport, writeGgufModel } from "../../src/quantize/write-gguf-model.ts";
import { fixturePath } from "./fixtures.ts";

// Files on a busy machine take their time.
vi.setConfig({ testTimeout: 60_000 });

export type Place = { readonly folder: string; path(name: string): string; remove(): void };

export function makePlace(): Place {
  const folder = mkdtempSync(join(tmpdir(), "gradually-gguf-"));
  return { folder, path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Writes a fixture as a GGUF file. */
export async function writeFixture(place: Place, name: string, mix: Mix): Promise<{ path: string; report: WriteReport }> {
  const path = place.path(`${name}-${mix}.gguf`);
  const opened = await openModelFiles(nodeFiles, fixturePath(name));
  try {
    return { path, report: await writeGgufModel(nodeFiles, path, opened, { mix, name }) };
  } finally {
    await opened.close();
  }
}

export type Change = {
  /** undefined removes the key. */
  readonly metadata?: Readonly<Record<string, GgufValue | undefined>>;
  /** undefined removes the tensor; a name says what it is called instead; a shape, what it claims to be. */
  readonly tensors?: Readonly<Record<string, { readonly name?: string; readonly shape?: readonly number[] } | undefined>>;
  readonly extra?: readonly GgufEntry[];
};

/** The file again with something changed, mapped. */
export async function mapChanged(place: Place, path: string, change: Change): Promise<GgufModel> {
  const gguf = await openGguf(nodeFiles, path);
  const changed = place.path("changed.gguf");
  const metadata = new Map(gguf.metadata);
  for (const [key, value] of Object.entries(change.metadata ?? {})) value ? metadata.set(key, value) : metadata.delete(key);
  await nodeFiles.writeAtomic(changed, writeGguf(metadata, [...entriesOf(gguf, change), ...(change.extra ?? [])]));
  await gguf.close();
  const again = await openGguf(nodeFiles, changed);
  try {
    return await mapGguf(again, changed);
  } finally {
    await again.close();
  }
}

function* entriesOf(gguf: Gguf, { tensors = {} }: Change): Generator<GgufEntry> {
  for (const tensor of gguf.tensors.values()) {
    const isChanged = Object.hasOwn(tensors, tensor.name);
    const to = tensors[tensor.name];
    if (isChanged && !to) continue;
    const { name = tensor.name, shape } = to ?? {};
    const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
    const data = async () => {
      const bytes = await gguf.readBytes(tensor);
      const resized = new Uint8Array((bytes.length / count(tensor.shape)) * count(shape ?? tensor.shape));
      resized.set(bytes.subarray(0, resized.length));
      return resized;
    };
    yield { name, type: tensor.type, shape: shape ?? tensor.shape, data };
  }
}

export const u32 = (value: number): GgufValue => ({ type: "u32", value });
export const f32 = (value: number): GgufValue => ({ type: "f32", value });
