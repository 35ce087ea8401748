// Filters of chat templates that can make large values, or that `@huggingface/jinja` lacks or has otherwise than Python's Jinja. In:
// the value, arguments, and the limits of the run. Out: a value. All other filters are the library's.

import {
  ArrayValue,
  IntegerValue,
  isList,
  isMap,
  isText,
  isUndefined,
  jsonOf,
  type Measure,
  StringValue,
  TupleValue,
  textOf,
  UndefinedValue,
  type Value,
} from "./template-values.ts";

export type FilterCall = {
  readonly operand: Value;
  readonly args: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
  /** Throws when a value of so many characters may not be made. */
  allow(characters: number): void;
  measure(value: Value): Measure;
  /** Another filter, without arguments. */
  apply(name: string, operand: Value): Value;
};

/** The argument in a place or under a name. */
function argument({ args, keywords }: FilterCall, place: number, name: string): Value | undefined {
  return args[place] ?? keywords.get(name);
}

function integer(value: Value | undefined, standard: number): number {
  if (value === undefined || value.type === "NullValue") return standard;
  if (value.type !== "IntegerValue") throw new TypeError("a filter's argument that is no integer");
  return value.value as number;
}

function isTrue(value: Value | undefined): boolean {
  return value?.value === true;
}

/** The members of a list, the characters of a text, the keys of a dictionary. */
function items(value: Value): readonly Value[] {
  if (isList(value)) return value.value;
  if (isText(value)) return Array.from(value.value, (character) => new StringValue(character));
  if (isMap(value)) return Array.from(value.value.keys(), (key) => new StringValue(key));
  if (isUndefined(value)) return [];
  throw new TypeError(`a filter for lists on ${value.type}`);
}

function attribute(item: Value, path: string): Value {
  let value = item;
  for (const part of path.split(".")) {
    const inner: Value | undefined = isMap(value) ? value.value.get(part) : isList(value) ? value.value[Number(part)] : undefined;
    if (inner === undefined) return new UndefinedValue(undefined);
    value = inner;
  }
  return value;
}

export function strip(text: string, characters: Value | undefined, side: string): Value {
  if (characters !== undefined && !isText(characters)) throw new TypeError(`${side} of ${characters.type}`);
  const cut = characters === undefined ? undefined : new Set(characters.value);
  const isCut = (character: string) => (cut ? cut.has(character) : /\s/.test(character));
  let [from, to] = [0, text.length];
  if (side !== "rstrip") while (from < to && isCut(text.charAt(from))) from++;
  if (side !== "lstrip") while (to > from && isCut(text.charAt(to - 1))) to--;
  return new StringValue(text.slice(from, to));
}

function tojson(call: FilterCall): Value {
  const { operand, keywords } = call;
  const indent = integer(argument(call, 0, "indent"), 0);
  const separators = keywords.get("separators");
  const [comma, colon] = separators && isList(separators) ? separators.value : [];
  if (separators && separators.type !== "NullValue" && !(comma && colon && isText(comma) && isText(colon)))
    throw new TypeError("separators that are no pair of strings");
  const { size, nodes, depth } = call.measure(operand);
  call.allow(
    size +
      nodes *
        (Math.max(0, indent) * depth +
          (comma && isText(comma) ? comma.value.length : 0) +
          (colon && isText(colon) ? colon.value.length : 0)),
  );
  const style = {
    indent: Math.max(0, indent),
    ensureAscii: isTrue(keywords.get("ensure_ascii")),
    sortKeys: isTrue(keywords.get("sort_keys")),
  };
  return new StringValue(
    jsonOf(operand, comma && colon && isText(comma) && isText(colon) ? { ...style, separators: [comma.value, colon.value] } : style),
  );
}

function join(call: FilterCall): Value {
  const between = argument(call, 0, "d");
  const path = argument(call, 1, "attribute");
  const separator = between === undefined ? "" : textOf(between);
  const parts = items(call.operand).map((item) => (path && isText(path) ? attribute(item, path.value) : item));
  call.allow(parts.reduce((sum, part) => sum + call.measure(part).size, 0) + parts.length * separator.length);
  return new StringValue(parts.map(textOf).join(separator));
}

function indent(call: FilterCall): Value {
  const width = argument(call, 0, "width");
  const margin = width && isText(width) ? width.value : integer(width, 4);
  const length = typeof margin === "string" ? margin.length : Math.max(0, margin);
  const lines = textOf(call.operand).split("\n");
  call.allow(call.measure(call.operand).size + lines.length * length);
  const spaces = typeof margin === "string" ? margin : " ".repeat(length);
  const [first, blank] = [isTrue(argument(call, 1, "first")), isTrue(argument(call, 2, "blank"))];
  return new StringValue(lines.map((line, i) => ((i === 0 ? first : blank || line !== "") ? spaces + line : line)).join("\n"));
}

function standard(call: FilterCall): Value {
  const { operand } = call;
  const empty = isTrue(argument(call, 1, "boolean")) && !isTruthy(operand);
  return isUndefined(operand) || empty ? (argument(call, 0, "default_value") ?? new StringValue("")) : operand;
}

function map(call: FilterCall): Value {
  const path = call.keywords.get("attribute");
  const [name] = call.args;
  if (path && isText(path)) {
    const other = call.keywords.get("default");
    return new ArrayValue(
      items(call.operand).map((item) => {
        const value = attribute(item, path.value);
        return other && isUndefined(value) ? other : value;
      }),
    );
  }
  if (!name || !isText(name) || call.args.length > 1) throw new TypeError("map without an attribute or the name of a filter");
  return new ArrayValue(items(call.operand).map((item) => call.apply(name.value, item)));
}

function length(call: FilterCall): Value {
  const { operand } = call;
  if (isText(operand)) return new IntegerValue(Array.from(operand.value).length);
  return new IntegerValue(isMap(operand) ? operand.value.size : items(operand).length);
}

function end(call: FilterCall, place: 0 | -1): Value {
  return items(call.operand).at(place) ?? new UndefinedValue(undefined);
}

/** Python's dict.items(), as a list of tuples. */
export function entries(value: Value): Value {
  if (isUndefined(value)) return new ArrayValue([]);
  if (!isMap(value)) throw new TypeError(`items of ${value.type}`);
  return new ArrayValue(Array.from(value.value, ([key, inner]) => new TupleValue([new StringValue(key), inner])));
}

function trim(call: FilterCall): Value {
  return strip(textOf(call.operand), argument(call, 0, "chars"), "strip");
}

function capitalize({ operand }: FilterCall): Value {
  const text = textOf(operand);
  return new StringValue(text.charAt(0).toUpperCase() + text.slice(1).toLowerCase());
}

/** Python's bool(). */
export function isTruthy(value: Value): boolean {
  if (isText(value) || isList(value)) return value.value.length > 0;
  if (isMap(value)) return value.value.size > 0;
  return value.type === "FunctionValue" || value.type === "NamespaceValue" || Boolean(value.value);
}

export const ownFilters: ReadonlyMap<string, (call: FilterCall) => Value> = new Map<string, (call: FilterCall) => Value>([
  ["tojson", tojson],
  ["join", join],
  ["indent", indent],
  ["default", standard],
  ["d", standard],
  ["map", map],
  ["length", length],
  ["count", length],
  ["items", ({ operand }) => entries(operand)],
  ["first", (call) => end(call, 0)],
  ["last", (call) => end(call, -1)],
  ["list", ({ operand }) => new ArrayValue([...items(operand)])],
  ["string", ({ operand }) => new StringValue(textOf(operand))],
  ["trim", trim],
  ["capitalize", capitalize],
]);
