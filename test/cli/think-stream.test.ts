import { expect, test } from "vitest";
import { explainError, showControls } from "../../src/cli/output.ts";
import { type Piece, thinkStream } from "../../src/cli/think-stream.ts";

function split(thinking: boolean, pieces: readonly string[]): Record<Piece["kind"], string> {
  const stream = thinkStream(thinking);
  const parts = { reasoning: "", text: "" };
  for (const { kind, text } of [...pieces.flatMap((piece) => stream.push(piece)), ...stream.end()]) parts[kind] += text;
  return parts;
}

const cases: readonly [boolean, string, string, string][] = [
  [true, "a<b</think>c</think>d", "a<b", "c</think>d"],
  [true, "never ends </thin", "never ends </thin", ""],
  [true, "</think>answer", "", "answer"],
  [false, "<think>why</think>because", "why", "because"],
  [false, "\n<think>why</think>", "why", ""],
  [false, "no <think>thinking</think>", "", "no <think>thinking</think>"],
  [false, "<thi", "", "<thi"],
  [false, "", "", ""],
];

test.each(cases)("thinking %s: %j, however it is cut", (thinking, text, reasoning, answer) => {
  expect(split(thinking, [text])).toEqual({ reasoning, text: answer });
  expect(split(thinking, [...text])).toEqual({ reasoning, text: answer });
  for (let at = 0; at <= text.length; at++) {
    expect(split(thinking, [text.slice(0, at), text.slice(at)])).toEqual({ reasoning, text: answer });
  }
});

test("reasoning is shown as it comes: no more than a begun tag is held back", () => {
  const stream = thinkStream(true);
  expect(stream.push("12</th")).toEqual([{ kind: "reasoning", text: "12" }]);
  expect(stream.push("i")).toEqual([]);
  expect(stream.push("!")).toEqual([{ kind: "reasoning", text: "</thi!" }]);
});

test("text of a model cannot steer the terminal", () => {
  expect(showControls("a\u001b[2Jb\r\u0007\n\tc\u202e")).toBe("a\\u001b[2Jb\\u000d\\u0007\n\tc\\u202e");
});

test("errors that nobody foresaw are one line too", () => {
  const line = explainError("run", new TypeError("x is\nnot y"));
  expect(line).toBe("error: run: got an unexpected failure (x is not y); expected none; report it with what GRADUALLY_DEBUG=1 shows");
});
