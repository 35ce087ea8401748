import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { flag, nearest, oneOf, orNull, real, resolveOptions, text, whole } from "../../src/train/options.ts";

const fields = {
  learningRate: real(1e-3, { above: 0 }),
  steps: whole(10, { min: 1 }),
  kind: oneOf("a", ["a", "b"]),
  on: flag(false),
  path: orNull(text("x")),
} as const;

test("defaults are filled in, given values kept, undefined is not given", () => {
  expect(resolveOptions("test", fields, { steps: 3, on: true, kind: undefined })).toEqual({
    learningRate: 1e-3,
    steps: 3,
    kind: "a",
    on: true,
    path: null,
  });
});

test("an unknown key names the nearest one", () => {
  expect(() => resolveOptions("test", fields, { learning_rate: 1 })).toThrow(/unknown key "learning_rate".*did you mean "learningRate"/);
  expect(() => resolveOptions("test", fields, { zzz: 1 })).toThrow(/unknown key "zzz".*remove it/);
});

test.each([
  [{ learningRate: Number.NaN }, "NaN"],
  [{ learningRate: Number.POSITIVE_INFINITY }, "Infinity"],
  [{ learningRate: 0 }, "above 0"],
  [{ learningRate: "1e-3" }, "a finite number"],
  [{ steps: 1.5 }, "an integer"],
  [{ steps: 0 }, "at least 1"],
  [{ kind: "c" }, '"a", "b"'],
  [{ on: 1 }, "true or false"],
  [{ path: 3 }, "or null"],
])("%j is refused", (given, said) => {
  const attempt = () => resolveOptions("test", fields, given);
  expect(attempt).toThrow(ConfigError);
  expect(attempt).toThrow(said);
});

test("what is no object is refused", () => {
  for (const given of [null, 3, "x", [1]]) expect(() => resolveOptions("test", fields, given)).toThrow(ConfigError);
});

test("nearest ignores case and gives up on strangers", () => {
  expect(nearest("LEARNINGRATE", ["steps", "learningRate"])).toBe("learningRate");
  expect(nearest("stpes", ["steps", "learningRate"])).toBe("steps");
  expect(nearest("optimizer", ["steps", "kind"])).toBeUndefined();
});
