import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { distinctRows, splitOf } from "../../src/tasks/split.ts";
import { openTask } from "../../src/train/task-table.ts";

test.each(["countdown", "arithmetic"])("%s: training draws no held-out problem, and verified traces earn everything", (name) => {
  const { task, draw, drawTrace, seenKeys, testShare } = openTask({ name, testShare: 0.5 });
  const random = new Random(1);
  for (let i = 0; i < 200; i++) {
    expect(splitOf(task.key(draw(random)), testShare)).toBe("train");
    const { row, prompt, completion } = drawTrace(random, {}, true);
    expect(task.reward(completion, row)).toBe(1);
    expect(prompt).toBe(task.prompt(row));
    expect(seenKeys.has(task.key(row))).toBe(true);
  }
  const held = distinctRows(task, "test", 50, random, testShare);
  expect(held.some((row) => seenKeys.has(task.key(row)))).toBe(false);
});

test("traces may fail only where they need not be verified", () => {
  const { task, drawTrace } = openTask({ name: "countdown" });
  const random = new Random(2);
  const giveUp = { giveUp: true, maxAttempts: 1, proposals: "random" };
  const rewards = (verified: boolean) =>
    Array.from({ length: 40 }, () => drawTrace(random, giveUp, verified)).map(({ row, completion }) => task.reward(completion, row));
  expect(rewards(false)).toContain(0.1);
  expect(new Set(rewards(true))).toEqual(new Set([1]));
});

test("a task that the table does not know", () => {
  expect(() => openTask({ name: "toString" })).toThrow(ConfigError);
  expect(() => openTask({ name: "arithmetic", options: { step: 3 } })).toThrow(/did you mean "steps"/);
  expect(() => openTask({ name: "arithmetic", testShare: 1 })).toThrow(/testShare/);
});
