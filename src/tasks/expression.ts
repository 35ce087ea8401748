// Integer arithmetic from untrusted text: + - * / and parentheses, read by a small recursive-descent parser and computed with exact
// rationals (BigInt), so 1/3*3 is 1 and nothing overflows. No eval. Text in, a tree or undefined out; it never throws.
//   sum = product (("+" | "-") product)*    product = atom (("*" | "/") atom)*    atom = number | "(" sum ")"
// Unusual: no unary sign, no leading zeros, no "**", ASCII only, and a space may stand between tokens but never inside a number.

export type Operator = "+" | "-" | "*" | "/";

export type Expression =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "operation"; readonly operator: Operator; readonly left: Expression; readonly right: Expression };

/** Reduced, denominator above 0. */
export type Rational = { readonly numerator: bigint; readonly denominator: bigint };

/** Longest text in characters, deepest parentheses, longest number in digits (9 digits stay exact in a double). */
export const expressionLimits = { length: 256, depth: 32, digits: 9 } as const;

/** The tree, or undefined for anything that is not exactly one expression within the limits. */
export function parseExpression(text: string): Expression | undefined {
  if (text.length === 0 || text.length > expressionLimits.length) return undefined;
  let at = 0;

  function peek(): string {
    while (text[at] === " ") at++;
    return text[at] ?? "";
  }

  function number(): Expression | undefined {
    const start = at;
    while (isDigit(text.charCodeAt(at))) at++;
    const digits = text.slice(start, at);
    if (digits.length > expressionLimits.digits || (digits.length > 1 && digits[0] === "0")) return undefined;
    return { kind: "number", value: Number(digits) };
  }

  function atom(depth: number): Expression | undefined {
    const next = peek();
    if (next === "(") {
      if (depth === expressionLimits.depth) return undefined;
      at++;
      const inside = chain(depth + 1, "+", "-", (d) => chain(d, "*", "/", atom));
      if (inside === undefined || peek() !== ")") return undefined;
      at++;
      return inside;
    }
    return isDigit(next.charCodeAt(0)) ? number() : undefined;
  }

  function chain(depth: number, a: Operator, b: Operator, part: (depth: number) => Expression | undefined): Expression | undefined {
    let left = part(depth);
    while (left !== undefined) {
      const next = peek();
      if (next !== a && next !== b) return left;
      at++;
      const right = part(depth);
      if (right === undefined) return undefined;
      left = { kind: "operation", operator: next, left, right };
    }
    return undefined;
  }

  const whole = chain(0, "+", "-", (depth) => chain(depth, "*", "/", atom));
  return whole !== undefined && peek() === "" ? whole : undefined;
}

/** The exact value, or undefined when something is divided by zero. */
export function evaluateExpression(expression: Expression): Rational | undefined {
  if (expression.kind === "number") return { numerator: BigInt(expression.value), denominator: 1n };
  const a = evaluateExpression(expression.left);
  const b = evaluateExpression(expression.right);
  if (a === undefined || b === undefined) return undefined;
  switch (expression.operator) {
    case "+":
      return reduce(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);
    case "-":
      return reduce(a.numerator * b.denominator - b.numerator * a.denominator, a.denominator * b.denominator);
    case "*":
      return reduce(a.numerator * b.numerator, a.denominator * b.denominator);
    case "/":
      return b.numerator === 0n ? undefined : reduce(a.numerator * b.denominator, a.denominator * b.numerator);
  }
}

/** Does the rational equal this integer? */
export function equalsInteger(value: Rational, integer: number): boolean {
  return value.denominator === 1n && value.numerator === BigInt(integer);
}

/** The numbers of the expression as they are written, from left to right. */
export function numbersOf(expression: Expression): number[] {
  return expression.kind === "number" ? [expression.value] : [...numbersOf(expression.left), ...numbersOf(expression.right)];
}

/** Text in which every inner operation has its parentheses: `(3*5)+7`. Parsing it gives the same tree again. */
export function formatExpression(expression: Expression): string {
  if (expression.kind === "number") return String(expression.value);
  const part = (e: Expression) => (e.kind === "number" ? String(e.value) : `(${formatExpression(e)})`);
  return `${part(expression.left)}${expression.operator}${part(expression.right)}`;
}

function reduce(numerator: bigint, denominator: bigint): Rational {
  let a = numerator < 0n ? -numerator : numerator;
  let b = denominator < 0n ? -denominator : denominator;
  while (b !== 0n) [a, b] = [b, a % b];
  const sign = denominator < 0n ? -1n : 1n;
  return { numerator: (sign * numerator) / a, denominator: (sign * denominator) / a };
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
