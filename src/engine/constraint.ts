// What may restrict the ids of one sequence, e.g. a grammar (chat/grammar.ts). The engine knows no grammar: before it chooses it waits until
// the mask of the next id is ready, lets the constraint ban ids in the row, and tells it every id that is emitted. While the sequence
// thinks, none of this happens: a constraint begins with the first id after thinking.

import type { HostArray } from "../core/dtype.ts";

export interface TokenConstraint {
  /** Called before each choice; the choice waits. Rejecting fails this request alone. */
  prepare(): Promise<void> | undefined;
  /** Sets what may not come next to -Infinity in logits[start .. start + width - 1]. False when nothing may come: the sequence ends. */
  mask(logits: HostArray, start: number, width: number): boolean;
  /** The next id, emitted. Not called for the id that stops. Must not throw: what is wrong is told by the next prepare. */
  accept(id: number): void;
}
