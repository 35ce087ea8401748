// Test helpers of the fuzz tests: mutations of bytes as fast-check draws them, and what a reader may do with a mutated file. GRADUALLY_FUZZ
// sets the number of files (2,000 in the normal suite), GRADUALLY_FUZZ_SEED the seed.

import fc from "fast-check";
import { ConfigError, FormatError } from "../../src/core/errors.ts";
import { concatBytes, type MemorySource } from "./memory-source.ts";

export const fuzzOptions = {
  numRuns: Number(process.env.GRADUALLY_FUZZ ?? 2000),
  seed: Number(process.env.GRADUALLY_FUZZ_SEED ?? 20260801),
};
/** Milliseconds for a whole fuzz test. */
export const fuzzTimeout = 60_000 + fuzzOptions.numRuns * 30;
export const allocationLimit = 2 ** 26;

/** A little-endian number inside a file that a mutation may replace. */
export type Field = { readonly at: number; readonly width: 1 | 2 | 4 | 8 };

/** Numbers at which sizes, counts and signs go wrong. */
const edges = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  13n,
  31n,
  32n,
  63n,
  64n,
  255n,
  256n,
  4096n,
  65_535n,
  65_536n,
  2n ** 20n,
  2n ** 26n,
  2n ** 29n,
  2n ** 30n,
];
for (const power of [31n, 32n, 52n, 53n, 60n, 61n, 62n, 63n, 64n]) for (const by of [-33n, -1n, 0n, 1n]) edges.push(2n ** power + by);

export type Mutation = (bytes: Uint8Array, fields: readonly Field[]) => Uint8Array;

/** Where to cut: a fraction of the length, so that it fits any file. */
const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const short = fc.uint8Array({ minLength: 1, maxLength: 24 });

function setNumber(bytes: Uint8Array, { at, width }: Field, value: bigint): Uint8Array {
  const changed = bytes.slice();
  for (let i = 0; i < width && at + i < changed.length; i++) changed[at + i] = Number((value >> BigInt(8 * i)) & 255n);
  return changed;
}

function numberAt(bytes: Uint8Array, { at, width }: Field): bigint {
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i] ?? 0);
  return value;
}

/** One change: mostly to a field, otherwise to bytes anywhere. */
export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(fc.nat(), fc.constantFrom(...edges)).map(
      ([which, value]): Mutation =>
        (bytes, fields) => {
          const field = fields[which % fields.length];
          return field ? setNumber(bytes, field, value) : bytes;
        },
    ),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.nat(), fc.constantFrom(-32n, -8n, -2n, -1n, 1n, 2n, 8n, 32n)).map(
      ([which, by]): Mutation =>
        (bytes, fields) => {
          const field = fields[which % fields.length];
          return field ? setNumber(bytes, field, numberAt(bytes, field) + by) : bytes;
        },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), fc.nat()).map(
      ([from, to]): Mutation =>
        (bytes, fields) => {
          const source = fields[from % fields.length];
          const target = fields[to % fields.length];
          return source && target ? setNumber(bytes, target, numberAt(bytes, source)) : bytes;
        },
    ),
  },
  {
    weight: 1,
    arbitrary: place.map(
      (at): Mutation =>
        (bytes) =>
          bytes.slice(0, Math.floor(at * bytes.length)),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(place, fc.nat(255)).map(
      ([at, value]): Mutation =>
        (bytes) => {
          const changed = bytes.slice();
          changed[Math.floor(at * bytes.length)] = value;
          return changed;
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, short).map(
      ([at, extra]): Mutation =>
        (bytes) => {
          const cut = Math.floor(at * bytes.length);
          return concatBytes(bytes.subarray(0, cut), extra, bytes.subarray(cut));
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, fc.nat(64)).map(
      ([at, length]): Mutation =>
        (bytes) => {
          const cut = Math.floor(at * bytes.length);
          return concatBytes(bytes.subarray(0, cut), bytes.subarray(cut + length));
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, fc.nat(256), place).map(
      ([from, length, to]): Mutation =>
        (bytes) => {
          const start = Math.floor(from * bytes.length);
          const cut = Math.floor(to * bytes.length);
          return concatBytes(bytes.subarray(0, cut), bytes.subarray(start, start + length), bytes.subarray(cut));
        },
    ),
  },
);

export const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 });

export function mutate(bytes: Uint8Array, fields: readonly Field[], changes: readonly Mutation[]): Uint8Array {
  return changes.reduce((changed, change) => change(changed, fields), bytes);
}

const watched = [
  "Uint8Array",
  "Int8Array",
  "Uint16Array",
  "Int16Array",
  "Uint32Array",
  "Int32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "ArrayBuffer",
  "Array",
] as const;

/** The largest typed array, buffer or list (in bytes, 8 for each entry of a list) made while `run` runs. Replaces the global constructors meanwhile. */
async function largestAllocation(run: () => Promise<void>): Promise<number> {
  let largest = 0;
  const globals = globalThis as unknown as Record<string, (new (...parts: unknown[]) => object) & { BYTES_PER_ELEMENT?: number }>;
  const originals = watched.map((name) => [name, globals[name]] as const);
  for (const [name, original] of originals) {
    if (!original) continue;
    const size = original.BYTES_PER_ELEMENT ?? (name === "Array" ? 8 : 1);
    globals[name] = new Proxy(original, {
      construct(target, parts, newTarget) {
        if (parts.length === 1 && typeof parts[0] === "number") largest = Math.max(largest, parts[0] * size);
        return Reflect.construct(target, parts, newTarget === globals[name] ? target : newTarget);
      },
    });
  }
  try {
    await run();
  } finally {
    for (const [name, original] of originals) if (original) globals[name] = original;
  }
  return largest;
}

/**
 * Runs a reader over hostile files. It may succeed, or throw a FormatError or ConfigError of one line; it may not read outside a file, read or
 * allocate more than 64 MB at once, or work longer than a second (of processor time, so that neighbours do not count). Returns whether it
 * succeeded; throws an Error that names the fault.
 */
export async function survives(sources: readonly MemorySource[], read: () => Promise<void>): Promise<boolean> {
  let failure: unknown;
  let accepted = false;
  const started = process.cpuUsage();
  const largest = await largestAllocation(async () => {
    try {
      await read();
      accepted = true;
    } catch (thrown) {
      failure = thrown;
    }
  });
  const { user, system } = process.cpuUsage(started);
  if (!accepted && !(failure instanceof FormatError || failure instanceof ConfigError))
    throw new Error("another error than it may throw", { cause: failure });
  if (failure instanceof Error && (/\p{Cc}/u.test(failure.message) || failure.message.length > 2000))
    throw new Error(`a message that is no plain line: ${JSON.stringify(failure.message)}`);
  if (user + system > 1e6) throw new Error(`${(user + system) / 1e6} seconds`);
  if (largest > allocationLimit) throw new Error(`an allocation of ${largest} bytes`);
  for (const source of sources) {
    if (source.outside > 0) throw new Error(`${source.outside} reads outside ${source.path}`);
    if (source.largestRead > allocationLimit) throw new Error(`a read of ${source.largestRead} bytes`);
  }
  return accepted;
}
