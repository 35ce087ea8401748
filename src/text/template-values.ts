// The values that a chat template computes with, as `@huggingface/jinja` has them: how big they are, what Python would print for them,
// whether they are equal. In: such values. Out: numbers, texts. The library prints and compares by JavaScript's rules (`none` as
// nothing, `true` in small letters, "1" == 1); published templates were written for Python's.

import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";

/** The library's class of the same name in `type`. */
export type Value = { readonly type: string; readonly value: unknown; toString(): string };
export type Constructor<T> = new (value: T) => Value;

const samples = new Environment();
const constructorOf = (name: string, value: unknown): unknown => samples.set(name, value).constructor;

/** The library does not export its classes; their constructors take the plain value. */
export const StringValue = constructorOf("s", "") as Constructor<string>;
export const BooleanValue = constructorOf("b", true) as Constructor<boolean>;
export const IntegerValue = constructorOf("i", 1) as Constructor<number>;
export const FloatValue = constructorOf("d", 0.5) as Constructor<number>;
export const ArrayValue = constructorOf("a", []) as Constructor<Value[]>;
export const TupleValue = new Interpreter(samples).evaluate(parse(tokenize("{{ (1, 2) }}")).body[0], samples).constructor as Constructor<
  Value[]
>;
export const ObjectValue = constructorOf("o", {}) as Constructor<Map<string, Value>>;
export const UndefinedValue = constructorOf("u", undefined) as Constructor<undefined>;
export const FunctionValue = constructorOf("f", () => null) as Constructor<(args: Value[], scope: Environment) => Value>;

export const isText = (value: Value): value is Value & { value: string } => value.type === "StringValue";
/** Lists and tuples. */
export const isList = (value: Value): value is Value & { value: Value[] } => value.type === "ArrayValue" || value.type === "TupleValue";
/** Dictionaries; also those of keyword arguments. */
export const isMap = (value: Value): value is Value & { value: Map<string, Value> } =>
  value.type === "ObjectValue" || value.type === "KeywordArgumentsValue";
export const isNamespace = (value: Value): value is Value & { value: Map<string, Value> } => value.type === "NamespaceValue";
export const isUndefined = (value: Value): boolean => value.type === "UndefinedValue";
export const isNumber = (value: Value): value is Value & { value: number } => value.type === "IntegerValue" || value.type === "FloatValue";

/** As a tree, where what occurs twice counts twice: characters and values, values alone, levels. */
export type Measure = { readonly size: number; readonly nodes: number; readonly depth: number };

const leaf: Measure = { size: 1, nodes: 1, depth: 0 };

/** Remembers what it has measured: lists and dictionaries never change. Throws TypeError for a namespace inside one, as namespaces do change. */
export function makeMeasure(): (value: Value) => Measure {
  const known = new WeakMap<Value, Measure>();
  const measure = (value: Value): Measure => {
    if (isText(value)) return { size: value.value.length + 1, nodes: 1, depth: 0 };
    if (!isList(value) && !isMap(value) && !isNamespace(value)) return leaf;
    const before = known.get(value);
    if (before) return before;
    let [size, nodes, depth] = [1, 1, 0];
    const add = (inner: Value) => {
      if (isNamespace(inner)) throw new TypeError("a namespace inside a list, a dictionary or a namespace");
      const part = measure(inner);
      size += part.size;
      nodes += part.nodes;
      depth = Math.max(depth, part.depth + 1);
    };
    if (isList(value)) for (const inner of value.value) add(inner);
    else {
      for (const [key, inner] of value.value) {
        size += key.length;
        add(inner);
      }
    }
    const made = { size, nodes, depth };
    if (!isNamespace(value)) known.set(value, made);
    return made;
  };
  return measure;
}

/** Python's str(). */
export function textOf(value: Value): string {
  if (isText(value)) return value.value;
  return isUndefined(value) ? "" : representation(value);
}

/** Python's repr(). */
function representation(value: Value): string {
  if (isText(value)) return quoted(value.value);
  if (isList(value)) {
    const inner = value.value.map(representation);
    if (value.type === "ArrayValue") return `[${inner.join(", ")}]`;
    return inner.length === 1 ? `(${inner[0]},)` : `(${inner.join(", ")})`;
  }
  if (isMap(value) || isNamespace(value))
    return `{${Array.from(value.value, ([key, inner]) => `${quoted(key)}: ${representation(inner)}`).join(", ")}}`;
  switch (value.type) {
    case "NullValue":
      return "None";
    case "UndefinedValue":
      return "Undefined";
    case "BooleanValue":
      return value.value ? "True" : "False";
    case "FunctionValue":
      return "<function>";
    default:
      return value.toString();
  }
}

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
  const inner = text.replace(/[\\\p{Cc}]|'/gu, (char) => {
    if (char === "'") return mark === "'" ? "\\'" : char;
    return named[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
  return mark + inner + mark;
}

/** Python's ==. */
export function areEqual(left: Value, right: Value): boolean {
  if (isList(left) && isList(right)) {
    const { value: others } = right;
    return (
      left.type === right.type && left.value.length === others.length && left.value.every((inner, i) => areEqual(inner, others[i] as Value))
    );
  }
  if (isMap(left) && isMap(right)) {
    const { value: others } = right;
    if (left.value.size !== others.size) return false;
    for (const [key, inner] of left.value) {
      const other = others.get(key);
      if (other === undefined || !areEqual(inner, other)) return false;
    }
    return true;
  }
  const isNumeric = (value: Value) => isNumber(value) || value.type === "BooleanValue";
  if (isNumeric(left) && isNumeric(right)) return Number(left.value) === Number(right.value);
  if (left.type !== right.type) return false;
  return left === right || left.value === right.value;
}

export type JsonStyle = {
  readonly indent?: number;
  readonly ensureAscii?: boolean;
  readonly sortKeys?: boolean;
  readonly separators?: readonly [string, string];
};

/** Python's json.dumps, which templates call `tojson`. Throws TypeError for what is no data. */
export function jsonOf(value: Value, style: JsonStyle = {}): string {
  const { indent = 0, ensureAscii = false, sortKeys = false } = style;
  const [comma, colon] = style.separators ?? [indent > 0 ? "," : ", ", ": "];
  const text = (plain: string) => {
    const made = JSON.stringify(plain);
    return ensureAscii ? made.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`) : made;
  };
  const enclose = (parts: string[], [open, close]: readonly [string, string], level: number) => {
    if (parts.length === 0 || indent === 0) return open + parts.join(comma) + close;
    const line = `\n${" ".repeat(indent * (level + 1))}`;
    return `${open}${line}${parts.join(comma + line)}\n${" ".repeat(indent * level)}${close}`;
  };
  const write = (inner: Value, level: number): string => {
    if (isText(inner)) return text(inner.value);
    if (isList(inner))
      return enclose(
        inner.value.map((part) => write(part, level + 1)),
        ["[", "]"],
        level,
      );
    if (isMap(inner)) {
      const entries = [...inner.value];
      if (sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      return enclose(
        entries.map(([key, part]) => text(key) + colon + write(part, level + 1)),
        ["{", "}"],
        level,
      );
    }
    if (inner.type === "NullValue") return "null";
    if (inner.type === "BooleanValue" || isNumber(inner)) return inner.toString();
    throw new TypeError(`tojson of ${inner.type === "UndefinedValue" ? "an undefined value" : "what is no data"}`);
  };
  return write(value, 0);
}
