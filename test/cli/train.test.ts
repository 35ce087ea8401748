// train, and run and eval on what it made: a tiny arithmetic model.

import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cli, expectFailure, json, root, start, temporaryFolder, trainTiny } from "./cli.ts";

const temporary = temporaryFolder();
const runFolder = path.join(temporary.path, "run");
let model = "";

beforeAll(async () => {
  model = await trainTiny(runFolder);
});
afterAll(() => temporary.remove());

test("train leaves a run folder with its resolved recipe and its cost", () => {
  expect(readdirSync(runFolder)).toEqual(
    expect.arrayContaining(["checkpoints", "cost.json", "metrics.jsonl", "recipe.json", "samples.jsonl"]),
  );
  const recipe = JSON.parse(readFileSync(path.join(runFolder, "recipe.json"), "utf8"));
  expect(recipe.stages[0].steps).toBe(6);
  expect(existsSync(path.join(model, "model.safetensors"))).toBe(true);
});

test("run: an expression becomes the task's prompt; reasoning and answer are apart", async () => {
  const report = await json(["run", model, "1 + 2", "--thinking-budget", "3", "-n", "12"]);
  expect(report).toMatchObject({ prompt: "1+2=<think>", thinking_tokens: 3 });
  expect(report.forced).toBeGreaterThan(0);
  expect(`${report.reasoning}${report.text}`).not.toContain("</think>");
  const shown = await cli(["run", model, "1+2", "--thinking-budget", "3", "-n", "12"]);
  expect(shown.out.startsWith(`<think>${report.reasoning}</think>\n`)).toBe(true);
});

test("run: a countdown problem is read in any spelling and checked", async () => {
  const report = await json(["run", model, "3 5 7 = 22", "-n", "8"]);
  expect(report).toMatchObject({ prompt: "3,5,7=22<think>", correct: false });
  expect((await json(["run", model, "-", "-n", "8"], { input: "3, 5, 7=22\n" })).ids).toEqual(report.ids);
});

test("run: refused prompts", async () => {
  await expectFailure(["run", model, "what is love"], "a countdown problem", "--raw");
  await expectFailure(["run", model, "1+".repeat(40), "--raw"], "at most 63");
});

test("eval: the held-out problems of the recipe's task, greedy, sampled and under budgets", async () => {
  const args = ["eval", model, "--problems", "3", "--samples", "3", "--thinking-budget", "0,4", "-n", "16"];
  const report = await json(args);
  expect(report).toMatchObject({ task: "arithmetic", n: 3, samples: 3, max_tokens: 16 });
  const [p, low, high] = report.accuracy as number[];
  expect(low).toBeLessThanOrEqual(p as number);
  expect(high).toBeGreaterThan(p as number);
  expect(report.cost_usd).toBeCloseTo(((report.seconds as number) / 3600) * 0.05, 12);
  const curve = report.budget_curve as { mode: string; budget: number; thinking_tokens: number }[];
  expect(curve.map(({ mode, budget }) => [mode, budget])).toEqual([
    ["cap", 0],
    ["cap", 4],
    ["free", 0],
  ]);
  expect(curve[0]?.thinking_tokens).toBe(0);
  const again = await json([...args, "--parallel", "2", "--threads", "1"]);
  expect({ ...again, accuracy: 0 }).toMatchObject({ sampled: report.sampled, budget_curve: curve, tokens: report.tokens });
});

test("eval: without --problems as many as there are, at most 200", async () => {
  expect(await json(["eval", model, "-n", "4"])).toMatchObject({ task: "arithmetic", n: 3 });
});

test("eval: refused tasks and settings", async () => {
  await expectFailure(["eval", model, "--problems", "4"], "only 3 different problems");
  await expectFailure(["eval", model, "--task", "countdown", "--task-options", '{"cuont":3}'], "cuont");
  await expectFailure(["eval", model, "--task-options", "[1]"], "a JSON object");
});

