import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkStopStrings, stopStream } from "../../src/chat/stop-strings.ts";
import { RequestError } from "../../src/core/errors.ts";

function run(stops: readonly string[], pieces: readonly string[]): { text: string; met: string | undefined } {
  const stream = stopStream(stops);
  let text = "";
  for (const piece of pieces) text += stream.push(piece);
  return { text: text + stream.end(), met: stream.met };
}

/** The rule itself: the stop string that is complete first, the longest of those that end together. */
function naive(stops: readonly string[], text: string): { text: string; met: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const met = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (met !== undefined) return { text: text.slice(0, end - met.length), met };
  }
  return { text, met: undefined };
}

describe("stop strings", () => {
  test("however tokens cut the text, it ends exactly before the first stop string", () => {
    const letters = fc.constantFrom("a", "b", "é", "\n", "😀");
    const word = fc.array(letters, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 4 }), fc.array(word, { maxLength: 12 }), (stops, pieces) => {
        expect(run(stops, pieces)).toEqual(naive(stops, pieces.join("")));
      }),
      { seed: 4, numRuns: 3000 },
    );
  });

  test("no more is held back than may become a stop string", () => {
    const stream = stopStream(["\n\nUser:"]);
    expect(stream.push("Hello\n")).toBe("Hello");
    expect(stream.push("you\n\nUs")).toBe("\nyou");
    expect(stream.push("ed")).toBe("\n\nUsed");
    expect(stream.push("\n\nUser")).toBe("");
    expect(stream.push(": hi")).toBe("");
    expect(stream.met).toBe("\n\nUser:");
    expect([stream.push("more"), stream.end()]).toEqual(["", ""]);
  });

  test("A57: a stop string that begins and never ends: the output is complete and in order, in linear time", () => {
    const stop = `${"a".repeat(999)}b`;
    const text = "a".repeat(300_000);
    const begun = performance.now();
    expect(run([stop], [...text])).toEqual({ text, met: undefined });
    expect(performance.now() - begun).toBeLessThan(3000);
  });

  test.each([
    ["A54: 1,000 strings", Array.from({ length: 1000 }, (_, i) => `s${i}`), "1000 strings"],
    ["5 strings", ["a", "b", "c", "d", "e"], "at most 4"],
    ["A55: an empty string", ["a", ""], "an empty string"],
    ["A56: a string of 1 MB", "x".repeat(1e6), "1000000 characters"],
    ["a number", 5, "a number"],
    ["a number in the list", [5], "a number"],
    ["null in the list", [null], "null"],
  ])("%s is refused", (_, stop, says) => {
    expect(() => checkStopStrings(stop)).toThrow(RequestError);
    expect(() => checkStopStrings(stop)).toThrow(says);
  });

  test("one text, a list, nothing", () => {
    expect(checkStopStrings("a")).toEqual(["a"]);
    expect(checkStopStrings(["a", "b"])).toEqual(["a", "b"]);
    expect(checkStopStrings(undefined)).toEqual([]);
    expect(checkStopStrings(null)).toEqual([]);
  });
});
