// The deltas of one answer as blocks: a run of reasoning, a run of text, a call. In: batches. Out: what opens, goes on and closes, for the dialects that
// number their parts (Anthropic's messages, OpenAI's responses).

import type { Delta } from "../chat/delta-writer.ts";

export type Block = {
  readonly kind: "reasoning" | "text" | "call";
  readonly index: number;
  /** Of a call. */
  readonly name: string;
  /** All of it so far. */
  text: string;
};

export type BlockEvent =
  | { readonly type: "open"; readonly block: Block }
  | { readonly type: "delta"; readonly block: Block; readonly text: string }
  | { readonly type: "close"; readonly block: Block };

export class Blocks {
  readonly all: Block[] = [];
  #open: Block | undefined;

  push(deltas: readonly Delta[]): BlockEvent[] {
    const events: BlockEvent[] = [];
    for (const delta of deltas) {
      if (delta.kind === "call") this.#begin("call", delta.name, events);
      else {
        const kind = delta.kind === "content" ? "text" : delta.kind === "arguments" ? "call" : "reasoning";
        if (this.#open?.kind !== kind) this.#begin(kind, "", events);
        const block = this.#open as Block;
        block.text += delta.text;
        events.push({ type: "delta", block, text: delta.text });
      }
    }
    return events;
  }

  end(): BlockEvent[] {
    const events: BlockEvent[] = this.#open ? [{ type: "close", block: this.#open }] : [];
    this.#open = undefined;
    return events;
  }

  #begin(kind: Block["kind"], name: string, events: BlockEvent[]): void {
    events.push(...this.end());
    const block = { kind, index: this.all.length, name, text: "" };
    this.all.push(block);
    this.#open = block;
    events.push({ type: "open", block });
  }
}
