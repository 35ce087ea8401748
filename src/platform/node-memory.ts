// How much memory this process may have. In: nothing. Out: bytes. In a container the limit of the control group counts, not the machine: Linux kills who goes
// beyond it, without a word.

import { totalmem } from "node:os";

/** What Node itself takes beside the memories of a device: code, heap, stacks (measured 90 to 150 MB). */
const ownBytes = 160 * 2 ** 20;
/** A device below this is of no use; then the system decides. */
const leastBytes = 64 * 2 ** 20;

/** The machine's memory, or the limit of this process's control group where that is less. */
export function memoryLimit(total = totalmem(), constrained = process.constrainedMemory()): number {
  // 0 where there is none or it is not known; without a limit some systems say 2^63.
  return constrained > 0 ? Math.min(total, constrained) : total;
}

/** What is left of it for a device. */
export function deviceMemory(limit = memoryLimit()): number {
  return Math.max(leastBytes, limit - ownBytes);
}
