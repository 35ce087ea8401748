// speedrun, stopped and killed on its way: the same command with --resume comes to the results of a run that was never stopped.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, expectFailure, json, start, temporaryFolder } from "./cli.ts";

const temporary = temporaryFolder();
afterAll(() => temporary.remove());

const [whole, broken] = [path.join(temporary.path, "whole"), path.join(temporary.path, "broken")];
const small = [
  "model.config.num_hidden_layers=2",
  "stages.pretrain.steps=4",
  "stages.pretrain.batchSize=1",
  "stages.sft.data.examples=4",
  "stages.sft.epochs=1",
  "stages.grpo.steps=2",
  "stages.grpo.promptsPerGeneration=2",
  "stages.grpo.numGenerations=2",
  "stages.grpo.maxCompletionLength=16",
  "tokenizer.examples=50",
].flatMap((setting) => ["--set", setting]);
const args = (out: string) => ["speedrun", "--out", out, "--problems", "2", ...small];
const contents = (out: string) => ["metrics.jsonl", "samples.jsonl"].map((name) => readFileSync(path.join(out, name), "utf8"));

let unbroken: Record<string, unknown>;
beforeAll(async () => {
  unbroken = await json(args(whole));
});

/** Sends the signal when standard error says `when`. */
async function interrupt(more: readonly string[], when: string, signal: NodeJS.Signals) {
  const running = start([...args(broken), ...more]);
  let isSent = false;
  running.onError((text) => {
    if (isSent || !text.includes(when)) return;
    isSent = true;
    running.kill(signal);
  });
  const ran = await running.done;
  expect(isSent, ran.err).toBe(true);
  return ran;
}

test("Ctrl-C in training, SIGTERM in an exam, a kill in the last one; --resume ends as if nothing had been", async () => {
  const first = await interrupt([], "pretrain 1/4", "SIGINT");
  expect(first, first.err).toMatchObject({ code: 0, out: "" });
  const next = first.err.trimEnd().split("\n").at(-1);
  expect(next).toBe(
    `stopped; next: npm run --silent gradually -- speedrun --out ${broken} --seed 1 --problems 2 ${small.join(" ")} --resume`,
  );

  const second = await interrupt(["--resume", "--json"], "eval pretrain", "SIGTERM");
  expect(second, second.err).toMatchObject({ code: 0, out: `${JSON.stringify({ finished: false, out: broken })}\n` });
  expect(second.err).not.toContain("eval random"); // it has been taken

  const third = await interrupt(["--resume"], "eval budget", "SIGKILL");
  expect(third.signal).toBe("SIGKILL");

  const last = await json([...args(broken), "--resume"]);
  expect(contents(broken)).toEqual(contents(whole));
  const withoutClock = ({ seconds, peak_rss_mb, cost_usd, checkpoint, ...rest }: Record<string, unknown>) => rest;
  expect(withoutClock(last)).toEqual(withoutClock(unbroken));
  expect(Object.keys(last.accuracy as object)).toEqual(["random", "pretrain", "sft", "grpo"]);
  // What a page shows of the run counts the last exams too.
  for (const out of [whole, broken]) {
    const cost = JSON.parse(readFileSync(path.join(out, "cost.json"), "utf8"));
    expect(cost).toMatchObject({ tokens: unbroken.tokens, flop: unbroken.flop });
    expect(cost.stages.at(-1).name).toBe("eval budget");
  }
}, 120_000); // four processes, one of them almost a whole run

test("what a resume refuses: other problems, a changed recipe, exams that nobody wrote, no run at all", async () => {
  const resume = [...args(whole), "--resume"];
  await expectFailure([...resume, "--problems", "3"], "exams of 3 problems", "--problems 2");
  await expectFailure([...resume, "--set", "stages.grpo.steps=3"], "stages.2.steps: 2 -> 3");
  const exam = { step: 0, costs: [{ tokens: 5, keys: 9 }], seconds: 1, accuracy: { greedy: [0, 0, 1], sampled: [0, 0, 1] } };
  for (const random of [3, { ...exam, costs: [{ tokens: 5 }] }, { ...exam, accuracy: { greedy: [0, 0, 1] } }, { ...exam, step: -1 }]) {
    writeFileSync(path.join(whole, "exams.json"), JSON.stringify({ format: 1, problems: 2, exams: { random } }));
    await expectFailure(resume, "exams.json", "remove the file");
  }
  rmSync(path.join(whole, "exams.json"));
  const ran = await cli(["speedrun", "--resume"], { cwd: temporary.path });
  expect(ran, ran.err).toMatchObject({ code: 1, out: "" });
  expect(ran.err).toContain("resume the last speedrun: got no folder");
});
