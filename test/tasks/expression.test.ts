import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Expression,
  equalsInteger,
  evaluateExpression,
  expressionLimits,
  formatExpression,
  numbersOf,
  parseExpression,
} from "../../src/tasks/expression.ts";

function value(text: string): string | undefined {
  const expression = parseExpression(text);
  const result = expression && evaluateExpression(expression);
  return result && `${result.numerator}/${result.denominator}`;
}

describe("parseExpression and evaluateExpression", () => {
  test.each([
    ["7", "7/1"],
    ["0", "0/1"],
    ["1+2*3", "7/1"],
    ["(1+2)*3", "9/1"],
    ["8-3-2", "3/1"],
    ["8/4/2", "1/1"],
    ["8/(4/2)", "4/1"],
    ["1/3*3", "1/1"],
    ["1/3+1/6", "1/2"],
    ["2-5", "-3/1"],
    ["3/(2-5)", "-1/1"],
    ["((((5))))", "5/1"],
    [" ( 3 * 5 ) + 7 ", "22/1"],
    ["999999999*999999999*999999999", "999999997000000002999999999/1"],
  ])("%s = %s", (text, expected) => expect(value(text)).toBe(expected));

  test.each([
    ["empty", ""],
    ["blank", "   "],
    ["operator alone", "+"],
    ["unary minus", "-3"],
    ["unary plus", "3+ +4"],
    ["unary inside", "3*(-4)"],
    ["power", "2**3"],
    ["integer division", "7//2"],
    ["caret", "2^3"],
    ["modulo", "7%2"],
    ["leading zero", "03+4"],
    ["two zeros", "00"],
    ["decimal point", "1.5+2"],
    ["exponent", "1e3"],
    ["hexadecimal", "0x10"],
    ["underscore", "1_0"],
    ["concatenation by a space", "3 5"],
    ["implied product", "3(5)"],
    ["implied product of groups", "(3)(5)"],
    ["empty group", "()+3"],
    ["unclosed", "(3+5"],
    ["closed too often", "3+5)"],
    ["trailing operator", "3+"],
    ["equation", "3*5=15"],
    ["letters", "3+x"],
    ["code", "process.exit(1)"],
    ["full-width digits", "３+５"],
    ["Arabic digits", "٣+٥"],
    ["superscript", "3²"],
    ["multiplication sign", "3×5"],
    ["division sign", "6÷3"],
    ["Unicode minus", "6−3"],
    ["fraction slash", "6⁄3"],
    ["asterisk operator", "3∗5"],
    ["no-break space", "3+\u00a05"],
    ["tab", "3+\t5"],
    ["newline", "3+\n5"],
    ["zero width space", "3\u200b+5"],
    ["nul", "3+5\0"],
    ["comma", "1,000"],
    ["brackets of another kind", "[3+5]"],
  ])("refuses %s", (_, text) => expect(parseExpression(text)).toBeUndefined());

  test("holds its limits exactly", () => {
    const nested = (depth: number) => `${"(".repeat(depth)}1${")".repeat(depth)}`;
    expect(parseExpression(nested(expressionLimits.depth))).toBeDefined();
    expect(parseExpression(nested(expressionLimits.depth + 1))).toBeUndefined();
    expect(parseExpression("9".repeat(expressionLimits.digits))).toBeDefined();
    expect(parseExpression("9".repeat(expressionLimits.digits + 1))).toBeUndefined();
    const long = `${"1+".repeat((expressionLimits.length - 2) / 2)}11`;
    expect(long.length).toBe(expressionLimits.length);
    expect(parseExpression(long)).toBeDefined();
    expect(parseExpression(`${long.slice(0, -2)}1+1`)).toBeUndefined();
    expect(parseExpression("(".repeat(1_000_000))).toBeUndefined();
  });

  test("division by zero has no value", () => {
    expect(parseExpression("1/0")).toBeDefined();
    expect(value("1/0")).toBeUndefined();
    expect(value("1/(3-3)+2")).toBeUndefined();
    expect(value("0/5")).toBe("0/1");
  });

  const tree: fc.Arbitrary<Expression> = fc.letrec<{ tree: Expression }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.integer({ min: 0, max: 99 }).map((n): Expression => ({ kind: "number", value: n })),
      fc
        .tuple(fc.constantFrom("+", "-", "*", "/" as const), tie("tree"), tie("tree"))
        .map(([operator, left, right]) => ({ kind: "operation", operator, left, right }) as Expression),
    ),
  })).tree;

  test("format and parse are inverse, and agree with floating point where that is defined", () => {
    fc.assert(
      fc.property(tree, (expression) => {
        const text = formatExpression(expression);
        if (text.length > expressionLimits.length) return;
        expect(parseExpression(text)).toEqual(expression);
        expect(numbersOf(expression)).toEqual((text.match(/\d+/g) ?? []).map(Number));
        const exact = evaluateExpression(expression);
        const float = Function(`"use strict"; return ${text}`)() as number;
        if (exact !== undefined && Number.isFinite(float)) {
          const ratio = Number(exact.numerator) / Number(exact.denominator);
          expect(Math.abs(ratio - float)).toBeLessThanOrEqual(
            1e-6 * (1 + Math.abs(float)) + 1e-6 * numbersOf(expression).reduce((a, b) => a * (b + 1), 1),
          );
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  test("never throws, whatever comes", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        value(text);
      }),
      { numRuns: 500, seed: 2 },
    );
    fc.assert(
      fc.property(fc.array(fc.constantFrom(..."0123456789+-*/() ")), (parts) => {
        value(parts.join(""));
      }),
      { numRuns: 2000, seed: 3 },
    );
  });

  test("equalsInteger wants an integer", () => {
    expect(equalsInteger({ numerator: 22n, denominator: 1n }, 22)).toBe(true);
    expect(equalsInteger({ numerator: 22n, denominator: 3n }, 22)).toBe(false);
    expect(equalsInteger({ numerator: -22n, denominator: 1n }, 22)).toBe(false);
  });
});
