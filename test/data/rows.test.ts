import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { encodePair, encodeRow, encodeText, type RowEncoder } from "../../src/data/rows.ts";

/** Merges "ab" where it can, so that joining before encoding would be noticed. */
const encode = (text: string) => [...text.replaceAll("ab", "é")].map((c) => c.codePointAt(0)!);
const encoder: RowEncoder = { encode, eos: 1 };

test("prompt and completion are encoded apart; loss on the completion and the end", () => {
  expect(encodePair("xa", "by", encoder)).toEqual({ ids: [120, 97, 98, 121, 1], mask: [0, 0, 1, 1, 1] });
  expect(encodePair("x", "y", { ...encoder, bos: 0 })).toEqual({ ids: [0, 120, 121, 1], mask: [0, 0, 1, 1] });
  expect(encodePair("", "", encoder)).toEqual({ ids: [1], mask: [1] });
});

test("text is learned whole", () => {
  expect(encodeText("ab", { ...encoder, bos: 0 })).toEqual({ ids: [0, 233, 1] });
  expect(encodeRow({ kind: "text", text: "ab" }, encoder)).toEqual({ ids: [233, 1] });
  expect(encodeRow({ kind: "completion", prompt: "x", completion: "y" }, encoder)).toEqual(encodePair("x", "y", encoder));
});

test("of messages only the assistant's are learned", () => {
  const render: RowEncoder["render"] = (messages) => messages.map((m) => ({ text: `<${m.content}`, learned: m.role === "assistant" }));
  const row = {
    kind: "messages",
    messages: [
      { role: "user", content: "q" },
      { role: "assistant", content: "a" },
    ],
  } as const;
  expect(encodeRow(row, { ...encoder, render })).toEqual({ ids: [60, 113, 60, 97, 1], mask: [0, 0, 1, 1, 1] });
  expect(encodeRow({ ...row, messages: [row.messages[0]] }, { ...encoder, render }).mask).toEqual([0, 0, 0]);
  expect(() => encodeRow(row, encoder)).toThrow(ConfigError);
});
