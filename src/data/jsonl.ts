// Rows of a JSONL file: {"prompt", "completion"}, {"text"} or {"messages": [{"role", "content"}]}, one JSON object on each line.
// In: a FileSource, read in pieces. Out: typed rows, one at a time. Other keys of a row are ignored (datasets carry ids and sources).
// Unusual: strict where silence would cost a training run. Every error is a FormatError that names the line.

import { FormatError, quote } from "../core/errors.ts";
import type { FileSource } from "../core/host.ts";

export type Message = { readonly role: "system" | "user" | "assistant" | "tool"; readonly content: string };

export type DataRow =
  | { readonly kind: "completion"; readonly prompt: string; readonly completion: string }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "messages"; readonly messages: readonly Message[] };

export type JsonlOptions = {
  /** Longest line in bytes; default 1 MiB. */
  readonly maxLineBytes?: number;
  /** Most rows; default 10 million. */
  readonly maxRows?: number;
  /** Bytes read at a time; default 1 MiB. */
  readonly chunkBytes?: number;
};

const roles = new Set(["system", "user", "assistant", "tool"]);

/** Reads row after row. Blank lines and a byte order mark at the start are skipped; a file without any row is an error. */
export async function* readJsonl(file: FileSource, options: JsonlOptions = {}): AsyncGenerator<DataRow> {
  const { maxRows = 10_000_000 } = options;
  let rows = 0;
  for await (const { bytes, number } of readLines(file, options)) {
    const row = parseRow(file, bytes, number);
    if (row === undefined) continue;
    if (++rows > maxRows) {
      throw problem(file, number, `more than ${maxRows} rows`, `at most ${maxRows}`, "split the file or raise maxRows");
    }
    yield row;
  }
  if (rows === 0) {
    throw new FormatError({
      operation: `read ${quote(file.path, 300)}`,
      got: file.size === 0 ? "an empty file" : "only blank lines",
      expected: 'at least one row like {"prompt": "…", "completion": "…"}',
      cure: "write one JSON object on each line",
    });
  }
}

/** All rows at once. */
export async function readJsonlRows(file: FileSource, options: JsonlOptions = {}): Promise<DataRow[]> {
  const rows: DataRow[] = [];
  for await (const row of readJsonl(file, options)) rows.push(row);
  return rows;
}

/** Lines without their newline; numbers start at 1. Holds at most one chunk and one line in memory. */
async function* readLines(file: FileSource, options: JsonlOptions): AsyncGenerator<{ bytes: Uint8Array; number: number }> {
  const { maxLineBytes = 1 << 20, chunkBytes = 1 << 20 } = options;
  let number = 1;
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (part: Uint8Array) => {
    length += part.length;
    if (length > maxLineBytes) {
      throw problem(
        file,
        number,
        `a line of more than ${maxLineBytes} bytes`,
        "one JSON object on each line",
        "split the line or raise maxLineBytes",
      );
    }
    parts.push(part);
  };
  const flush = () => {
    const line = { bytes: concat(parts, length), number: number++ };
    parts = [];
    length = 0;
    return line;
  };
  for (let offset = 0; offset < file.size; offset += chunkBytes) {
    const chunk = await file.read(offset, Math.min(chunkBytes, file.size - offset));
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      take(chunk.subarray(start, end));
      yield flush();
      start = end + 1;
    }
    take(chunk.slice(start));
  }
  if (length > 0) yield flush();
}

function parseRow(file: FileSource, bytes: Uint8Array, number: number): DataRow | undefined {
  let text: string;
  try {
    // Only the very start of the file may carry a byte order mark; elsewhere JSON.parse refuses it.
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: number !== 1 }).decode(bytes);
  } catch (cause) {
    throw problem(file, number, "bytes that are not UTF-8", "UTF-8 text", "convert the file to UTF-8", cause);
  }
  if (/^[ \t\r]*$/.test(text)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw problem(file, number, quote(text, 60), "one JSON object", "mend the line (every row is on one line, newlines as \\n)", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw problem(file, number, quote(text, 60), "a JSON object", 'write {"text": "…"} or {"prompt": "…", "completion": "…"}');
  }
  return rowOf(file, value as Record<string, unknown>, number);
}

function rowOf(file: FileSource, value: Record<string, unknown>, number: number): DataRow {
  const has = (key: string) => Object.hasOwn(value, key);
  const kinds = [has("prompt") || has("completion"), has("text"), has("messages")].filter(Boolean).length;
  if (kinds !== 1) {
    const keys = Object.keys(value).map((key) => quote(key, 20));
    throw problem(
      file,
      number,
      keys.length === 0 ? "an object without keys" : `the keys ${keys.slice(0, 6).join(", ")}`,
      'either "prompt" and "completion", or "text", or "messages"',
      kinds === 0 ? "rename the keys" : "keep one of the three forms",
    );
  }
  if (has("text")) return { kind: "text", text: textOf(file, value, "text", number) };
  if (has("messages")) return { kind: "messages", messages: messagesOf(file, value.messages, number) };
  return { kind: "completion", prompt: textOf(file, value, "prompt", number), completion: textOf(file, value, "completion", number) };
}

function messagesOf(file: FileSource, value: unknown, number: number): Message[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw problem(file, number, `messages: ${show(value)}`, "a list with at least one message", "mend the row");
  }
  return value.map((message: unknown, i): Message => {
    const where = `messages[${i}]`;
    if (typeof message !== "object" || message === null) {
      throw problem(file, number, `${where}: ${show(message)}`, 'an object with "role" and "content"', "mend the row");
    }
    const { role } = message as { role?: unknown };
    if (typeof role !== "string" || !roles.has(role)) {
      throw problem(file, number, `${where}.role: ${show(role)}`, "system, user, assistant or tool", "rename the role");
    }
    const content = textOf(file, message as Record<string, unknown>, "content", number, `${where}.`);
    return { role: role as Message["role"], content };
  });
}

function textOf(file: FileSource, from: Record<string, unknown>, key: string, number: number, where = ""): string {
  const value = Object.hasOwn(from, key) ? from[key] : undefined;
  if (typeof value !== "string") throw problem(file, number, `${where}${key}: ${show(value)}`, "a string", "mend the row");
  if (!value.isWellFormed()) {
    throw problem(file, number, `${where}${key} with half a character (a lone surrogate)`, "whole characters", "clean the text");
  }
  return value;
}

/** Lists and objects are only named: a deeply nested one would overflow the stack of JSON.stringify. */
function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? `a list of ${value.length}` : "an object";
  return typeof value === "string" ? quote(value, 60) : String(value);
}

function problem(file: FileSource, line: number, got: string, expected: string, cure: string, cause?: unknown): FormatError {
  return new FormatError(
    { operation: `read ${quote(file.path, 300)} line ${line}`, got, expected, cure },
    cause === undefined ? undefined : { cause },
  );
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0] as Uint8Array;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
