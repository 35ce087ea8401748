// Mutated safetensors files and mutated Hugging Face folders (config, index, shards): refused properly, or read without harm. Mutations change
// the header's length, single tokens of the JSON, or bytes anywhere.

import fc from "fast-check";
import { expect, test } from "vitest";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { type SafetensorsEntry, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { type Field, fuzzOptions, fuzzTimeout, mutate, mutation, mutations, survives } from "./fuzz.ts";
import { memoryFiles, memoryFolder } from "./memory-files.ts";
import { concatBytes, handMade, memorySource } from "./memory-source.ts";

async function written(entries: SafetensorsEntry[], metadata?: Record<string, string>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of writeSafetensors(entries, metadata)) parts.push(chunk.slice());
  return concatBytes(...parts);
}

const headerLength: Field = { at: 0, width: 8 };
const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|[{}[\]:,]|\w+/g;

/** What stands in for a token: other JSON, whole or broken. */
const replacement = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "-1",
    "1.5",
    "1e3",
    "1e999",
    "9007199254740993",
    "18446744073709551615",
    "null",
    "true",
    "{}",
    "[]",
    "[[[[",
    "{",
    "}",
    ",",
    ":",
    '""',
    '"\\ud800"',
    '"\\u0000"',
    "\u0001",
    "\ufeff",
    "//",
    "'a'",
    "NaN",
  ),
  fc.constantFrom(
    '"F32"',
    '"U8"',
    '"F64"',
    '"BOOL"',
    '"F128"',
    '"__metadata__"',
    '"__proto__"',
    '"shape"',
    '"dtype"',
    '"data_offsets"',
    '"a.safetensors"',
    '"../a"',
  ),
  fc.integer().map(String),
  fc.string().map((s) => JSON.stringify(s)),
  fc.nat(20_000).map((depth) => "[".repeat(depth)),
);

/** Replaces, doubles or drops one token of a JSON text, or puts one token in the place of another. */
const textChange: fc.Arbitrary<(text: string) => string> = fc
  .tuple(fc.nat(), fc.nat(), replacement, fc.constantFrom("replace", "double", "drop", "move"))
  .map(([which, other, text, kind]) => (json: string) => {
    const tokens = [...json.matchAll(token)];
    const chosen = tokens[which % tokens.length];
    const second = tokens[other % tokens.length]?.[0] ?? "";
    if (!chosen) return text;
    const put = { replace: text, double: `${chosen[0]}${chosen[0]}`, drop: "", move: second }[kind];
    return json.slice(0, chosen.index) + put + json.slice(chosen.index + chosen[0].length);
  });
const textChanges = fc.array(textChange, { minLength: 1, maxLength: 3 });

const bases = [
  await written(
    [
      { name: "a", dtype: "F32", shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
      { name: "b", dtype: "F64", shape: [2], data: Float64Array.of(1, 2) },
      { name: "c", dtype: "I64", shape: [1], data: Int32Array.of(3) },
      { name: "d", dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) },
      { name: "e", dtype: "F8_E4M3", shape: [1, 2], data: Float32Array.of(1, 2) },
      { name: "f", dtype: "BF16", shape: [], data: Float32Array.of(1) },
    ],
    { note: "text" },
  ),
  handMade("{}"),
];

async function readAll(bytes: Uint8Array): Promise<boolean> {
  const source = memorySource(bytes);
  return await survives([source], async () => {
    const file = await openSafetensors(source);
    for (const name of file.tensors.keys()) {
      await file.read(name);
      await file.readF32(name);
      await file.readF64(name);
    }
    await file.close();
  });
}

test("safetensors files with mutated bytes", { timeout: fuzzTimeout }, async () => {
  const counts = { accepted: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(bases.length - 1), mutations, async (which, changes) => {
      counts[(await readAll(mutate(bases[which] as Uint8Array, [headerLength], changes))) ? "accepted" : "refused"]++;
    }),
    fuzzOptions,
  );
  expect(counts.refused).toBeGreaterThan(fuzzOptions.numRuns / 2);
});

test("safetensors files with mutated headers of the right length", { timeout: fuzzTimeout }, async () => {
  const counts = { accepted: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(textChanges, async (changes) => {
      const base = bases[0] as Uint8Array;
      const end = 8 + Number(new DataView(base.buffer).getBigUint64(0, true));
      const header = changes.reduce((text, change) => change(text), new TextDecoder().decode(base.subarray(8, end)));
      counts[(await readAll(handMade(header, base.subarray(end)))) ? "accepted" : "refused"]++;
    }),
    fuzzOptions,
  );
  expect(counts.refused).toBeGreaterThan(fuzzOptions.numRuns / 2);
  expect(counts.accepted).toBeGreaterThan(0);
});

const folder = new Map<string, Uint8Array>([
  [
    "config.json",
    new TextEncoder().encode(
      '{"model_type":"deepseek_v3","hidden_size":4,"quantization_config":{"quant_method":"fp8","weight_block_size":[2,2]}}',
    ),
  ],
  ["generation_config.json", new TextEncoder().encode('{"eos_token_id":[1,2],"temperature":0.6}')],
  [
    "model.safetensors.index.json",
    new TextEncoder().encode(
      '{"metadata":{"total_size":47},"weight_map":{"w":"a-1.safetensors","w_scale_inv":"a-2.safetensors","n":"a-2.safetensors"}}',
    ),
  ],
  ["a-1.safetensors", await written([{ name: "w", dtype: "F8_E4M3", shape: [3, 4], data: new Float32Array(12).fill(2) }])],
  [
    "a-2.safetensors",
    await written([
      { name: "w_scale_inv", dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
      { name: "n", dtype: "F32", shape: [4], data: new Float32Array(4) },
    ]),
  ],
]);
const names = [...folder.keys()];

test("Hugging Face folders with a mutated file", { timeout: fuzzTimeout }, async () => {
  const counts = { accepted: 0, refused: 0 };
  // The index is what strangers write paths into: it gets half of the mutations.
  const file = fc.oneof(fc.constant("model.safetensors.index.json"), fc.constantFrom(...names));
  await fc.assert(
    fc.asyncProperty(file, textChanges, fc.array(mutation, { minLength: 1, maxLength: 2 }), async (name, texts, changes) => {
      const bytes = folder.get(name) as Uint8Array;
      const changed = name.endsWith(".json")
        ? new TextEncoder().encode(texts.reduce((text, change) => change(text), new TextDecoder().decode(bytes)))
        : mutate(bytes, [headerLength], changes);
      const { files, sources } = memoryFiles(new Map([...folder, [name, changed]]));
      const accepted = await survives(sources, async () => {
        const model = await openHfFolder(files, memoryFolder);
        for (const tensor of model.tensors.values()) await tensor.readF32();
        await model.close();
      });
      counts[accepted ? "accepted" : "refused"]++;
    }),
    fuzzOptions,
  );
  expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(fuzzOptions.numRuns / 50);
});
