import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { createArithmetic } from "../../src/tasks/arithmetic.ts";
import { splitCompletion } from "../../src/tasks/completion.ts";
import { evaluateExpression, parseExpression } from "../../src/tasks/expression.ts";

const task = createArithmetic();
const row = { expression: "12+7*3-4" };

test("writes prompt, key and trace as documented", () => {
  expect(task.name).toBe("arithmetic");
  expect(task.prompt(row)).toBe("12+7*3-4=<think>");
  expect(task.key(row)).toBe("12+7*3-4");
  expect(task.trace(row, new Random(0))).toBe("7*3=21,12+21=33,33-4=29</think>29");
  expect(task.trace({ expression: "(2+3)*(9-5)" }, new Random(0))).toBe("2+3=5,9-5=4,5*4=20</think>20");
  expect(task.trace({ expression: "3-5" }, new Random(0))).toBe("3-5=-2</think>-2");
  expect(task.trace({ expression: "0*(3-5)" }, new Random(0))).toBe("3-5=-2,0*-2=0</think>0");
});

test("no trace where a step is no integer or the text is no expression", () => {
  for (const expression of ["7/2", "7/0", "7+", "", "999999999*999999999"]) {
    expect(task.trace({ expression }, new Random(0))).toBeUndefined();
  }
});

test.each([
  {},
  { steps: 1, operators: "+" },
  { steps: 5, min: 0, max: 99, operators: "+-*/", limit: 5000 },
  { steps: 4, operators: "-", negative: true },
])("problems with %o are seeded, true and within the settings", (options) => {
  const { steps, min, max, operators, limit, negative } = {
    steps: 3,
    min: 1,
    max: 20,
    operators: "+-*",
    limit: 999,
    negative: false,
    ...options,
  };
  const some = createArithmetic(options);
  const random = new Random(8);
  const again = new Random(8);
  let below = 0;
  for (let i = 0; i < 200; i++) {
    const made = some.sample(random);
    expect(some.sample(again)).toEqual(made);
    expect([...made.expression.matchAll(/[-+*/]/g)]).toHaveLength(steps);
    expect([...made.expression.matchAll(/[-+*/]/g)].every(([o]) => operators.includes(o))).toBe(true);
    expect((made.expression.match(/\d+/g) ?? []).every((n) => Number(n) >= min && Number(n) <= max)).toBe(true);
    const text = some.trace(made, random)!;
    const { thinking, answer } = splitCompletion(text)!;
    expect(some.reward(text, made)).toBe(1);
    expect(BigInt(answer)).toBe(evaluateExpression(parseExpression(made.expression)!)!.numerator);
    expect(thinking.split(",")).toHaveLength(steps);
    for (const step of thinking.split(",")) {
      const result = Number(step.split("=")[1]);
      expect(Math.abs(result)).toBeLessThanOrEqual(limit);
      if (result < 0) below++;
    }
  }
  expect(below > 0).toBe(negative);
});

test.each([
  { steps: 0 },
  { steps: 9 },
  { min: -1 },
  { min: 3, max: 2 },
  { max: 10_000 },
  { operators: "" },
  { operators: "+^" },
  { limit: 0 },
  { limit: Number.NaN },
  { negative: 1 as unknown as boolean },
])("refuses %o", (options) => expect(() => createArithmetic(options)).toThrow(ConfigError));

test("impossible settings are an error, not an endless loop", () => {
  const never = createArithmetic({ steps: 8, min: 9000, max: 9999, operators: "*", limit: 1 });
  expect(() => never.sample(new Random(0))).toThrow(/raise limit/);
});

describe("reward", () => {
  test("1 for right, 0.1 for another integer", () => {
    expect(task.reward("<think>7*3=21,12+21=33,33-4=29</think>29", row)).toBe(1);
    expect(task.reward("</think> 29\n", row)).toBe(1);
    expect(task.reward("</think>28", row)).toBe(0.1);
    expect(task.reward("</think>-29", row)).toBe(0.1);
    expect(task.check("29", row)).toBe(true);
    expect(task.check("28", row)).toBe(false);
    expect(task.reward("</think>-2", { expression: "3-5" })).toBe(1);
  });

  test.each([
    ["empty", ""],
    ["no reasoning part", "29"],
    ["answer in the reasoning", "<think>29"],
    ["nothing after the reasoning", "<think>29</think>"],
    ["two closing tags", "</think>28</think>29"],
    ["two reasoning parts", "<think></think>29<think></think>29"],
    ["two answers", "</think>29 28"],
    ["two answers with or", "</think>28 or 29"],
    ["two lines", "</think>29\n29"],
    ["prompt repeated", "</think>12+7*3-4="],
    ["expression instead of its value", "</think>12+7*3-4"],
    ["short expression", "</think>30-1"],
    ["equation", "</think>12+7*3-4=29"],
    ["plus sign", "</think>+29"],
    ["leading zero", "</think>029"],
    ["minus zero", "</think>-0"],
    ["decimal", "</think>29.0"],
    ["exponent", "</think>29e0"],
    ["hexadecimal", "</think>0x1d"],
    ["parentheses", "</think>(29)"],
    ["full-width digits", "</think>２９"],
    ["Arabic digits", "</think>٢٩"],
    ["Unicode minus", "</think>−2"],
    ["split digits", "</think>2 9"],
    ["thousands", "</think>29,"],
    ["trailing word", "</think>29 done"],
    ["huge", `</think>${"9".repeat(100_000)}`],
  ])("0 for %s", (_, completion) => expect(task.reward(completion, row)).toBe(0));
});
