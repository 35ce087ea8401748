// Hugging Face folders: reading one that others made, and every local row of hazards.md section 1.4 by its id.

import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError, FormatError } from "../../src/core/errors.ts";
import { encode } from "../../src/formats/dtypes.ts";
import { openHfFolder, storedBytes } from "../../src/formats/hf-folder.ts";
import { type SafetensorsEntry, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { sharedData } from "../shared-data.ts";

const { files } = nodeHost();
let base = "";
let folder = "";

beforeEach(async () => {
  base = await fs.mkdtemp(path.join(tmpdir(), "gradually-hf-"));
  folder = path.join(base, "model");
  await fs.mkdir(folder);
  await put("config.json", { model_type: "test" });
});
afterEach(async () => {
  await fs.rm(base, { recursive: true, force: true });
});

async function put(name: string, content: unknown, into = folder): Promise<void> {
  await fs.writeFile(path.join(into, name), typeof content === "string" ? content : JSON.stringify(content));
}

async function putTensors(name: string, tensors: Record<string, number[]>, into = folder): Promise<void> {
  const entries = Object.entries(tensors).map(
    ([key, data]): SafetensorsEntry => ({ name: key, dtype: "F32", shape: [data.length], data: Float32Array.from(data) }),
  );
  await files.writeAtomic(path.join(into, name), writeSafetensors(entries));
}

async function putIndex(weightMap: Record<string, unknown>, totalSize?: number): Promise<void> {
  await put("model.safetensors.index.json", { metadata: { total_size: totalSize }, weight_map: weightMap });
}

test("two shards and an index", async () => {
  await putTensors("a-1.safetensors", { x: [1, 2] });
  await putTensors("a-2.safetensors", { y: [3] });
  await putIndex({ x: "a-1.safetensors", y: "a-2.safetensors" }, 12);
  const model = await openHfFolder(files, folder);
  expect([...model.tensors.keys()]).toEqual(["x", "y"]);
  expect([...((await model.tensors.get("y")?.readF32()) ?? [])]).toEqual([3]);
  expect(model.warnings).toEqual([]);
  expect(storedBytes(model.tensors)).toBe(12);
  expect(await model.readText("tokenizer.json")).toBeUndefined();
  await model.close();
});

test("model.safetensors alone; generation_config.json and other texts when they are there", async () => {
  await putTensors("model.safetensors", { x: [1, 2] });
  await put("generation_config.json", { eos_token_id: 7 });
  await put("tokenizer.json", "{}");
  const model = await openHfFolder(files, folder);
  expect(model.generationConfig).toEqual({ eos_token_id: 7 });
  expect(await model.readText("tokenizer.json")).toBe("{}");
  await model.close();
});

const badShards: [id: string, name: unknown][] = [
  ["H01", "../../secret.safetensors"],
  ["H02", "/etc/passwd"],
  ["H02", "/etc/passwd.safetensors"],
  ["H03", "C:\\x.safetensors"],
  ["H04", "a/../../b.safetensors"],
  ["H05", "%2e%2e/a.safetensors"],
  ["H05", "%2e%2e%2fa.safetensors"],
  ["H06", "..\\a.safetensors"],
  ["H07", "．．／a.safetensors"],
  ["H08", "a\0.safetensors"],
  ["H09", "CON.safetensors"],
  ["H09", "aux.safetensors"],
  ["H09", "aux.x.safetensors"],
  ["H10", "file:///etc/a.safetensors"],
  ["H10", "http://x/a.safetensors"],
  ["", "..safetensors"],
  ["", ""],
  ["", "pytorch_model.bin"],
  ["", 3],
  ["", null],
];

test.each(badShards)("%s refused: shard %j", async (_id, name) => {
  await putTensors("a.safetensors", { x: [1] });
  await putIndex({ x: "a.safetensors", y: name });
  await expect(openHfFolder(files, folder)).rejects.toThrow(/shard .* for tensor "y"; expected a bare file name/);
});

test("H11 refused: a shard, the weights or config.json as a symbolic link out of the folder", async () => {
  await putTensors("outside.safetensors", { x: [1] }, base);
  await fs.symlink("../outside.safetensors", path.join(folder, "a.safetensors"));
  await putIndex({ x: "a.safetensors" });
  await expect(openHfFolder(files, folder)).rejects.toThrow(/"a.safetensors", a link out of the folder/);
  await fs.rename(path.join(folder, "a.safetensors"), path.join(folder, "model.safetensors"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(/"model.safetensors", a link out of the folder/);
  await put("outside.json", {}, base);
  await fs.rm(path.join(folder, "config.json"));
  await fs.symlink(path.join(base, "outside.json"), path.join(folder, "config.json"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(FormatError);
});

test("a folder whose name merely begins like ours is outside too", async () => {
  await fs.mkdir(`${folder}-other`);
  await putTensors("a.safetensors", { x: [1] }, `${folder}-other`);
  await fs.symlink("../model-other/a.safetensors", path.join(folder, "model.safetensors"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(/link out of the folder/);
});

test("H12 accepted: the links of the Hugging Face cache into its own blobs; refused: into another model's", async () => {
  const entry = path.join(base, "models--org--name");
  const snapshot = path.join(entry, "snapshots", "abc");
  await fs.mkdir(path.join(entry, "blobs"), { recursive: true });
  await fs.mkdir(snapshot, { recursive: true });
  await put("c0ffee", {}, path.join(entry, "blobs"));
  await putTensors("beef", { x: [1] }, path.join(entry, "blobs"));
  await fs.symlink("../../blobs/c0ffee", path.join(snapshot, "config.json"));
  await fs.symlink("../../blobs/beef", path.join(snapshot, "model.safetensors"));
  const model = await openHfFolder(files, snapshot);
  expect(model.tensors.size).toBe(1);
  await model.close();
  await fs.mkdir(path.join(base, "models--other"));
  await fs.rename(path.join(entry, "blobs", "beef"), path.join(base, "models--other", "beef"));
  await fs.rm(path.join(snapshot, "model.safetensors"));
  await fs.symlink("../../../models--other/beef", path.join(snapshot, "model.safetensors"));
  await expect(openHfFolder(files, snapshot)).rejects.toThrow(/link out of the folder/);
});

test("H12 accepted: a blob that is a link to one that the whole cache shares; refused: the same from a folder that is no cache", async () => {
  const snapshot = path.join(base, "models--org--name", "snapshots", "abc");
  await fs.mkdir(path.join(base, "models--org--name", "blobs"), { recursive: true });
  await fs.mkdir(path.join(base, "blobs"));
  await fs.mkdir(snapshot, { recursive: true });
  await put("config.json", {}, snapshot);
  await putTensors("beef", { x: [1] }, path.join(base, "blobs"));
  await fs.symlink("../../blobs/beef", path.join(base, "models--org--name", "blobs", "beef"));
  await fs.symlink("../../blobs/beef", path.join(snapshot, "model.safetensors"));
  await (await openHfFolder(files, snapshot)).close();
  await fs.symlink("../blobs/beef", path.join(folder, "model.safetensors"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(/link out of the folder/);
});

test("H13 accepted: a hard link; and a model folder that is itself reached through a link", async () => {
  await putTensors("outside.safetensors", { x: [1] }, base);
  await fs.link(path.join(base, "outside.safetensors"), path.join(folder, "model.safetensors"));
  await fs.symlink(folder, path.join(base, "alias"));
  for (const name of ["model", "alias"]) await (await openHfFolder(files, path.join(base, name))).close();
});

test("H37 accepted, nothing executed: code in the folder, and settings that name it", async () => {
  const settings = { auto_map: { AutoModel: "modeling.Model" }, trust_remote_code: true, _target_: "os.system" };
  await put("config.json", { model_type: "test", ...settings });
  await putTensors("model.safetensors", { x: [1] });
  const trap = "globalThis.trapped = true;";
  for (const name of ["modeling.py", "index.js", "config.mjs", "addon.node", "tokenizer.cjs"]) await put(name, trap);
  await put("package.json", { scripts: { postinstall: "node index.js" }, main: "index.js" });
  const touched: string[] = [];
  const record = <T>(read: (target: string, limit?: number) => T) => {
    return (target: string, limit?: number): T => {
      touched.push(path.basename(target));
      return read(target, limit);
    };
  };
  const model = await openHfFolder(
    { ...files, open: record(files.open), read: record(files.read), readText: record(files.readText) },
    folder,
  );
  await model.tensors.get("x")?.readF32();
  expect(touched.sort()).toEqual(["config.json", "model.safetensors"]);
  expect(model.config).toEqual({ model_type: "test", ...settings });
  expect("trapped" in globalThis).toBe(false);
  await model.close();
});

describe("index and shards that disagree", () => {
  beforeEach(async () => {
    await putTensors("a.safetensors", { x: [1], z: [9] });
    await putTensors("b.safetensors", { y: [2] });
  });

  test("H31 refused: a shard that is not there, all of them named", async () => {
    await putIndex({ x: "a.safetensors", z: "a.safetensors", y: "c.safetensors", w: "d.safetensors" });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/no file "c.safetensors", "d.safetensors"/);
  });

  test("H32 refused: a tensor that is not in its shard", async () => {
    await putIndex({ x: "a.safetensors", z: "a.safetensors", y: "b.safetensors", w: "b.safetensors" });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/shards without "w"/);
    await putIndex({ x: "a.safetensors", z: "b.safetensors", y: "b.safetensors" });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/shards without "z"/);
  });

  test("H33 refused: a tensor that the index does not list", async () => {
    await putIndex({ x: "a.safetensors", y: "b.safetensors" });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/with "z", which the index does not list/);
  });

  test("H34 refused: a tensor in two shards", async () => {
    await putTensors("b.safetensors", { y: [2], x: [3] });
    await putIndex({ x: "a.safetensors", z: "a.safetensors", y: "b.safetensors" });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/tensor "x" in both a.safetensors and b.safetensors/);
  });

  test("H35 a warning: total_size is wrong", async () => {
    await putIndex({ x: "a.safetensors", z: "a.safetensors", y: "b.safetensors" }, 11);
    const model = await openHfFolder(files, folder);
    expect(model.warnings).toEqual(["the index says total_size 11, the shards hold 12 bytes"]);
    await model.close();
  });

  test("H36 refused by a limit: an index to very many files", async () => {
    await putIndex(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`t${i}`, `s${i}.safetensors`])));
    await expect(openHfFolder(files, folder)).rejects.toThrow(/index of 100000 files; expected at most 1000/);
  });

  test("an index without a weight_map", async () => {
    await put("model.safetensors.index.json", { weight_map: ["a.safetensors"] });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/without weight_map/);
  });
});