test("train: refused recipes, settings and folders", async () => {
  const file = path.join(temporary.path, "file");
  writeFileSync(file, "");
  const broken = path.join(temporary.path, "broken.ts");
  writeFileSync(broken, "export const recipe = {");
  const empty = path.join(temporary.path, "empty.ts");
  writeFileSync(empty, "export const other = 1;\n");
  await Promise.all([
    expectFailure(["train", "no-such-recipe"], "no such file", "tiny"),
    expectFailure(["train", broken], "a module that loads"),
    expectFailure(["train", empty], "exports other"),
    expectFailure(["train", "tiny", "--out", path.join(file, "run")], "a file where a folder is named"),
    expectFailure(["train", "tiny", "--out", runFolder], "a folder with a run in it", "--resume"),
    expectFailure(["train", "tiny", "--set", "stages.0.stepps=3"], "stages.0.steps"),
    expectFailure(["train", "tiny", "--set", "seed"], "path=value"),
  ]);
});

test("train: Ctrl-C ends it with a checkpoint and exit 0; --resume gives the metrics of a run that never stopped", async () => {
  const [whole, stopped] = [path.join(temporary.path, "whole"), path.join(temporary.path, "stopped")];
  const args = (out: string) => ["train", "tiny", "--out", out, "--set", "stages.0.steps=200"];
  const running = start(args(stopped));
  let asked = false;
  running.onError((text) => {
    if (asked || !text.includes("pretrain")) return;
    asked = true;
    running.kill("SIGINT");
  });
  const ran = await running.done;
  expect(ran, ran.err).toMatchObject({ code: 0 });
  expect(ran.err).toContain("--resume");
  const lines = (out: string) => readFileSync(path.join(out, "metrics.jsonl"), "utf8");
  const before = lines(stopped).split("\n").length;
  expect(await json([...args(stopped), "--resume"])).toMatchObject({ finished: true });
  await json(args(whole));
  expect(lines(stopped)).toBe(lines(whole));
  expect(before).toBeLessThan(lines(whole).split("\n").length);
});

test.each(["SIGTERM", "SIGHUP"] as const)("R05: %s ends it as Ctrl-C does", async (signal) => {
  const out = path.join(temporary.path, signal);
  const running = start(["train", "tiny", "--out", out, "--set", "stages.0.steps=2000"]);
  let asked = false;
  running.onError((text) => {
    if (asked || !text.includes("pretrain")) return;
    asked = true;
    running.kill(signal);
  });
  const ran = await running.done;
  expect(ran, ran.err).toMatchObject({ code: 0 });
  expect(newest(out)).toBe(steps(out));
});

// `script` is the terminal; when it is gone, so is the terminal, and every word that the run says from then on is an error.
test.skipIf(!existsSync("/usr/bin/script"))("R05: a terminal that is closed ends it with a checkpoint of the last step", async () => {
  const out = path.join(temporary.path, "closed");
  const command = [process.execPath, path.join(root, "src/cli/main.ts"), "train", "tiny", "--out", out, "--set", "stages.0.steps=3000"];
  const terminal = spawn("/usr/bin/script", ["-qec", command.map((word) => `'${word}'`).join(" "), "/dev/null"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await new Promise<void>((resolve) => {
    terminal.stdout.setEncoding("utf8").on("data", (text: string) => text.includes("pretrain") && resolve());
  });
  await vi.waitUntil(() => existsSync(path.join(out, "checkpoints")) && newest(out) > 0, { timeout: 20_000 });
  terminal.kill("SIGKILL");
  await vi.waitUntil(() => !existsSync(path.join(out, "run.lock")), { timeout: 20_000 });
  expect(readdirSync(path.join(out, "checkpoints")).filter((name) => name.includes(".tmp-"))).toEqual([]);
  expect(newest(out)).toBe(steps(out));
});

function steps(out: string): number {
  return readFileSync(path.join(out, "metrics.jsonl"), "utf8").trimEnd().split("\n").length;
}

function newest(out: string): number {
  return Math.max(0, ...readdirSync(path.join(out, "checkpoints")).map((name) => Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? 0)));
}
