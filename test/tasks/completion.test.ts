import { expect, test } from "vitest";
import { splitCompletion } from "../../src/tasks/completion.ts";

test("splits at the one closing tag, with or without the opening one", () => {
  expect(splitCompletion("<think>a;b</think>c")).toEqual({ thinking: "a;b", answer: "c" });
  expect(splitCompletion("a;b</think> c\n")).toEqual({ thinking: "a;b", answer: "c" });
  expect(splitCompletion("<think></think>")).toEqual({ thinking: "", answer: "" });
});

test.each([
  ["nothing", ""],
  ["no closing tag", "<think>1+2"],
  ["no tag", "1+2"],
  ["two closing tags", "<think>a</think>b</think>c"],
  ["two opening tags", "<think><think>a</think>b"],
  ["opening tag late", "a<think>b</think>c"],
  ["opening tag in the answer", "a</think><think>c"],
  ["a second round", "<think>a</think>b<think>c</think>d"],
  ["upper case", "<think>a</THINK>b"],
  ["blank before the opening tag", " <think>a</think>b"],
])("refuses %s", (_, text) => expect(splitCompletion(text)).toBeUndefined());

test("only ASCII blanks are trimmed", () => {
  expect(splitCompletion("</think>\u00a07\u2003")?.answer).toBe("\u00a07\u2003");
  expect(splitCompletion("</think>\r\n 7 \n")?.answer).toBe("7");
});

test("a long text is split in linear time", () => {
  const text = `${"<thin</thin".repeat(200_000)}</think>7`;
  const start = performance.now();
  expect(splitCompletion(text)?.answer).toBe("7");
  expect(performance.now() - start).toBeLessThan(1000);
});