test("T37, T38 and the rest: configurations that are none", async () => {
  await putTensors("model.safetensors", { x: [1] });
  for (const [content, message] of [
    ["[".repeat(100_000), /deeper than 64/],
    ["[]", /no JSON object/],
    ['{"a":1,"a":2}', /"a" a second time/],
    ['{"hidden_size":1e999}', /finite/],
    [`{"a":"${"x".repeat(10_000_001)}"}`, /expected at most 10000000 bytes/],
  ] as const) {
    await put("config.json", content);
    await expect(openHfFolder(files, folder)).rejects.toThrow(message);
  }
  await fs.rm(path.join(folder, "config.json"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(/without config.json/);
  await expect(openHfFolder(files, path.join(base, "none"))).rejects.toThrow(/no folder there/);
  await put("config.json", {});
  await fs.rm(path.join(folder, "model.safetensors"));
  await expect(openHfFolder(files, folder)).rejects.toThrow(/neither model.safetensors nor/);
});

describe("FP8 with block scales", () => {
  const weight: SafetensorsEntry = {
    name: "w.weight",
    dtype: "F8_E4M3",
    shape: [3, 5],
    data: Float32Array.from({ length: 15 }, (_, i) => i + 1),
  };
  const scales: SafetensorsEntry = { name: "w.weight_scale_inv", dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 10, 100, 1000) };
  const save = (...entries: SafetensorsEntry[]) => files.writeAtomic(path.join(folder, "model.safetensors"), writeSafetensors(entries));

  test("one tensor, multiplied by the scale of its block, ragged edges included", async () => {
    await put("config.json", { quantization_config: { quant_method: "fp8", weight_block_size: [2, 3] } });
    await save(weight, scales);
    const model = await openHfFolder(files, folder);
    expect([...model.tensors.keys()]).toEqual(["w.weight"]);
    expect(model.tensors.get("w.weight")).toMatchObject({ dtype: "F8_E4M3", shape: [3, 5] });
    const row = [1, 2, 3, 40, 50, 6, 7, 8, 90, 100, 1100, 1200, 1300, 14000, 15000];
    expect([...((await model.tensors.get("w.weight")?.readF32()) ?? [])]).toEqual(row);
    await model.close();
  });

  test("scales as BF16 and as powers of two in F8_E8M0 (ue8m0) multiply alike", async () => {
    await put("config.json", { quantization_config: { quant_method: "fp8", scale_fmt: "ue8m0", weight_block_size: [2, 3] } });
    const row = [1, 2, 3, 2, 2.5, 6, 7, 8, 4.5, 5, 44, 48, 52, 14 / 1024, 15 / 1024];
    const codes = Buffer.from([127, 126, 129, 117]); // 1, 1/2, 4, 2^-10
    const bf16 = Buffer.from(Float32Array.of(1, 0.5, 4, 2 ** -10).buffer);
    for (const [dtype, bytes] of [
      ["F8_E8M0", codes],
      ["BF16", Buffer.concat([0, 1, 2, 3].map((i) => bf16.subarray(4 * i + 2, 4 * i + 4)))],
    ] as const) {
      // The writer makes no F8_E8M0, so the file is put together by hand.
      const header = JSON.stringify({
        "w.weight": { dtype: "F8_E4M3", shape: [3, 5], data_offsets: [0, 15] },
        "w.weight_scale_inv": { dtype, shape: [2, 2], data_offsets: [15, 15 + bytes.length] },
      }).padEnd(256);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      const weights = Buffer.from(encode("F8_E4M3", weight.data as Float32Array));
      await files.writeAtomic(path.join(folder, "model.safetensors"), Buffer.concat([length, Buffer.from(header), weights, bytes]));
      const model = await openHfFolder(files, folder);
      expect([...((await model.tensors.get("w.weight")?.readF32()) ?? [])]).toEqual(row);
      await model.close();
    }
  });

  test("Q10 accepted: the NaN of F8_E4M3 stays NaN, alone", async () => {
    await put("config.json", { quantization_config: { weight_block_size: [2, 3] } });
    const values = Float32Array.from(weight.data as Float32Array);
    values[7] = Number.NaN;
    await save({ ...weight, data: values }, scales);
    const model = await openHfFolder(files, folder);
    const read = (await model.tensors.get("w.weight")?.readF32()) ?? new Float32Array(0);
    expect([...read].flatMap((x, i) => (Number.isNaN(x) ? [i] : []))).toEqual([7]);
    await model.close();
  });

  test("Q11 accepted: scales of zero, below zero, NaN and infinite multiply as they are", async () => {
    await put("config.json", { quantization_config: { weight_block_size: [2, 3] } });
    await save(weight, { ...scales, data: Float32Array.of(0, -1, Number.NaN, Infinity) });
    const model = await openHfFolder(files, folder);
    const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
    const row = [0, 0, 0, -4, -5, 0, 0, 0, -9, -10, nan, nan, nan, infinity, infinity];
    expect([...((await model.tensors.get("w.weight")?.readF32()) ?? [])]).toEqual(row);
    await model.close();
  });

  test("T35 refused: block sizes that make no sense, and scales that do not fit", async () => {
    await save(weight, scales);
    for (const size of [undefined, [0, 128], [128], [-1, 1], [1.5, 2], "128"]) {
      await put("config.json", { quantization_config: { quant_method: "fp8", weight_block_size: size } });
      await expect(openHfFolder(files, folder)).rejects.toThrow(ConfigError);
    }
    await put("config.json", { quantization_config: { weight_block_size: [128, 128] } });
    await expect(openHfFolder(files, folder)).rejects.toThrow(/scales \[2, 2\]; expected scales \[1, 1\]/);
    await save(scales);
    await expect(openHfFolder(files, folder)).rejects.toThrow(/without a weight/);
    await save({ ...weight, dtype: "F32" }, scales);
    await expect(openHfFolder(files, folder)).rejects.toThrow(/of F32 with scales/);
  });
});

test.skipIf(!sharedData)("stories260K, a folder that others made", async () => {
  const model = await openHfFolder(files, path.join(sharedData as string, "models/stories260K/hf"));
  expect(model.config.hidden_size).toBe(64);
  const embedding = model.tensors.get("model.embed_tokens.weight");
  expect(embedding?.shape).toEqual([512, 64]);
  expect(await embedding?.readF32()).toHaveLength(512 * 64);
  await model.close();
});
