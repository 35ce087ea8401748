// The numbers of one step, as the model wants them. In: a plan. Out: i32 arrays one after the other in one buffer, so that a step uploads once.
// Rows are flat; nothing is padded but the page table, which is as wide as the longest sequence of the step, or a little wider, so that many steps have one layout.

import type { StepPlan } from "./scheduler.ts";

/** Lengths of the parts, in the order in which they lie in the buffer. */
export type Layout = {
  /** R each: ids, positions, cache rows, rows of the page table. */
  readonly R: number;
  /** M: rows that want logits; at least 1, because a step in which nobody chooses asks for those of row 0 and reads nothing. */
  readonly M: number;
  /** The page table is [tables, width]. */
  readonly tables: number;
  readonly width: number;
  /** Twice: cache rows to copy from, and to. */
  readonly copies: number;
  readonly length: number;
};

export function layoutOf({ fed, outputs, rows }: StepPlan): Layout {
  let width = 1;
  let copies = 0;
  for (const { pages, copy } of fed) {
    if (pages.length > width) width = pages.length;
    if (copy) copies += copy.rows;
  }
  const M = Math.max(1, outputs);
  width = roundWidth(width);
  return { R: rows, M, tables: fed.length, width, copies, length: 4 * rows + M + fed.length * width + 2 * copies };
}

/** Up to the next of four sizes between a power of two and the next. */
function roundWidth(width: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(width)) - 2);
  return Math.ceil(width / step) * step;
}

/** Fills the first `layout.length` numbers of `out`. Table entries beyond a sequence's pages keep what they held: no key lies there. */
export function fillStep({ fed }: StepPlan, { R, M, width, copies, tables }: Layout, pageSize: number, out: Int32Array): void {
  const output = 4 * R;
  const table = output + M;
  const from = table + tables * width;
  out[output] = 0;
  let row = 0;
  let outputs = 0;
  let copied = 0;
  for (const [slot, { ids, drafts, cached, feed, pages, copy }] of fed.entries()) {
    for (let position = cached; position < cached + feed; position++, row++) {
      out[row] = (ids[position] ?? drafts[position - ids.length]) as number;
      out[R + row] = position;
      out[2 * R + row] = rowOf(pages, position, pageSize);
      out[3 * R + row] = slot;
      if (position >= ids.length - 1) out[output + outputs++] = row;
    }
    for (let i = 0; i < pages.length; i++) out[table + slot * width + i] = pages[i] as number;
    for (let i = 0; copy && i < copy.rows; i++, copied++) {
      out[from + copied] = copy.from * pageSize + i;
      out[from + copies + copied] = copy.to * pageSize + i;
    }
  }
}

function rowOf(pages: readonly number[], position: number, pageSize: number): number {
  return (pages[Math.floor(position / pageSize)] as number) * pageSize + (position % pageSize);
}
