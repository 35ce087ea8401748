// Tool calls in streams: the three formats, text around them, what is broken; and that it does not matter where the stream is cut.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JsonSpan } from "../../src/chat/json-span.ts";
import { deepseekTags as ds, findToolStyle, type ToolFormat } from "../../src/chat/tool-format.ts";
import { toolStream } from "../../src/chat/tool-stream.ts";

type Read = { text: string; calls: { name: string; arguments: string }[] };

function read(format: ToolFormat, pieces: readonly string[]): Read {
  const stream = toolStream(format);
  const made: Read = { text: "", calls: [] };
  for (const piece of [...pieces.flatMap((text) => stream.push(text)), ...stream.end()]) {
    if (piece.kind === "text") made.text += piece.text;
    else if (piece.kind === "call") made.calls.push({ name: piece.name, arguments: "" });
    else (made.calls[piece.index] as Read["calls"][number]).arguments += piece.text;
  }
  expect(stream.calls).toBe(made.calls.length);
  return made;
}

const hermes = (body: string) => `<tool_call>\n${body}\n</tool_call>`;
const v3 = (name: string, body: string) => `${ds.open}function${ds.separator}${name}\n\`\`\`json\n${body}\n\`\`\`${ds.close}`;
const v31 = (name: string, body: string) => `${ds.open}${name}${ds.separator}${body}${ds.close}`;

const cases: readonly (readonly [string, ToolFormat, string, Read])[] = [
  [
    "one call",
    "hermes",
    hermes('{"name": "f", "arguments": {"a": "}\\""}}'),
    { text: "", calls: [{ name: "f", arguments: '{"a": "}\\""}' }] },
  ],
  [
    "text, two calls, text",
    "hermes",
    `See.\n${hermes('{"name": "f", "arguments": {}}')}\n${hermes('{"name":"g","arguments":{"b":[1,2]}}')}\nDone.`,
    {
      text: "See.\nDone.",
      calls: [
        { name: "f", arguments: "{}" },
        { name: "g", arguments: '{"b":[1,2]}' },
      ],
    },
  ],
  ["arguments first", "hermes", hermes('{"arguments": {"a": 1}, "name": "f"}'), { text: "", calls: [{ name: "f", arguments: '{"a":1}' }] }],
  ["arguments as text", "hermes", hermes('{"name": "f", "arguments": "x y"}'), { text: "", calls: [{ name: "f", arguments: '"x y"' }] }],
  ["no call", "hermes", "a < b <tool_cal", { text: "a < b <tool_cal", calls: [] }],
  ["no name", "hermes", `${hermes('{"a": 1}')} x`, { text: '<tool_call>\n{"a": 1}\n</tool_call> x', calls: [] }],
  [
    "cut off in its arguments",
    "hermes",
    '<tool_call>{"name": "f", "arguments": {"a": 1',
    { text: "", calls: [{ name: "f", arguments: '{"a": 1' }] },
  ],
  ["cut off before its name", "hermes", 'x <tool_call>{"na', { text: 'x <tool_call>{"na', calls: [] }],
  [
    "arguments that are no JSON",
    "hermes",
    hermes('{"name": "f", "arguments": {a: b'),
    { text: "", calls: [{ name: "f", arguments: "{a: b\n" }] },
  ],
  ["an object", "llama", '{"name": "f", "parameters": {"a": 1}}', { text: "", calls: [{ name: "f", arguments: '{"a": 1}' }] }],
  ["after the tag", "llama", '<|python_tag|>{"name": "f", "parameters": {}}', { text: "", calls: [{ name: "f", arguments: "{}" }] }],
  [
    "two, with a semicolon",
    "llama",
    '{"name": "f", "parameters": {}}; {"name": "g", "parameters": {}}',
    {
      text: "",
      calls: [
        { name: "f", arguments: "{}" },
        { name: "g", arguments: "{}" },
      ],
    },
  ],
  ["text", "llama", 'It is {"name": 1}', { text: 'It is {"name": 1}', calls: [] }],
  ["an object that is no call", "llama", '{"city": "Taipei"}', { text: '{"city": "Taipei"}', calls: [] }],
  [
    "V3",
    "deepseek",
    `Let me.\n${ds.begin}${v3("f", '{"a": 1}')}\n${v3("g", "{}")}${ds.end}`,
    {
      text: "Let me.",
      calls: [
        { name: "f", arguments: '{"a": 1}' },
        { name: "g", arguments: "{}" },
      ],
    },
  ],
  ["V3.1", "deepseek", `${ds.begin}${v31("f", '{"a": "b c"}')}${ds.end}`, { text: "", calls: [{ name: "f", arguments: '{"a": "b c"}' }] }],
  ["text alone", "deepseek", "no <｜tool", { text: "no <｜tool", calls: [] }],
];

describe("tool calls", () => {
  test.each(cases)("%s (%s)", (_, format, text, expected) => {
    expect(read(format, [text])).toEqual(expected);
    expect(read(format, [...text])).toEqual(expected);
  });

  test("wherever the stream is cut, the calls and the text are the same", () => {
    fc.assert(
      fc.property(fc.constantFrom(...cases), fc.array(fc.nat({ max: 200 }), { maxLength: 12 }), ([, format, text, expected], cuts) => {
        const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
        const pieces = places.slice(1).map((end, i) => text.slice(places[i], end));
        expect(read(format, pieces)).toEqual(expected);
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  test("any text of a stranger is read in bounded time, and nothing of it is lost", () => {
    const words = fc.constantFrom("<tool_call>", "</tool_call>", '{"name": "', '"', "{", "}", "a", "\n", ...Object.values(ds), "```", ";");
    fc.assert(
      fc.property(fc.constantFrom<ToolFormat>("hermes", "llama", "deepseek"), fc.array(words, { maxLength: 40 }), (format, pieces) => {
        const { text, calls } = read(format, pieces);
        expect(text.length + calls.length).toBeLessThanOrEqual(pieces.join("").length);
      }),
      { seed: 8, numRuns: 1000 },
    );
  });
});

test("the style of a template", () => {
  expect(findToolStyle("<tool_call>{{ call.arguments | tojson }}")).toEqual({ format: "hermes", argumentsAsText: false });
  expect(findToolStyle(`${ds.begin}{{ tool['function']['arguments'] }}`)).toEqual({ format: "deepseek", argumentsAsText: true });
  expect(findToolStyle('{% if tools %}"parameters": {{ call.arguments | tojson }}')).toEqual({ format: "llama", argumentsAsText: false });
  expect(findToolStyle("{{ messages }}")).toBeUndefined();
});

test("where a JSON value ends, for values that are written in pieces", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), (value, at) => {
      const text = JSON.stringify(value);
      const cut = at % (text.length + 1);
      const span = new JsonSpan();
      span.skip(text.slice(0, cut));
      const end = new JsonSpan().end(`${text} }`);
      expect(end).toBe(text.length);
      if (cut < text.length) expect(span.end(`${text.slice(cut)} }`)).toBe(text.length - cut);
    }),
    { seed: 9 },
  );
});
