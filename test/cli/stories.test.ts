// The verbs on a real published model: stories260K, whose greedy text llama2.c itself tests against.

import { readFileSync } from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";
import { sharedData } from "../shared-data.ts";
import { cli, expectFailure, json } from "./cli.ts";

const folder = path.join(sharedData ?? "", "models/stories260K");
const model = path.join(folder, "hf");
const read = <T>(name: string) => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as T;

describe.skipIf(!sharedData)("stories260K", () => {
  test("run --raw: 200 greedy ids and the text of llama2.c", async () => {
    const { expected_ids, expected_text } = read<{ expected_ids: number[]; expected_text: string }>("expected-greedy.json");
    expect(expected_ids).toHaveLength(201); // the first is the prompt: BOS
    const report = await json(["run", model, "", "--raw", "--temperature", "0", "--max-tokens", "200"]);
    expect(report).toMatchObject({ prompt_tokens: 1, completion_tokens: 200, stop: "length", reasoning: "", text: expected_text });
    expect(report.ids).toEqual(expected_ids.slice(1));
    expect(report.tok_s).toBeGreaterThan(0);
  });

  test("run streams the same text to standard output, and the rest to standard error", async () => {
    const { expected_text } = read<{ expected_text: string }>("expected-greedy.json");
    const ran = await cli(["run", model, "", "--raw", "-n", "200", "--threads", "1"]);
    expect(ran).toMatchObject({ code: 0, out: `${expected_text}\n` });
    expect(ran.err).toMatch(/1 prompt tokens, 200 tokens at \d+ tok\/s, ended by length\nnext: gradually /);
  });

  test("the same seed gives the same ids, another seed others", async () => {
    const ids = async (seed: string) => (await json(["run", model, "Once", "--temperature", "1", "--seed", seed, "-n", "30"])).ids;
    const [first, again, other] = await Promise.all([ids("7"), ids("7"), ids("8")]);
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  test("tokenize: the ids that Hugging Face gives, from an argument and from standard input", async () => {
    const texts = read<{ text: string; ids: number[] }[] | { cases: { text: string; ids: number[] }[] }>("expected-tokens.json");
    const cases = Array.isArray(texts) ? texts : texts.cases;
    expect(cases.length).toBeGreaterThan(2);
    for (const { text, ids } of cases) {
      expect((await json(["tokenize", model, "-"], { input: text })).ids).toEqual(ids);
    }
    const { text, ids } = cases.find((each) => !each.text.startsWith("-")) as { text: string; ids: number[] };
    expect((await json(["tokenize", model, text])).ids).toEqual(ids);
    expect((await json(["tokenize", model, text, "--no-special"])).ids).toEqual(ids.slice(1));
  });

  test("inspect: counts and sizes", async () => {
    const report = await json(["inspect", model]);
    expect(report).toMatchObject({
      kind: "folder",
      model_type: "llama",
      tensor_count: 47,
      bytes: 1040128,
      dtypes: { F32: { tensors: 47, bytes: 1040128 } },
      runs: true,
      parameters: { total: 260032, active: 260032 },
      context_length: 512,
      cache_bytes_per_token: 5 * 2 * 4 * 8 * 4,
    });
    expect(await json(["inspect", path.join(model, "model.safetensors")])).toMatchObject({ kind: "file", tensor_count: 47 });
  });

  test("refused: prompts longer than the context, budgets without thinking", async () => {
    await expectFailure(["run", model, "Once upon a time ".repeat(200), "--raw"], "at most 511", "shorten the prompt");
    await expectFailure(["run", model, "Once", "--thinking-budget", "4"], "no </think>");
    await expectFailure(["logits", model, "--ids", Array(513).fill(1).join(",")], "513 ids", "at most 512");
    await expectFailure(["logits", model, "--ids", "1,512"], "id 512", "0 to 511");
  });
});
