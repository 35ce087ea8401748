// The strict JSON reader: equal to JSON.parse on valid text (property test), and refusing what JSON.parse lets pass.

import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { decodeUtf8, type JsonObject, type JsonOptions, parseJson } from "../../src/core/json.ts";

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
