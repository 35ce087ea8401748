// Operators and loop variables of chat templates, as Python's Jinja has them. In: values. Out: values, or a TypeError that says what does
// not go together.

import {
  BooleanValue,
  FloatValue,
  FunctionValue,
  IntegerValue,
  isList,
  isMap,
  isNumber,
  isText,
  isUndefined,
  UndefinedValue,
  type Value,
} from "./template-values.ts";

/** Part of a syntax tree; which fields there are depends on `type`. */
export type Node = { readonly type: string; readonly [field: string]: unknown };

export function modulo(a: Value, b: Value): Value {
  if (!isNumber(a) || !isNumber(b)) throw new TypeError(`${pythonName(a)} % ${pythonName(b)}`);
  if (b.value === 0) throw new TypeError("a division by zero");
  const rest = a.value % b.value;
  // As in Python it has the sign of the divisor.
  const positive = rest !== 0 && rest < 0 !== b.value < 0 ? rest + b.value : rest;
  return a.type === "IntegerValue" && b.type === "IntegerValue" ? new IntegerValue(positive) : new FloatValue(positive);
}

export function compare(sign: string, a: Value, b: Value): Value {
  const isNumeric = (value: Value) => isNumber(value) || value.type === "BooleanValue";
  if (!(isNumeric(a) && isNumeric(b)) && !(isText(a) && isText(b))) throw new TypeError(`${pythonName(a)} ${sign} ${pythonName(b)}`);
  const [left, right] = isText(a) && isText(b) ? [a.value, b.value] : [Number(a.value), Number(b.value)];
  const order = left < right ? -1 : left > right ? 1 : 0;
  return new BooleanValue(order === 0 ? sign.endsWith("=") : order < 0 === sign.startsWith("<"));
}

export function countOf(text: string, part: Value | undefined): number {
  if (!part || !isText(part) || part.value === "") return text.length / 4;
  let count = 0;
  for (let at = text.indexOf(part.value); at >= 0; at = text.indexOf(part.value, at + part.value.length)) count++;
  return count;
}

/** What a loop variable or a tuple of them is set to. */
export function assign(target: Node, value: Value): [string, Value][] {
  if (target.type === "Identifier") return [[String(target.value), value]];
  const targets = target.type === "TupleLiteral" ? (target.value as readonly Node[]) : [];
  if (!isList(value) || targets.length !== value.value.length)
    throw new TypeError(`${pythonName(value)} for ${targets.length} loop variables`);
  return targets.flatMap((inner, i) => assign(inner, value.value[i] as Value));
}

export function loopVariables(items: readonly Value[], i: number): Map<string, Value> {
  const missing = new UndefinedValue(undefined);
  return new Map<string, Value>([
    ["index", new IntegerValue(i + 1)],
    ["index0", new IntegerValue(i)],
    ["revindex", new IntegerValue(items.length - i)],
    ["revindex0", new IntegerValue(items.length - i - 1)],
    ["first", new BooleanValue(i === 0)],
    ["last", new BooleanValue(i === items.length - 1)],
    ["length", new IntegerValue(items.length)],
    ["previtem", items[i - 1] ?? missing],
    ["nextitem", items[i + 1] ?? missing],
    ["cycle", new FunctionValue((args) => args[i % args.length] ?? missing)],
  ]);
}

export function spell(node: Node): string {
  if (node.type === "Identifier") return String(node.value);
  const { object, property, computed } = node as Node & { object?: Node; property?: Node; computed?: boolean };
  if (node.type !== "MemberExpression" || !object || !property) return "a value";
  return computed ? `${spell(object)}[…]` : `${spell(object)}.${String(property.value)}`;
}

export function pythonName(value: Value): string {
  if (isText(value)) return "a string";
  if (isList(value)) return "a list";
  if (isMap(value)) return "a dictionary";
  if (value.type === "NullValue") return "None";
  if (isUndefined(value)) return "an undefined value";
  return isNumber(value) ? "a number" : value.type === "BooleanValue" ? "a boolean" : "a function";
}
