// The strict JSON reader: equal to JSON.parse on valid text (property test), and refusing what JSON.parse lets pass.

import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { decodeUtf8, isJsonObject, type JsonObject, type JsonOptions, type JsonValue, parseJson } from "../../src/core/json.ts";

const parse = (text: string, options: Partial<JsonOptions> = {}) => parseJson(text, { source: "test.json", ...options });

test("every JSON value reads as JSON.parse reads it, compact or indented", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6, stringUnit: "binary" }), fc.constantFrom(0, 1, "\t", "\r\n "), (text, indent) => {
      const value: unknown = JSON.parse(text);
      expect(parse(JSON.stringify(value, null, indent), { unsafeIntegers: "round" })).toEqual(value);
    }),
    { numRuns: 2000 },
  );
});

test("whatever the text: a value that JSON.parse agrees with, or a FormatError", () => {
  const token = fc.constantFrom("{", "}", "[", "]", ",", ":", '"a"', '"b"', "1", "-", "0", ".5", "e9", "true", "nul", " ", "\\", '"', "\n");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(token, { maxLength: 12 }).map((parts) => parts.join("")),
      ),
      (text) => {
        let value: unknown;
        try {
          value = parse(text);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(FormatError);
          return;
        }
        expect(value).toEqual(JSON.parse(text));
      },
    ),
    { numRuns: 5000 },
  );
});

test.each([
  ['{"a":1,"b":{"a":1,"a":2}}', /key "a" a second time/],
  ["9007199254740992", /integer "9007199254740992"; expected an integer below 2\^53/],
  ["[-9007199254740993]", /below 2\^53/],
  ["1e999", /"1e999"; expected a finite number/],
  ["NaN", /expected a JSON value/],
  ["01", /expected nothing after the value/],
  ["+1", /expected a JSON value/],
  [".5", /expected a JSON value/],
  ["1.", /nothing after the value/],
  ["-", /expected a JSON value/],
  ['"\t"', /control character inside a string/],
  ['"\\x41"', /expected one of/],
  ['"\\u00g0"', /four hexadecimal digits/],
  ['"abc', /got the end of the text/],
  ['"abc\\', /expected one of/],
  ["'a'", /expected a JSON value/],
  ["[1,]", /expected a JSON value/],
  ['{"a":1,}', /key in double quotes/],
  ["{a:1}", /key in double quotes/],
  ['{"a" 1}', /expected ":"/],
  ['[1 "a"]', /expected "," or "]"/],
  ["// a\n1", /expected a JSON value/],
  ["", /got the end of the text/],
  ["\ufeff1", /expected a JSON value/],
  ["[".repeat(1e6), /nested deeper than 64/],
  ['{"a":'.repeat(65), /nested deeper than 64/],
])("refused: %j", (text, message) => {
  expect(() => parse(text)).toThrow(FormatError);
  expect(() => parse(text)).toThrow(message);
});

test("errors carry line and column, and escape what the file contains", () => {
  expect(() => parse('{\n  "a": 1,\n  "a": 2\n}')).toThrow('"test.json" at line 3, column 3');
  expect(() => parse('["\u001b[31m"]')).toThrow(/control character/);
  expect(() => parse('{"\\u001b[31m":1,"\\u001b[31m":2}')).toThrow('"\\u001b[31m" a second time');
});

test.each([
  ['["\\n\\\\\\u00e9\\q"]', 13, '"\\\\q"'],
  ['["\\u12"]', 3, '"\\\\u12\\"]"'],
  ['["\\u0041\\u00g0"]', 9, '"\\\\u00g0"'],
  ['["\\u12345\\ua"]', 10, '"\\\\ua\\"]"'],
  ['["\\"\\/\\b\\f\\n\\r\\t\\\\\u0001"]', 19, "a control character inside a string"],
  ['["ab\\t', 7, "the end of the text"],
  ['["ab\\', 5, '"\\\\"'],
  ['["\\x41', 3, '"\\\\x"'],
  ['{"a":1,"\\q":2}', 9, '"\\\\q"'],
  ["[1.5, 2.0e, 3]", 10, '"e"'],
  ['["a", -]', 7, '"-"'],
])("%j is wrong at column %d", (text, column, got) => {
  expect(() => parse(text)).toThrow(`"test.json" at line 1, column ${column}: got ${got}; expected`);
});

test("a space is a character of a string like any other", () => {
  expect(parse('["a b", " ", "\\u0020 "]')).toEqual(["a b", " ", "  "]);
});

