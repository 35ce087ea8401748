import * as path from "node:path";
import { expect, test } from "vitest";
import { type Expected, readExpected, readJson } from "../models/fixtures.ts";
import { cli, expectFailure, fixtures, json } from "./cli.ts";

test.each(["llama-gqa", "deepseek-yarn"])("%s: transformers' logits for every position, and the last", async (name) => {
  const { ids } = readJson<Expected>(`${name}/expected.json`);
  const wanted = (await readExpected(name)).get("logits.0") as Float32Array;
  const list = (ids[0] as number[]).join(",");
  const folder = path.join(fixtures, name);
  const all = (await json(["logits", folder, "--ids", list, "--all"])).logits as number[][];
  expect(all).toHaveLength((ids[0] as number[]).length);
  const flat = all.flat();
  expect(flat).toHaveLength(wanted.length);
  const worst = Math.max(...flat.map((value, i) => Math.abs(value - (wanted[i] as number))));
  expect(worst).toBeLessThan(1e-4);
  expect((await json(["logits", folder, "--ids", list])).logits).toEqual(all.at(-1));
  const reference = (await json(["logits", folder, "--ids", list, "--device", "reference"])).logits as number[];
  expect(Math.max(...reference.map((value, i) => Math.abs(value - (all.at(-1) as number[])[i]!)))).toBeLessThan(1e-4);
});

test("for people: the five likeliest of each position", async () => {
  const ran = await cli(["logits", path.join(fixtures, "llama-gqa"), "--ids", "1,2", "--all"]);
  expect(ran.out).toMatch(/^position 0: (\d+ \(-?[\d.]+\)( {2})?){5}\nposition 1: /);
});

test("refused: no such model, a name that the Hub cannot have, a broken folder", async () => {
  await expectFailure(["logits", "/no/such/folder", "--ids", "1"], "no such folder");
  await expectFailure(["logits", "hf:org/name/x", "--ids", "1"], "an organisation, a slash and a name");
  await expectFailure(["logits", "model.gguf", "--ids", "1"], "no such file");
  await expectFailure(["logits", fixtures, "--ids", "1"], "without config.json");
  await expectFailure(["logits", "package.json", "--ids", "1"], "a file");
  await expectFailure(["run", path.join(fixtures, "llama-gqa"), "x"], "no tokenizer.json");
});
