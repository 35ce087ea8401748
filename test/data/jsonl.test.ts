import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import type { FileSource } from "../../src/core/host.ts";
import { type JsonlOptions, readJsonl, readJsonlRows } from "../../src/data/jsonl.ts";

function fileOf(content: string | Uint8Array): FileSource & { reads: number } {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return {
    path: "data.jsonl",
    size: bytes.length,
    reads: 0,
    async read(offset, length) {
      this.reads++;
      if (offset + length > bytes.length) throw new Error("read beyond the end");
      return bytes.slice(offset, offset + length);
    },
    async close() {},
  };
}

const text = (value: string) => JSON.stringify({ text: value });

test("reads the three forms, with or without a last newline, CRLF, blank lines, extra keys", async () => {
  const rows = [
    { kind: "completion", prompt: "3 5 7=22", completion: "<think></think>(3*5)+7" },
    { kind: "text", text: "héllo\n🐋" },
    {
      kind: "messages",
      messages: [
        { role: "user", content: "hi" },
        { role: "assistant", content: "" },
      ],
    },
  ];
  const lines = [
    '{"prompt":"3 5 7=22","completion":"<think></think>(3*5)+7","id":7}',
    '{"text":"héllo\\n🐋","source":"x"}',
    '{"messages":[{"role":"user","content":"hi","name":"u"},{"role":"assistant","content":""}]}',
  ];
  for (const file of [lines.join("\n"), `${lines.join("\r\n")}\r\n`, `\ufeff${lines.join("\n\n  \n")}\n\n`]) {
    for (const chunkBytes of [1, 2, 7, 1000]) expect(await readJsonlRows(fileOf(file), { chunkBytes })).toEqual(rows);
  }
});

test("streams: the first row comes before the file is read to its end", async () => {
  const file = fileOf(`${Array.from({ length: 1000 }, (_, i) => text(String(i))).join("\n")}\n`);
  for await (const row of readJsonl(file, { chunkBytes: 100 })) {
    expect(row).toEqual({ kind: "text", text: "0" });
    break;
  }
  expect(file.reads).toBe(1);
});

describe("errors name the line and the cure", () => {
  test.each<[string, string | Uint8Array, RegExp, JsonlOptions?]>([
    ["an empty file", "", /"data\.jsonl": got an empty file/],
    ["only blank lines", "\n \n\r\n", /only blank lines/],
    ["no JSON", `${text("a")}\n{"text": `, /line 2: got "\{\\"text\\": "; expected one JSON object/],
    ["blank lines count", `\n\n\nnope`, /line 4/],
    ["a JSON list", "[1]", /line 1.*a JSON object/],
    ["null", "null", /line 1.*a JSON object/],
    ["a string", '"x"', /line 1.*a JSON object/],
    ["two objects on a line", `${text("a")}${text("b")}`, /line 1/],
    ["no known key", `{"content":"x"}`, /the keys "content"; expected either/],
    ["no keys", "{}", /an object without keys/],
    ["two forms", `{"text":"a","prompt":"b","completion":"c"}`, /keep one of the three forms/],
    ["a prompt alone", `{"prompt":"b"}`, /completion: nothing; expected a string/],
    ["a completion alone", `{"completion":"b"}`, /prompt: nothing/],
    ["a number for text", `{"text":5}`, /text: 5; expected a string/],
    ["a list for text", `{"text":["a"]}`, /text: a list of 1/],
    ["null text", `{"text":null}`, /text: null/],
    ["an inherited key", `{"__proto__":{"text":"a"}}`, /the keys "__proto__"/],
    ["messages that are no list", `{"messages":"hi"}`, /messages: "hi"/],
    ["no messages", `{"messages":[]}`, /at least one message/],
    ["a message that is no object", `{"messages":[3]}`, /messages\[0\]: 3/],
    ["an unknown role", `{"messages":[{"role":"robot","content":"x"}]}`, /messages\[0\]\.role: .*robot.*; expected system/],
    ["no content", `{"messages":[{"role":"user"}]}`, /messages\[0\]\.content: nothing/],
    ["half a surrogate pair", `{"text":"\\ud83d"}`, /half a character/],
    ["bytes that are not UTF-8", new Uint8Array([0x7b, 0xff, 0x7d]), /line 1: got bytes that are not UTF-8/],
    ["P10: a gzip file", new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), /line 1: got bytes that are not UTF-8/],
    ["P11: a parquet file", "PAR1\u0015\u0000", /line 1: got "PAR1/],
    ["a byte order mark in the middle", `${text("a")}\n\ufeff${text("b")}`, /line 2/],
    [
      "a line that is too long",
      `${text("a")}\n${text("b".repeat(200))}\n`,
      /line 2: got a line of more than 100 bytes/,
      { maxLineBytes: 100 },
    ],
    [
      "a last line that is too long",
      text("b".repeat(200)),
      /line 1: got a line of more than 100 bytes/,
      { maxLineBytes: 100, chunkBytes: 10 },
    ],
    ["too many rows", [1, 2, 3].map((n) => text(String(n))).join("\n"), /line 3: got more than 2 rows/, { maxRows: 2 }],
    ["deep nesting", `{"text":${"[".repeat(300_000)}${"]".repeat(300_000)}}`, /line 1/],
  ])("%s", async (_, content, message, options) => {
    const failure = readJsonlRows(fileOf(content), options);
    await expect(failure).rejects.toThrow(FormatError);
    await expect(failure).rejects.toThrow(message);
  });
});

test("P12: an endless line is refused after maxLineBytes, not read to its end", async () => {
  const file = fileOf(new Uint8Array(1 << 20).fill(0x61));
  await expect(readJsonlRows(file, { maxLineBytes: 10_000, chunkBytes: 1000 })).rejects.toThrow(/more than 10000 bytes/);
  expect(file.reads).toBeLessThan(15);
});
