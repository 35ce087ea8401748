// What a model takes in memory, and what to say when that is too much: what would fit. In: bytes of weights and cache, and what there is. Out: a DeviceError, or
// nothing. The same words in Node and in browsers.

import type { DeviceName } from "../backend/open.ts";
import { DeviceError, quote } from "../core/errors.ts";
import type { Host } from "../core/host.ts";

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e10 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Tokens: less is of little use. */
const leastContext = 256;

export type MemoryNeeds = {
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly contextLength: number;
  readonly parallel: number;
};

export type Room = {
  /** What has so much, in words. */
  readonly place: string;
  /** Bytes for weights and cache together. */
  readonly most: number;
  /** What else may help. */
  readonly close: string;
};

/** The refusal of a model that is too large, with the context or the weights that would fit. */
export function tooLarge(name: string, needs: MemoryNeeds, { place, most, close }: Room, cause?: unknown): DeviceError {
  const { weightBytes, cacheBytes, contextLength, parallel } = needs;
  const tokens = Math.floor(((most - weightBytes) * contextLength * parallel) / Math.max(cacheBytes, 1));
  const each = Math.floor(tokens / parallel);
  const fitting = [
    ...(each >= leastContext ? [`contextLength: ${each}`] : []),
    ...(parallel > 1 && tokens >= leastContext
      ? [`parallel: ${Math.max(1, Math.floor(tokens / contextLength))} with contextLength: ${Math.min(contextLength, tokens)}`]
      : []),
  ];
  const smaller = `choose a model with less than ${megabytes(most * 0.9)} of weights, or the same one of fewer bits (q4_0 takes a quarter of f16)`;
  const cure = `${fitting.length > 0 ? `${fitting.join(", or ")} would fit` : smaller}; ${close}`;
  return new DeviceError(
    {
      operation: `load ${quote(name)} into memory`,
      got: `${megabytes(weightBytes)} of weights and ${megabytes(cacheBytes)} of cache (contextLength ${contextLength}, parallel ${parallel})`,
      expected: `what fits ${place}`,
      cure,
    },
    { cause },
  );
}

/** The host, with the memory that a model on `device` may take: a GPU has its own, and nobody says how much until it is full. */
export function withMemoryOf(device: DeviceName, host: Host): Host {
  return device === "webgpu" ? { ...host, memoryBytes: undefined } : host;
}

/** Throws DeviceError when weights and cache surely do not fit what the host may take. Nothing is read or allocated before. */
export function checkFits(host: Host, path: string, needs: MemoryNeeds): void {
  const most = host.memoryBytes;
  if (most === undefined || needs.weightBytes + needs.cacheBytes <= most) return;
  const place = `${megabytes(most)}, which is what a model may take here`;
  throw tooLarge(host.files.baseName(path), needs, { place, most, close: "or use a machine, or a container, with more memory" });
}
