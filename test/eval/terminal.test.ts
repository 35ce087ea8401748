import { describe, expect, test } from "vitest";
import { ProgressLine, type ProgressOptions, plainLine, wantsColour } from "../../src/eval/terminal.ts";

function recorder(options: Partial<ProgressOptions> = {}) {
  let time = 0;
  const out: string[] = [];
  const line = new ProgressLine({ write: (text) => out.push(text), interactive: true, now: () => time, ...options });
  return { out, line, pass: (seconds: number) => (time += seconds) };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: this is what it strips
const visible = (text: string) => text.replace(/\r?\u001b\[[0-9;]*[mK]/g, "");

describe("on a terminal", () => {
  test("rewrites one line with what is known and the time left", () => {
    const { out, line, pass } = recorder();
    line.update({ stage: "pretrain", step: 0, total: 100, loss: 5.25 });
    pass(30);
    line.update({ stage: "pretrain", step: 25, total: 100, loss: 1.23456, tokensPerSecond: 14120.4 });
    expect(out).toHaveLength(2);
    expect(out.every((text) => text.startsWith("\r\u001b[2K") && !text.includes("\n"))).toBe(true);
    expect(visible(out[1]!)).toBe("pretrain  ━━━━━─────────────  25/100  loss 1.235  14,120 tok/s  1 min 30 s left");
    line.update({ stage: "grpo", step: 1, total: 10, reward: 0.5, secondsLeft: 12 });
    expect(out[2]).toBe("\n");
    expect(visible(out[3]!)).toContain("reward 0.500  12 s left");
    line.update({ stage: "grpo", step: 10, total: 10 });
    line.finish();
    line.finish();
    expect(out.slice(4).map(visible)).toEqual(["grpo      ━━━━━━━━━━━━━━━━━━━━  10/10", "\n"]);
  });

  test("never passes its width, with colours or without", () => {
    for (const columns of [20, 25, 40, 60, 80, 200]) {
      for (const colour of [true, false]) {
        const { out, line, pass } = recorder({ columns, colour });
        const stages = ["sft", "a stage with a very long name"];
        for (const stage of stages) {
          for (const step of [1, 500_000, 1_000_000]) {
            line.update({
              stage,
              step,
              total: 1_000_000,
              loss: 123.456,
              reward: 0.5,
              accuracy: 0.99,
              tokensPerSecond: 1e6,
              secondsLeft: 1e6,
            });
            pass(1);
          }
        }
        const widths = out.map((text) => visible(text).length);
        expect(Math.max(...widths)).toBeLessThan(Math.min(columns, 80));
        expect(Math.min(...widths.filter((width) => width > 1))).toBeGreaterThan(10);
        expect(out.join("").includes("\u001b[1m")).toBe(colour);
      }
    }
  });

  test("draws ten times a second at most, and always the last step", () => {
    const { out, line, pass } = recorder();
    for (let step = 1; step <= 1000; step++) {
      line.update({ stage: "sft", step, total: 1000 });
      pass(0.001);
    }
    expect(out.length).toBeGreaterThanOrEqual(10);
    expect(out.length).toBeLessThanOrEqual(12);
    expect(visible(out.at(-1)!)).toContain("1000/1000");
  });

  test("a logged line stays, and the progress continues under it", () => {
    const { out, line } = recorder();
    line.update({ stage: "sft", step: 1, total: 9 });
    line.log("checkpoint saved");
    line.update({ stage: "sft", step: 2, total: 9 });
    expect(out[1]).toBe("\r\u001b[2Kcheckpoint saved\n");
    expect(visible(out[2]!)).toContain("2/9");
  });

  test("works out the time left from where a resumed stage began", () => {
    const { out, line, pass } = recorder();
    line.update({ stage: "sft", step: 50, total: 100 });
    pass(20);
    line.update({ stage: "sft", step: 60, total: 100 });
    expect(visible(out[0]!)).not.toContain("left");
    expect(visible(out[1]!)).toContain("1 min 20 s left");
  });
});

describe("elsewhere", () => {
  test("plain lines every N steps and at the end, without escapes", () => {
    const { out, line, pass } = recorder({ interactive: false, colour: true, every: 4 });
    for (let step = 1; step <= 10; step++) {
      line.update({ stage: "sft", step, total: 10, loss: 1 });
      pass(1);
    }
    line.log("done");
    line.finish();
    expect(out).toEqual([
      "sft 1/10 loss 1.000\n",
      "sft 5/10 loss 1.000 5.0 s left\n",
      "sft 9/10 loss 1.000 1.0 s left\n",
      "sft 10/10 loss 1.000\n",
      "done\n",
    ]);
  });

  test("a tenth of the stage by default", () => {
    const { out, line } = recorder({ interactive: false });
    for (let step = 1; step <= 200; step++) line.update({ stage: "sft", step, total: 200 });
    expect(out.length).toBeGreaterThanOrEqual(10);
    expect(out.length).toBeLessThanOrEqual(11);
  });
});

test("plainLine", () => {
  expect(plainLine({ stage: "grpo", step: 62, total: 100, reward: 0.8124, accuracy: 0.5, tokensPerSecond: 14_120, secondsLeft: 192 })).toBe(
    "grpo 62/100 reward 0.812 right 50.0 % 14,120 tok/s 3 min 12 s left",
  );
});

test("NO_COLOR, dumb terminals and pipes have no colours", () => {
  const env = (values: Record<string, string>) => (name: string) => values[name];
  expect(wantsColour(true, env({}))).toBe(true);
  expect(wantsColour(true, env({ NO_COLOR: "" }))).toBe(true);
  expect(wantsColour(true, env({ NO_COLOR: "1" }))).toBe(false);
  expect(wantsColour(true, env({ TERM: "dumb" }))).toBe(false);
  expect(wantsColour(false, env({}))).toBe(false);
});
