import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { openTask } from "../../src/train/task-table.ts";
import { encoderOf, makeTokenizer, openTokenizer } from "../../src/train/tokenizer-setup.ts";

const { files } = nodeHost();
const task = openTask({ name: "countdown" });

test("a trained tokenizer begins texts with bos by itself, keeps the thinking tags, and is the same every time", async () => {
  const made = await makeTokenizer(files, { vocabSize: 300, examples: 200 }, task, new Random(1));
  expect(await makeTokenizer(files, { vocabSize: 300, examples: 200 }, task, new Random(1))).toEqual(made);
  const tokenizer = openTokenizer(made);
  const encoder = encoderOf(tokenizer);
  const { prompt, completion } = task.drawTrace(new Random(4), {}, true);
  const ids = encoder.encode(prompt + completion);
  expect(tokenizer.encode(prompt + completion)).toEqual([tokenizer.specialIds.bos, ...ids]);
  expect(tokenizer.decode(ids)).toBe(prompt + completion);
  expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(prompt + completion);
  expect([...encoder.encode(prompt), ...encoder.encode(completion)]).toEqual(ids); // nothing merges across the border
  expect([encoder.bos, encoder.eos]).toEqual([0, 1]);
});

test("a tokenizer from a folder is taken as it is", async () => {
  const made = await makeTokenizer(files, { vocabSize: 280, examples: 50 }, task, new Random(1));
  const folder = mkdtempSync(join(tmpdir(), "gradually-tokenizer-"));
  writeFileSync(join(folder, "tokenizer.json"), made.tokenizerJson);
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(made.tokenizerConfig));
  const read = await makeTokenizer(files, { kind: "folder", path: folder }, undefined, new Random(1));
  expect(read.tokenizerJson).toBe(made.tokenizerJson);
  expect({ ...read.tokenizerConfig }).toEqual(made.tokenizerConfig);
  rmSync(folder, { recursive: true });
});

test("what cannot work is refused", async () => {
  await expect(makeTokenizer(files, { kind: "folder" }, task, new Random(1))).rejects.toThrow(/without a path/);
  await expect(makeTokenizer(files, {}, undefined, new Random(1))).rejects.toThrow(/no task/);
  await expect(makeTokenizer(files, { vocabSize: 10 }, task, new Random(1))).rejects.toThrow(ConfigError);
  const { tokenizerJson } = await makeTokenizer(files, { vocabSize: 262, examples: 5 }, task, new Random(1));
  expect(() => encoderOf(openTokenizer({ tokenizerJson, tokenizerConfig: {} }))).toThrow(/no eos_token/);
});
