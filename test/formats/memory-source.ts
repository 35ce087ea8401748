// Test helpers: a FileSource over bytes in memory that counts what was read, and raw safetensors files made by hand.

import { FormatError } from "../../src/core/errors.ts";
import type { FileSource } from "../../src/core/host.ts";

export type MemorySource = FileSource & {
  /** Most bytes of one read, and of all. */
  largestRead: number;
  bytesRead: number;
  /** Reads that asked for bytes outside the file. */
  outside: number;
};

export function memorySource(bytes: Uint8Array, size = bytes.length): MemorySource {
  const source = {
    path: "test.safetensors",
    size,
    largestRead: 0,
    bytesRead: 0,
    outside: 0,
    async read(offset: number, length: number): Promise<Uint8Array> {
      if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
        source.outside++;
        throw new FormatError({ operation: "read", got: "too much", expected: "less", cure: "none" });
      }
      source.largestRead = Math.max(source.largestRead, length);
      source.bytesRead += length;
      return bytes.slice(offset, offset + length);
    },
    async close(): Promise<void> {},
  };
  return source;
}

/** A file of `size` bytes that begins with `bytes` and goes on with zeros. */
export function sparseSource(bytes: Uint8Array, size: number): MemorySource {
  const source = memorySource(bytes, size);
  const { read } = source;
  source.read = async (offset, length) => {
    const start = await read(offset, length);
    const whole = new Uint8Array(length);
    whole.set(start);
    return whole;
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
