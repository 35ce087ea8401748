// Many ids written at once say what they say one by one: the same texts in the same order, and as many thoughts. Over texts with thinking, stop texts and
// calls, cut anywhere.

import fc from "fast-check";
import { expect, test } from "vitest";
import { type Delta, deltaWriter } from "../../src/chat/delta-writer.ts";
import { r1Tags } from "../../src/chat/think-tags.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";
import { tinyTokenizer } from "../text/tiny-tokenizer.ts";

const tokenizer = loadTokenizer(tinyTokenizer({ added: ["<think>", "</think>", "<tool_call>", "</tool_call>", "é"] }));

/** Neighbours of one kind are one. */
function joined(deltas: readonly Delta[]): Delta[] {
  const all: Delta[] = [];
  for (const delta of deltas) {
    const last = all.at(-1);
    const isSame = last && last.kind === delta.kind && ("index" in delta ? "index" in last && last.index === delta.index : true);
    if (isSame && "text" in delta && "text" in last) all[all.length - 1] = { ...delta, text: last.text + delta.text };
    else all.push(delta);
  }
  return all;
}

test("pushAll is push, however the ids are grouped", () => {
  const call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>';
  const pieces = fc.constantFrom(
    "</think>",
    "</think>",
    "<think>",
    "</think>",
    "</thi",
    "nk>",
    " ",
    "\n\n",
    "a",
    "stop",
    "st",
    "op",
    "é",
    "中",
    "👩‍👩‍👧",
    call,
    "<tool_call>",
  );
  let turns = 0;
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 25 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
      fc.constantFrom("before", "inside", "after"),
      fc.constantFrom([], ["stop"]),
      fc.constantFrom(undefined, "hermes" as const),
      fc.boolean(),
      (texts, groups, begin, stops, toolFormat, thinks) => {
        const options = { begin, stops, ...(thinks && { thinkTags: r1Tags }), ...(toolFormat && { toolFormat }) } as const;
        const ids = tokenizer.encode(texts.join(""), { addSpecialTokens: false });
        const [one, many] = [deltaWriter(tokenizer, options), deltaWriter(tokenizer, options)];
        const deltas: [Delta[], Delta[]] = [[], []];
        const thoughts: [number, number] = [0, 0];
        for (const id of ids) {
          const wasThinking = one.isThinking;
          deltas[0].push(...one.push(id));
          if (wasThinking && one.isThinking) thoughts[0]++;
          if (wasThinking && !one.isThinking) turns++;
        }
        for (let at = 0, i = 0; at < ids.length; i++) {
          const size = groups[i % groups.length] as number;
          const told = many.pushAll(ids.slice(at, at + size));
          deltas[1].push(...told.deltas);
          thoughts[1] += told.thoughts;
          at += size;
        }
        expect(thoughts[1]).toBe(thoughts[0]);
        expect(joined([...deltas[1], ...many.end()])).toEqual(joined([...deltas[0], ...one.end()]));
        expect([many.stopText, many.isThinking, many.calls]).toEqual([one.stopText, one.isThinking, one.calls]);
      },
    ),
    { numRuns: 1000, seed: 5 },
  );
  expect(turns).toBeGreaterThan(50);
});
