import { expect, test } from "vitest";
import { type Piece, type ThinkState, thinkStream } from "../../src/chat/think-stream.ts";
import { r1Tags, s1Tags } from "../../src/chat/think-tags.ts";

function split(begin: ThinkState, pieces: readonly string[], tags = r1Tags): Record<Piece["kind"], string> {
  const stream = thinkStream(tags, begin);
  const parts = { reasoning: "", content: "" };
  for (const { kind, text } of [...pieces.flatMap((piece) => stream.push(piece)), ...stream.end()]) parts[kind] += text;
  return parts;
}

const cases: readonly [ThinkState, string, string, string][] = [
  ["inside", "a<b</think>c</think>d", "a<b", "c</think>d"],
  ["inside", "never ends </thin", "never ends </thin", ""],
  ["inside", "</think>answer", "", "answer"],
  ["inside", "\n\nwhy\n</think>\n\n because\n", "why\n", "because\n"],
  ["before", "<think>why</think>because", "why", "because"],
  ["before", "\n<think>\nwhy</think>", "why", ""],
  ["before", "no <think>thinking</think>", "", "no <think>thinking</think>"],
  ["before", "<thi", "", "<thi"],
  ["before", "", "", ""],
  ["after", " <think>x</think>", "", " <think>x</think>"],
];

test.each(cases)("%s thinking: %j, however it is cut", (begin, text, reasoning, content) => {
  expect(split(begin, [text])).toEqual({ reasoning, content });
  expect(split(begin, [...text])).toEqual({ reasoning, content });
  for (let at = 0; at <= text.length; at++) {
    expect(split(begin, [text.slice(0, at), text.slice(at)])).toEqual({ reasoning, content });
  }
});

test("other delimiters", () => {
  const text = "<|im_start|>think\nhm<|im_start|>answer\n42";
  expect(split("before", [...text], s1Tags)).toEqual({ reasoning: "hm", content: "42" });
});

test("reasoning is shown as it comes: no more than a begun tag is held back", () => {
  const stream = thinkStream(r1Tags, "inside");
  expect(stream.push("12</th")).toEqual([{ kind: "reasoning", text: "12" }]);
  expect(stream.push("i")).toEqual([]);
  expect(stream.push("!")).toEqual([{ kind: "reasoning", text: "</thi!" }]);
});
