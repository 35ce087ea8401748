// Test helpers: a FileSource over bytes in memory that counts what was read, and raw safetensors files made by hand.

import { FormatError } from "../../src/core/errors.ts";
import type { FileSource } from "../../src/core/host.ts";

export function memorySource(bytes: Uint8Array, size = bytes.length): FileSource & { largestRead: number } {
  const source = {
    path: "test.safetensors",
    size,
    largestRead: 0,
    async read(offset: number, length: number): Promise<Uint8Array> {
      source.largestRead = Math.max(source.largestRead, length);
      if (offset + length > size) throw new FormatError({ operation: "read", got: "too much", expected: "less", cure: "none" });
      return bytes.slice(offset, offset + length);
    },
    async close(): Promise<void> {},
  };
  return source;
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** A file with this header (text or bytes), this announced length, and `data` zero bytes. */
export function handMade(header: string | Uint8Array, data: number | Uint8Array = 0, announced?: bigint): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, announced ?? BigInt(json.length), true);
  return concatBytes(prefix, json, typeof data === "number" ? new Uint8Array(data) : data);
}
