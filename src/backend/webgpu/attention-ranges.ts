// Which keys a row sees, for attention and its gradients. In: first, last, slot as the host or another kernel wrote them. Out: for each row three numbers, bounded:
// its first key, how many it sees, where its page table begins. Kernels read them instead of the arrays, of which there would be too many to bind.

import type { Kernels, View } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

type AttentionArgs = Parameters<Kernels["attention"]>[0];

export const rangeWords = 3;

/** How many keys a row can have. */
export function mostKeys({ S, pages, tables = 0, tableStride = 0, pageSize = 0 }: Partial<AttentionArgs> & { readonly S: number }): number {
  if (!pages) return S;
  return S < pageSize || tables === 0 ? 0 : tableStride * pageSize;
}

/** Fills `ranges`, an i32 array of 3·R. */
export function findRanges(
  recorder: Recorder,
  ranges: View,
  args: Pick<AttentionArgs, "first" | "last" | "R" | "S" | "pages" | "slot" | "tables" | "tableStride" | "pageSize">,
): void {
  const { first, last, slot, R, tables = 0, tableStride = 0 } = args;
  recorder.run({
    kernel: "attention ranges",
    operands: { ranges: write(ranges, "i32"), first: read(first, "i32"), last: read(last, "i32"), slot: slot && read(slot, "i32") },
    integers: { most: mostKeys(args), tables, tableStride },
    invocations: R,
    text: ({ ranges, first, last, slot }) => `
  let most = i32(p.most);
  let begin = clamp(${first("i")}, 0, most - 1);
  let end = clamp(${last("i")}, 0, most - 1) + 1;
  ${ranges("3 * i")} = begin;
  ${ranges("3 * i + 1")} = select(end - begin, 0, ${first("i")} > ${last("i")} || most == 0);
  ${ranges("3 * i + 2")} = ${slot ? `clamp(${slot("i")}, 0, i32(p.tables) - 1) * i32(p.tableStride)` : "0"};`,
  });
}
