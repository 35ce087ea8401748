// How attention is cut into units of work, and the scratch that a unit needs. In: the contract's arguments. Out: commands. Three kernels: one query after the other
// (assembly/attention.ts), queries that share keys (attention-groups.ts), and a cache of q8_0 (attention-bytes.ts).

import { type CacheType, cacheTypes } from "../../core/dtype.ts";
import type { Kernels } from "../backend.ts";
import type { SharedHeap } from "./memory.ts";
import type { DotKind } from "./packed.ts";
import type { Recorder } from "./recorder.ts";

/** A cache's type as the kernels number it. */
export const narrow = (type: CacheType = "f32") => cacheTypes.indexOf(type);

/** Scores of one thread's unit of attention, and rows of keys or values that it has open at once, in bytes: about what its caches hold. */
const scoreBytes = 2 ** 20;
const openedBytes = 2 ** 15;
/** Of q8_0: sums of one key head that a unit keeps, results of chunks of all rows at most, keys of a chunk (as in assembly/attention-bytes-merge.ts). */
const sumBytes = 2 ** 16;
const recordsBytes = 2 ** 25;
const chunkKeys = 1024;
const allChunks = 2 ** 20;
/** So few rows share a key that reading it counts: then all key heads of a row together. */
const fewRows = 64;

type Attention = Kernels["attention"];
type WithScratch = (bytes: number, body: (scratch: number, scratchStride: number) => void) => void;

/** `columns` 16: the wide build. */
export function wasmAttention(
  { heap, recorder, dots }: { readonly heap: SharedHeap; readonly recorder: Recorder; readonly dots: DotKind },
  withScratch: WithScratch,
  threads: number,
  columns: 8 | 16,
): Attention {
  const record = recorder.record.bind(recorder);
  const way = ["unsigned", "signed"].indexOf(dots);

  /** Queries that a thread takes together, and how: more share the opening of narrow rows, fewer leave work for every thread. */
  function inGroups(a: Parameters<Attention>[0], keys: number): void {
    const { R, H, G, D, Dv } = a;
    const perGroup = H / G;
    const most = Math.max(8, Math.min(32, 8 * Math.floor(scoreBytes / (32 * (keys + 8)))));
    const units = (rows: number, heads: number) => Math.ceil(R / rows) * G * Math.ceil(perGroup / heads);
    let headsPerUnit = Math.min(perGroup, most);
    let rowsPerUnit = Math.max(1, Math.min(R, Math.floor(most / perGroup)));
    while (rowsPerUnit > 1 && units(rowsPerUnit, headsPerUnit) < 4 * threads) rowsPerUnit = Math.ceil(rowsPerUnit / 2);
    while (headsPerUnit > 8 && units(rowsPerUnit, headsPerUnit) < threads) headsPerUnit = 8 * Math.ceil(headsPerUnit / 16);
    const room = Math.ceil((rowsPerUnit * headsPerUnit) / 8) * 8;
    const width = Math.max(D, Dv);
    const runKeys = Math.max(12, Math.min(64, Math.floor(openedBytes / (4 * Math.max(width, 1)))));
    const floats = room * (D + Dv + 1 + keys + 8) + 64 + runKeys * (1 + width);
    withScratch(floats * 4, (scratch, scratchStride) =>
      record("attentionGroups", {
        ...a,
        type: narrow(a.cacheType),
        rowsPerUnit,
        headsPerUnit,
        runKeys,
        wide: columns === 16,
        scratch,
        scratchStride,
      }),
    );
  }

  /** Many rows: each unit a key head and all keys. Few: all key heads, which lie side by side in a row, over some chunks of keys; then the chunks' results are merged. */
  function inBytes(a: Parameters<Attention>[0], keys: number): void {
    const { R, H, G, D, Dv, kHeadStride, vHeadStride } = a;
    const perGroup = H / G;
    const kBlocks = blocksTouched(D, kHeadStride);
    const vBlocks = blocksTouched(Dv, vHeadStride);
    const chunks = Math.max(1, Math.ceil(keys / chunkKeys));
    const recordBytes = 16 + 128 * vBlocks;
    const wanted = 4 * threads;
    const mostQueries = Math.max(8, Math.floor(sumBytes / (128 * vBlocks)));
    let rowsPerUnit = Math.max(1, Math.min(R, Math.floor(mostQueries / perGroup)));
    const inChunks = R * H * chunks * recordBytes;
    let groupsPerUnit = 1;
    let chunksPerUnit = allChunks;
    let records = 0;
    if (chunks > 1 && inChunks <= recordsBytes && (R <= fewRows || Math.ceil(R / rowsPerUnit) * G < wanted)) {
      const parts = Math.ceil(R / rowsPerUnit) * chunks;
      groupsPerUnit = Math.max(1, Math.min(G, Math.floor((parts * G) / wanted)));
      chunksPerUnit = Math.max(1, Math.floor(parts / wanted));
      records = inChunks;
    } else while (rowsPerUnit > 1 && Math.ceil(R / rowsPerUnit) * G < wanted) rowsPerUnit = Math.ceil(rowsPerUnit / 2);
    const room = Math.ceil((rowsPerUnit * perGroup) / 8);
    const stripBytes = kBlocks * (way < 0 ? 608 : 352);
    const own = records > 0 ? 0 : room * 8 * recordBytes;
    // In this order: constants, what is looked at ahead, offsets of rows of two tiles, a tile, counts, then strips, states and sums of each key head, then records.
    const tile = 2144 + Math.max(128 * kBlocks, 2208 * vBlocks);
    const bytes = 32 + 192 + 512 + tile + room * 32 + groupsPerUnit * (room * (stripBytes + 128 + 1024 * vBlocks) + own);
    const address = records > 0 ? heap.allocate(records) : 0;
    withScratch(bytes, (scratch, scratchStride) => {
      const args = {
        ...a,
        rowsPerUnit,
        groupsPerUnit,
        chunksPerUnit,
        way: way < 0 ? 2 : way,
        kBlocks,
        vBlocks,
        records: address,
        scratch,
        scratchStride,
      };
      record("attentionBytes", args);
      if (records > 0) record("attentionBytesMerge", args);
    });
    if (records > 0) heap.release(address, records);
  }

  return (a) => {
    const keys = a.pages ? (a.tableStride as number) * (a.pageSize as number) : a.S;
    if (a.cacheType === "q8_0") return inBytes(a, keys);
    if (a.H > a.G || narrow(a.cacheType) > 0) return inGroups(a, keys);
    const panelKeys = panelKeysFor(a.R, keys);
    withScratch((panelKeys * a.D + keys + 8) * 4, (scratch, scratchStride) =>
      record("attention", { ...a, panelKeys, scratch, scratchStride }),
    );
  };
}

/** Keys that attention packs at most for one run of queries (whole panels of 8): some documents long, about a megabyte. */
export const panelKeysFor = (R: number, keys: number) => (R < 4 ? 0 : Math.min(1024, Math.ceil(keys / 8) * 8));

/** Blocks of 32 numbers of a row that D numbers of a head lie in at most. */
function blocksTouched(D: number, headStride: number): number {
  return headStride % 32 === 0 ? Math.ceil(D / 32) : Math.ceil((D + 31) / 32);
}
