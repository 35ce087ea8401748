// What is said when memory is short: refused before anything is allocated only where it surely does not fit, and always with what would fit.

import { expect, test } from "vitest";
import { DeviceError } from "../../../src/core/errors.ts";
import { checkMemory, memoryRefused } from "../../../src/platform/browser/quota.ts";
import { megabytes } from "../../../src/platform/memory-needs.ts";

const needs = { weightBytes: 3e9, cacheBytes: 1e9, contextLength: 4096, parallel: 2 };

test("a device that may have half as much again is tried", () => {
  expect(() => checkMemory("m", needs, 4)).not.toThrow();
  expect(() => checkMemory("m", { ...needs, weightBytes: 1e12 }, 8)).not.toThrow();
  expect(() => checkMemory("m", { ...needs, weightBytes: 1e12 }, undefined)).not.toThrow();
});

test("a device of 2 GiB is told that less context would not help, and what weights would", () => {
  expect(() => checkMemory("m", { ...needs, weightBytes: 4e9 }, 2)).toThrow(DeviceError);
  expect(() => checkMemory("m", { ...needs, weightBytes: 4e9 }, 2)).toThrow(/4000 MB of weights.*less than 2899 MB of weights/);
});

test("where the weights fit, the context that would fit is named", () => {
  const error = memoryRefused("m", needs, 3.5e9, new RangeError("no"));
  expect(error.complaint.cure).toBe("contextLength: 2048, or parallel: 1 with contextLength: 4096 would fit; close other tabs");
  expect(error.cause).toBeInstanceOf(RangeError);
});

test.each([
  [1, "1 kB"],
  [999_999, "1000 kB"],
  [640e6, "640 MB"],
  [12.34e9, "12.3 GB"],
])("%d bytes are %s", (bytes, text) => expect(megabytes(bytes)).toBe(text));
