import { expect, test } from "vitest";
import { formatCount, formatDuration, formatScientific, formatUsd } from "../../src/core/human.ts";

test.each([
  [0, "0"],
  [950, "950"],
  [999.7, "1K"],
  [1000, "1K"],
  [12_345, "12.3K"],
  [999_400, "999K"],
  [999_600, "1M"],
  [1_234_567, "1.23M"],
  [14.8e12, "14.8T"],
  [3.3e18, "3300000T"],
  [Number.NaN, "?"],
])("formatCount(%d) = %s", (count, text) => expect(formatCount(count)).toBe(text));

test.each([
  [0, "0.0 s"],
  [3.44, "3.4 s"],
  [9.96, "10 s"],
  [59.4, "59 s"],
  [59.6, "1 min"],
  [571, "9 min 31 s"],
  [3599.6, "1 h"],
  [7500, "2 h 5 min"],
  [7199, "2 h"],
  [273_600, "3 d 4 h"],
  [-1, "?"],
  [Number.POSITIVE_INFINITY, "?"],
])("formatDuration(%d) = %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

test.each([
  [0, "$0"],
  [0.000001, "under $0.00001"],
  [0.0000792, "$0.000079"],
  [0.00792, "$0.0079"],
  [0.25, "$0.25"],
  [30, "$30"],
  [12.345, "$12.35"],
  [294_000, "$294K"],
  [5_580_000, "$5.58M"],
  [Number.NaN, "$?"],
])("formatUsd(%d) = %s", (usd, text) => expect(formatUsd(usd)).toBe(text));

test("formatScientific", () => {
  expect(formatScientific(2.149e14)).toBe("2.1e14");
  expect(formatScientific(12)).toBe("12");
  expect(formatScientific(0)).toBe("0");
});
