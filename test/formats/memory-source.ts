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

/** A file of `size` zeros but for the pieces, each at its offset. */
export function sparseSource(pieces: readonly (readonly [offset: number, bytes: Uint8Array])[], size: number): MemorySource {
  const source = memorySource(new Uint8Array(0), size);
  const { read } = source;
  source.read = async (offset, length) => {
    await read(offset, length);
    const whole = new Uint8Array(length);
    for (const [at, bytes] of pieces) {
      const from = Math.max(at, offset);
      const to = Math.min(at + bytes.length, offset + length);
      if (from < to) whole.set(bytes.subarray(from - at, to - at), from - offset);
    }
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
