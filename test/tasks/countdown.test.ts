import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { splitCompletion } from "../../src/tasks/completion.ts";
import { type CountdownOptions, type CountdownRow, createCountdown, parseCountdown } from "../../src/tasks/countdown.ts";
import { enumerateAttempts, formatAttempt, reachableValues, solveCountdown } from "../../src/tasks/countdown-search.ts";
import type { CountdownTrace } from "../../src/tasks/countdown-trace.ts";
import { evaluateExpression, formatExpression, numbersOf, parseExpression } from "../../src/tasks/expression.ts";

const task = createCountdown();
const row: CountdownRow = { numbers: [3, 5, 7], target: 22 };
const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

describe("problems", () => {
  test("are written and keyed as documented", () => {
    expect(task.name).toBe("countdown");
    expect(task.prompt(row)).toBe("3,5,7=22<think>");
    expect(task.key(row)).toBe("3,5,7=22");
    expect(task.key({ numbers: [7, 3, 5], target: 22 })).toBe(task.key(row));
    expect(task.key({ numbers: [10, 9, 1], target: 22 })).toBe("1,9,10=22");
    for (const text of ["3,5,7=22", "3 5 7=22", "3,5,7=22<think>"]) expect(parseCountdown(text)).toEqual(row);
  });

  test.each<CountdownOptions>([
    {},
    { count: 4, max: 25, targetMin: 10, targetMax: 200, resultMax: 999 },
    { count: 2, min: 5, max: 9, targetMin: 0, targetMax: 81, resultMin: 0 },
    { count: 5, targetMax: 30 },
  ])("with %o are seeded, in range and solvable", (options) => {
    const { count, min, max, targetMin, targetMax } = { count: 3, min: 1, max: 12, targetMin: 1, targetMax: 99, ...options };
    const some = createCountdown(options);
    const random = new Random(5);
    const again = new Random(5);
    for (let i = 0; i < (count === 5 ? 10 : 200); i++) {
      const made = some.sample(random);
      expect(some.sample(again)).toEqual(made);
      expect(made.numbers).toHaveLength(count);
      expect(made.numbers.every((n) => n >= min && n <= max)).toBe(true);
      expect(made.target).toBeGreaterThanOrEqual(targetMin);
      expect(made.target).toBeLessThanOrEqual(targetMax);
      expect(solveCountdown(made.numbers, made.target, options).length).toBeGreaterThan(0);
      expect(parseCountdown(some.prompt(made))).toEqual(made);
    }
  });

  test("are as likely as one another, orderings counted apart", () => {
    const tiny = createCountdown({ max: 3, targetMax: 9 });
    const orders = ({ numbers: [a, b, c] }: CountdownRow) => (a === b && b === c ? 1 : a === b || b === c ? 3 : 6);
    const all = tiny.problems();
    const total = all.reduce((sum, one) => sum + orders(one), 0);
    const counts = new Map<string, number>();
    const random = new Random(6);
    const draws = 40_000;
    for (let i = 0; i < draws; i++) {
      const key = tiny.key(tiny.sample(random));
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(all.length);
    for (const one of all) {
      const expected = (draws * orders(one)) / total;
      expect(Math.abs(counts.get(tiny.key(one))! - expected)).toBeLessThan(5 * Math.sqrt(expected));
    }
  });

  test("can be listed, all of them", () => {
    const tiny = createCountdown({ count: 2, max: 3 });
    const keys = "1,1=1 1,1=2 1,2=1 1,2=2 1,2=3 1,3=2 1,3=3 1,3=4 2,2=1 2,2=4 2,3=1 2,3=5 2,3=6 3,3=1 3,3=6 3,3=9";
    expect(tiny.problems().map(tiny.key).join(" ")).toBe(keys);
    expect(task.problems()).toHaveLength(4717);
    expect(() => createCountdown({ count: 5, max: 99 }).problems()).toThrow(ConfigError);
  });

  test.each([
    { count: 1 },
    { count: 6 },
    { count: 2.5 },
    { min: 0 },
    { min: 5, max: 4 },
    { max: 1000 },
    { targetMin: -1 },
    { targetMin: 50, targetMax: 49 },
    { targetMax: Number.NaN },
    { resultMin: -1 },
    { resultMin: 5, resultMax: 4 },
    { divideByOne: 1 as unknown as boolean },
    { trace: { maxAttempts: 0 } },
    { trace: { waits: -1 } },
    { trace: { sharpness: -1 } },
    { trace: { sharpness: 2 } },
    { trace: { waitShare: 1.5 } },
    { trace: { drill: -0.1 } },
    { trace: { drill: Number.NaN } },
    { trace: { sharpness: Number.POSITIVE_INFINITY } },
    { trace: { proposals: "best" as "guided" } },
  ])("refuses %o", (options) => expect(() => createCountdown(options)).toThrow(ConfigError));

  test("an unreachable target range is an error, not an endless loop", () => {
    const never = createCountdown({ count: 2, min: 1, max: 2, targetMin: 500, targetMax: 600 });
    expect(() => never.sample(new Random(0))).toThrow(/widen targetMin/);
    expect(never.problems()).toEqual([]);
  });

  test.each(["", "3 5 7", "3 5 7=", "3  5=8", "3, 5=8", "3;5=8", "3=3", "0 5=5", "03 5=8", "3 5=-2", "3 5=8 ", "１ 5=6", "1 2 3 4 5 6=7"])(
    "parseCountdown refuses %o",
    (text) => expect(() => parseCountdown(text)).toThrow(ConfigError),
  );
});

/** Every value of a∘b∘c in both shapes over all orders, by brute force with other code, with positive integers up to `most` all along. */
function bruteForce([x, y, z]: readonly number[], most: number): Set<number> {
  const apply: ((a: number, b: number) => number)[] = [(a, b) => a + b, (a, b) => a - b, (a, b) => a * b, (a, b) => a / b];
  const fine = (n: number) => Number.isInteger(n) && n >= 1 && n <= most;
  const values = new Set<number>();
  const orders = [
    [x, y, z],
    [x, z, y],
    [y, x, z],
    [y, z, x],
    [z, x, y],
    [z, y, x],
  ] as [number, number, number][];
  for (const [a, b, c] of orders) {
    for (const f of apply) {
      for (const g of apply) {
        if (fine(f(a, b)) && fine(g(f(a, b), c))) values.add(g(f(a, b), c));
        if (fine(f(b, c)) && fine(g(a, f(b, c)))) values.add(g(a, f(b, c)));
      }
    }
  }
  return values;
}

describe("search", () => {
  test("reaches exactly what brute force reaches", () => {
    const random = new Random(3);
    for (let i = 0; i < 100; i++) {
      const numbers = [1 + random.integer(12), 1 + random.integer(12), 1 + random.integer(12)];
      for (const resultMax of [99, 2000]) {
        const expected = sorted([...bruteForce(numbers, resultMax)]);
        // Dividing by 1 gives what multiplying by 1 gives: the rule takes away no value.
        for (const divideByOne of [true, false]) {
          const rules = { resultMax, divideByOne };
          const values = new Set(enumerateAttempts(numbers, rules).map((attempt) => attempt.value));
          expect(sorted([...values])).toEqual(expected);
          expect(sorted([...reachableValues(numbers, rules)])).toEqual(expected);
        }
      }
    }
  });

  test.each([{}, { resultMin: 0, resultMax: 9999, divideByOne: true }, { resultMax: 20 }])(
    "with %o every attempt is true, follows the rules, uses each number once, and is written once",
    (rules) => {
      const { resultMin, resultMax, divideByOne } = { resultMin: 1, resultMax: 99, divideByOne: false, ...rules };
      for (const numbers of [
        [3, 5, 7],
        [4, 4, 4],
        [2, 6, 3, 1],
      ]) {
        const texts = new Set<string>();
        for (const attempt of enumerateAttempts(numbers, rules)) {
          const text = formatAttempt(attempt);
          expect(texts.has(text)).toBe(false);
          texts.add(text);
          expect(attempt.steps).toHaveLength(numbers.length - 1);
          expect(sorted(numbersOf(attempt.expression))).toEqual(sorted(numbers));
          expect(evaluateExpression(attempt.expression)).toEqual({ numerator: BigInt(attempt.value), denominator: 1n });
          for (const { left, operator, right, result } of attempt.steps) {
            const value = evaluateExpression(parseExpression(`${left}${operator}${right}`)!);
            expect(value).toEqual({ numerator: BigInt(result), denominator: 1n });
            expect(left >= right && result >= resultMin && result <= resultMax).toBe(true);
            expect(divideByOne || operator !== "/" || right !== 1).toBe(true);
          }
        }
        expect(texts.size).toBeGreaterThan(0);
      }
    },
  );

  test("finds the solutions of the example and none where there is none", () => {
    expect(solveCountdown([3, 5, 7], 22).map((a) => formatExpression(a.expression))).toEqual(["(5*3)+7"]);
    expect(solveCountdown([1, 1, 1], 98)).toEqual([]);
  });
});

describe("traces", () => {
  const random = new Random(21);
  const rows = Array.from({ length: 200 }, () => task.sample(random));

  /** Checks the grammar, every equation and every verdict; returns the attempts. */
  function readTrace(text: string, one: CountdownRow): string[] {
    expect(text).toMatch(/^(?:(?:Wait)?\d+[-+*/]\d+=\d+,\d+[-+*/]\d+=\d+[<>!])+<\/think>[-+*/()\d]+$/);
    const thinking = splitCompletion(text)!.thinking;
    const judged = [...thinking.matchAll(/([^<>!]+)([<>!])/g)].map(([, attempt, mark]) => ({
      attempt: attempt!.replace("Wait", ""),
      mark,
    }));
    for (const { attempt, mark } of judged) {
      for (const step of attempt.split(",")) {
        const [left, result] = step.split("=") as [string, string];
        expect(evaluateExpression(parseExpression(left)!)?.numerator).toBe(BigInt(result));
      }
      const value = Number(attempt.split("=").at(-1));
      expect(mark).toBe(value === one.target ? "!" : value < one.target ? "<" : ">");
    }
    const attempts = judged.map(({ attempt }) => attempt);
    expect(new Set(attempts).size).toBe(attempts.length);
    // A search ends with its first hit.
    expect(judged.slice(0, -1).every(({ mark }) => mark !== "!")).toBe(true);
    return attempts;
  }

  test.each<CountdownTrace>([
    {},
    { proposals: "random" },
    { proposals: "guided", sharpness: 4 },
    { sharpness: 1 },
    { maxAttempts: 1 },
    { maxAttempts: 3, proposals: "random" },
    { maxAttempts: 2, waits: 2 },
  ])("with %o are verified, follow the grammar and hold the limit", (options) => {
    let written = 0;
    for (const one of rows) {
      const text = task.trace(one, random, options);
      if (text === undefined) continue;
      written++;
      expect(task.reward(text, one)).toBe(1);
      expect(task.check(splitCompletion(text)!.answer, one)).toBe(true);
      const attempts = readTrace(text, one);
      expect(attempts.length).toBeLessThanOrEqual((options.maxAttempts ?? 8) * (1 + (options.waits ?? 0)));
      expect(text.split("Wait").length - 1).toBe(options.waits ? Math.floor((attempts.length - 1) / (options.maxAttempts ?? 8)) : 0);
    }
    // Few problems are so hard that 64 draws hold no short trace.
    expect(written).toBeGreaterThan(170);
  });

  test("that may give up end in their last attempt, well-formed but wrong", () => {
    const rewards = new Map<number, number>();
    for (const one of rows) {
      const text = task.trace(one, random, { giveUp: true, maxAttempts: 3 })!;
      const attempts = readTrace(text, one);
      const reward = task.reward(text, one);
      expect(reward).toBe(text.includes("!") ? 1 : 0.1);
      if (reward !== 1) expect(attempts).toHaveLength(3);
      rewards.set(reward, (rewards.get(reward) ?? 0) + 1);
    }
    expect(rewards.get(1)).toBeGreaterThan(30);
    expect(rewards.get(0.1)).toBeGreaterThan(30);
  });

  test("wait sometimes when told so, and stop there otherwise", () => {
    const lengths = new Map<number, number>();
    for (const one of rows) {
      const text = task.trace(one, random, { giveUp: true, maxAttempts: 2, waits: 2, waitShare: 0.5 })!;
      if (readTrace(text, one).length > 0 && task.reward(text, one) !== 1) {
        const waits = text.split("Wait").length - 1;
        lengths.set(waits, (lengths.get(waits) ?? 0) + 1);
      }
    }
    // Half never wait, a quarter waits once, a quarter twice, less what was solved on the way.
    expect([...lengths.keys()].sort()).toEqual([0, 1, 2]);
    expect(lengths.get(0)!).toBeGreaterThan(lengths.get(1)!);
  });

  test("that are drills hold one attempt, right as often as wrong", () => {
    let right = 0;
    for (const one of rows) {
      const text = task.trace(one, random, { drill: 1 })!;
      expect(readTrace(text, one)).toHaveLength(1);
      if (task.reward(text, one) === 1) right++;
      else expect(task.reward(text, one)).toBe(0.1);
    }
    expect(right / rows.length).toBeGreaterThan(0.4);
    expect(right / rows.length).toBeLessThan(0.6);
    expect(
      rows.filter((one) => task.trace(one, random, { drill: 0.3, maxAttempts: 40 })!.match(/[<>!]/g)!.length > 2).length,
    ).toBeGreaterThan(80);
  });

  test("in rounds: no beginning comes again before every other one came", () => {
    for (const one of rows.slice(0, 50)) {
      const attempts = readTrace(task.trace(one, random, { maxAttempts: 100, sharpness: 0.3 })!, one);
      const first = attempts.map((attempt) => attempt.split(",")[0]!);
      const beginnings = new Set(enumerateAttempts(one.numbers).map((attempt) => formatAttempt(attempt).split(",")[0]!));
      const round = first.slice(0, beginnings.size);
      expect(new Set(round).size).toBe(round.length);
    }
  });

  test("in rounds with sharpness 1 the first try of every beginning is its nearest", () => {
    for (const one of rows.slice(0, 50)) {
      const all = enumerateAttempts(one.numbers);
      const attempts = readTrace(task.trace(one, random, { maxAttempts: 100, sharpness: 1 })!, one);
      const seen = new Set<string>();
      for (const attempt of attempts) {
        const beginning = attempt.split(",")[0]!;
        if (seen.has(beginning)) continue;
        seen.add(beginning);
        const alike = all.filter((other) => formatAttempt(other).startsWith(`${beginning},`));
        const distances = alike.map((other) => Math.abs(other.value - one.target));
        expect(Math.abs(Number(attempt.split("=").at(-1)) - one.target)).toBe(Math.min(...distances));
      }
    }
  });

  test("are the same for the same state, and differ between states", () => {
    const texts = (options: CountdownTrace) => Array.from({ length: 20 }, (_, seed) => task.trace(rows[0]!, new Random(seed), options));
    for (const proposals of ["random", "guided", "rounds"] as const) {
      expect(texts({ proposals })).toEqual(texts({ proposals }));
      expect(new Set(texts({ proposals })).size).toBeGreaterThan(1);
    }
  });

  test("get shorter as proposals get sharper", () => {
    const attempts = (options: CountdownTrace) =>
      rows.reduce((sum, one, i) => sum + task.trace(one, new Random(i), { maxAttempts: 100, ...options })!.match(/=\d+[<>!]/g)!.length, 0) /
      rows.length;
    const uniform = attempts({ proposals: "random" });
    const mild = attempts({ proposals: "guided", sharpness: 1 });
    const sharp = attempts({ proposals: "guided", sharpness: 8 });
    expect(attempts({ proposals: "guided", sharpness: 0 })).toBe(uniform);
    expect(mild).toBeLessThan(0.7 * uniform);
    expect(sharp).toBeLessThan(0.5 * mild);
    const rounds = [0, 0.5, 1].map((sharpness) => attempts({ sharpness }));
    expect(rounds).toEqual([...rounds].sort((a, b) => b - a));
    expect(rounds[2]).toBeLessThan(0.5 * rounds[0]!);
  });

  test("undefined where there is no solution; bad options are an error", () => {
    expect(task.trace({ numbers: [1, 1, 1], target: 98 }, random)).toBeUndefined();
    const pair = createCountdown({ count: 2, max: 99 });
    expect(pair.trace({ numbers: [90, 90], target: 98 }, random, { giveUp: true })).toBe("90/90=1<</think>90/90");
    expect(() => task.trace(row, random, { maxAttempts: 0.5 })).toThrow(ConfigError);
  });
});

describe("reward", () => {
  test("1 for right, in any writing of the expression", () => {
    for (const answer of ["(3*5)+7", "3*5+7", "7+5*3", " ( 3 * 5 ) + 7\n", "((7)+(5*3))"]) {
      expect(task.reward(`<think>3*5=15,15+7=22!</think>${answer}`, row)).toBe(1);
      expect(task.check(answer.trim(), row)).toBe(true);
    }
    expect(task.reward("</think>3*5+7", row)).toBe(1);
    // Fractions on the way are exact: 8 / (3 - 8/3) = 24.
    expect(task.reward("</think>8/(3-8/3)", { numbers: [3, 3, 8, 8], target: 24 })).toBe(1);
  });

  test("0.1 for well-formed but wrong", () => {
    for (const answer of ["3+5+7", "(3*7)+5", "3-5-7", "3/5+7"]) {
      expect(task.reward(`<think></think>${answer}`, row)).toBe(0.1);
      expect(task.check(answer, row)).toBe(false);
    }
  });

  test.each([
    ["empty", ""],
    ["no reasoning part", "(3*5)+7"],
    ["answer in the reasoning", "<think>(3*5)+7"],
    ["answer in the reasoning, nothing after it", "<think>(3*5)+7</think>"],
    ["two reasoning parts", "<think>a</think>(3*5)+7<think>b</think>(3*5)+7"],
    ["two closing tags", "<think></think></think>(3*5)+7"],
    ["several answers on lines", "</think>(3*5)+7\n(3*7)+5"],
    ["several answers with a comma", "</think>(3*5)+7,(3*7)+5"],
    ["several answers with or", "</think>(3*5)+7 or 3+5+7"],
    ["several answers with a semicolon", "</think>3+5+7;(3*5)+7"],
    ["the target alone", "</think>22"],
    ["a number twice", "</think>(3*5)+7+7-7"],
    ["a number twice, another missing", "</think>5*5-3"],
    ["a number missing", "</think>3*7"],
    ["a foreign number", "</think>3*5+7+0"],
    ["a foreign number that does nothing", "</think>(3*5+7)*1"],
    ["digits run together", "</think>35-7"],
    ["digits run together by a space", "</think>3 5-7"],
    ["digits split", "</think>3*5+7.0"],
    ["leading zero", "</think>3*5+07"],
    ["power", "</think>3**5+7"],
    ["integer division", "</think>7//3+5"],
    ["factorial", "</think>3!+5+7"],
    ["unary minus", "</think>-3+5*7"],
    ["modulo", "</think>7%3+5"],
    ["equation", "</think>(3*5)+7=22"],
    ["prompt repeated", "</think>3,5,7=22"],
    ["prompt repeated with its tag", "</think>3,5,7=22<think></think>(3*5)+7"],
    ["prompt and answer", "</think>3,5,7=22 (3*5)+7"],
    ["trailing garbage", "</think>(3*5)+7 done"],
    ["trailing tag", "</think>(3*5)+7<|end|>"],
    ["leading garbage", "</think>= (3*5)+7"],
    ["comment", "</think>(3*5)+7//"],
    ["code", "</think>(()=>22)()"],
    ["full-width digits", "</think>(３*５)+７"],
    ["multiplication sign", "</think>(3×5)+7"],
    ["asterisk operator", "</think>(3∗5)+7"],
    ["full-width plus", "</think>(3*5)＋7"],
    ["no-break space", "</think>(3*5)\u00a0+7"],
    ["zero width joiner", "</think>(3*5)+7\u200d"],
    ["closing tag look-alike", "<think></think\u200b>(3*5)+7"],
    ["unbalanced", "</think>((3*5)+7"],
    ["huge nesting", `</think>${"(".repeat(100_000)}(3*5)+7${")".repeat(100_000)}`],
    ["huge length", `</think>(3*5)+7${"+0".repeat(100_000)}`],
    ["huge number", `</think>${"9".repeat(100_000)}`],
  ])("0 for %s", (_, completion) => {
    expect(task.reward(completion, row)).toBe(0);
    const after = splitCompletion(completion)?.answer;
    if (after !== undefined) expect(task.check(after, row)).toBe(false);
  });

  test("0 for division by zero", () => {
    const twins: CountdownRow = { numbers: [4, 4, 9], target: 9 };
    expect(task.reward("</think>9/(4-4)", twins)).toBe(0);
    expect(task.reward("</think>9+4-4", twins)).toBe(1);
  });

  test("numbers that occur twice must be used twice", () => {
    const twins: CountdownRow = { numbers: [4, 4, 2], target: 10 };
    expect(task.reward("</think>4+4+2", twins)).toBe(1);
    expect(task.reward("</think>4*2+2", twins)).toBe(0);
    expect(task.reward("</think>4*4-2", { numbers: [4, 2, 4], target: 14 })).toBe(1);
  });

  test("any text gives one of three rewards and never throws", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("<think>", "</think>", "3", "5", "7", "+", "*", "-", "/", "(", ")", " ", "=", "é", "\n")),
        (parts) => {
          expect([0, 0.1, 1]).toContain(task.reward(parts.join(""), row));
        },
      ),
      { numRuns: 2000, seed: 4 },
    );
  });
});