test("depth counts lists and objects alike, and only those that are open", () => {
  for (const text of ['[{"a":[1]}]', '{"a":[{"b":1}]}', '[[[1]],[[2]],{"a":{}}]']) {
    expect(parse(text, { depth: 3 })).toEqual(JSON.parse(text));
    expect(() => parse(text, { depth: 2 })).toThrow(/nested deeper than 2; expected at most 2 levels/);
  }
});

test("members of the outermost object alone are handed on, and a name is refused when its taker has it", () => {
  const taken: [string, JsonValue][] = [];
  const member = (key: string, value: JsonValue) => taken.push([key, value]) < 3;
  expect(parse('{"a":{"b":{"c":1}},"b":[{"d":2}]}', { member })).toEqual({});
  expect(taken).toEqual([
    ["a", { b: { c: 1 } }],
    ["b", [{ d: 2 }]],
  ]);
  expect(() => parse('{"a":1}', { member })).toThrow('line 1, column 2: got the key "a" a second time');
  expect(parse('[{"a":1}]', { member })).toEqual([{ a: 1 }]);
});

test("only an object that is no list is an object", () => {
  expect([null, [], "a", 1, true, undefined].filter(isJsonObject)).toEqual([]);
  expect(isJsonObject(parse("{}"))).toBe(true);
});

test("where integers alone are taken, and where they may be any", () => {
  for (const bad of ["1.5", "1e2", "1E2", "10.0", "-1.0", "0.0"])
    expect(() => parse(`[${bad}]`, { numbers: "integers" })).toThrow(`got the number "${bad}"; expected an integer in plain digits`);
  expect(() => parse("[x]", { numbers: "integers" })).toThrow('got "x"; expected a JSON value');
  expect(parse("[0, -1, 9007199254740991]", { numbers: "integers" })).toEqual([0, -1, 2 ** 53 - 1]);
  expect(() => parse("-9007199254740992", { numbers: "integers" })).toThrow(/below 2\^53/);
  // A fraction or an exponent says that rounding was meant.
  expect(parse("[9007199254740993.0, 1e300]")).toEqual([2 ** 53, 1e300]);
  expect(() => parse("[1e400]", { unsafeIntegers: "round" })).toThrow(/expected a finite number/);
  expect(() => parse("9".repeat(400), { unsafeIntegers: "round" })).toThrow(/expected a finite number/);
  expect(parse("9007199254740993", { unsafeIntegers: "round" })).toBe(2 ** 53);
});

test("names of Object.prototype are names like any other", () => {
  const object = parse('{"__proto__":{"x":1},"constructor":2,"toString":3,"hasOwnProperty":4}') as JsonObject;
  expect(Object.keys(object)).toEqual(["__proto__", "constructor", "toString", "hasOwnProperty"]);
  const key = "__proto__";
  expect(object[key]).toEqual({ x: 1 });
  expect(({} as Record<string, unknown>).x).toBeUndefined();
  expect((parse("{}") as JsonObject).toString).toBeUndefined();
});

test("options: integers only, rounding of large integers, depth", () => {
  expect(() => parse("[1.0]", { numbers: "integers" })).toThrow(/"1.0"; expected an integer/);
  expect(() => parse("[1e2]", { numbers: "integers" })).toThrow(FormatError);
  expect(parse("[-12]", { numbers: "integers" })).toEqual([-12]);
  expect(parse("1000000000000000019884624838656", { unsafeIntegers: "round" })).toBe(1e30);
  expect(() => parse('{"a":1,"b":2}', { keys: 1 })).toThrow(/more than 1 keys/);
  expect(parse('{"a":{"b":2}}', { keys: 1 })).toEqual({ a: { b: 2 } });
  expect(parse("[[1]]", { depth: 2 })).toEqual([[1]]);
  expect(() => parse("[[1]]", { depth: 1 })).toThrow(/deeper than 1/);
  expect(parse(`${"[".repeat(64)}${"]".repeat(64)}`)).toHaveLength(1);
});

test("UTF-8 is checked and a byte order mark is not dropped", () => {
  expect(decodeUtf8(new TextEncoder().encode("\ufeffå"), "x")).toBe("\ufeffå");
  expect(() => decodeUtf8(Uint8Array.from([0x61, 0xc3]), "x")).toThrow(FormatError);
  expect(() => decodeUtf8(Uint8Array.from([0xed, 0xa0, 0x80]), "x")).toThrow(FormatError);
});
