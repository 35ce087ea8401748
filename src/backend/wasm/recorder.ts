// Packs commands into lists in the shared memory, hands lists to the pool, and keeps the order between commands and what the host
// writes: while commands wait or run, host data goes through a staging block that no earlier command can touch. A tape is what was recorded between two moments,
// as words: it is recorded again by copying them.

import type { PackedType } from "../../core/dtype.ts";
import type { DeviceBuffer, View } from "../backend.ts";
import { type Command, commands } from "./commands.ts";
import { farRun } from "./far-calls.ts";
import type { Arena, SharedHeap } from "./memory.ts";
import type { Pool } from "./pool.ts";

export type WasmBuffer = DeviceBuffer & {
  address: number;
  readonly bytes: number;
  /** What it was taken from; undefined: the memory itself. */
  readonly arena?: Arena | undefined;
  /** Counts writes: a packed copy of a weight is current while this stands still. */
  version: number;
  packs: Pack[] | undefined;
  released: boolean;
  /** Of a packed weight in a far memory: which. */
  readonly far?: number;
  /** Of a packed weight: its type and sizes. */
  readonly packed?: { readonly type: PackedType; readonly matrices: number; readonly rows: number; readonly width: number };
};

/** Matrices [K, N] of a buffer from `offset` on, and how they lie there. */
export type PackShape = {
  readonly offset: number;
  readonly K: number;
  readonly N: number;
  readonly kStride: number;
  readonly nStride: number;
  readonly count: number;
  readonly bStride: number;
};

export type Pack = { readonly shape: PackShape; readonly address: number; readonly bytes: number; version: number };

export type CommandName = (typeof commands)[number]["name"];
type Value = View | number | boolean | undefined;

type StagingBlock = { readonly address: number; readonly bytes: number; busyUntil: number };

export const chunkBytes = 4 * 2 ** 20;
const chunkCount = 4;
const listWords = 16384;
/** A command in a command, at most. */
const largestCommand = 48;
/** A list is small when its work takes one thread less than two need to wake (0.2 ms) and to meet after each of its commands (some microseconds). */
const wakingWork = 4e6;
const meetingWork = 1e5;

/** Commands side by side in a list, and what `record` counted of them. */
type Stretch = { readonly words: Int32Array; readonly work: number; readonly commands: number };

/** Recorded commands. They may run again while every packed copy among what they read is current. */
export type Tape = {
  readonly stretches: readonly Stretch[];
  /** Buffers that they write and that outlive them. */
  readonly written: readonly WasmBuffer[];
  readonly copies: readonly { readonly source: WasmBuffer; readonly pack: Pack }[];
};

type OpenTape = {
  readonly stretches: Stretch[];
  readonly written: Set<WasmBuffer>;
  readonly copies: { readonly source: WasmBuffer; readonly pack: Pack }[];
  /** Where the stretch begins, and the counts there. */
  from: number;
  work: number;
  commands: number;
  /** Something was done that is not to be done again, or not from the same bytes. */
  isTorn: boolean;
};

type Field = { readonly key: string; readonly mode: "write" | "read" | "optional" | "float" | "integer" };
type Plan = { readonly number: number; readonly fields: readonly Field[]; readonly work: Command["work"] };

const modes = { "!": "write", "@": "read", "?": "optional", "~": "float" } as const;

const plans: ReadonlyMap<string, Plan> = new Map(
  commands.map(({ name, args, work }, number) => [
    name,
    {
      number,
      work,
      fields: args.map((text): Field => {
        const mode = modes[text[0] as keyof typeof modes];
        return mode ? { key: text.slice(1), mode } : { key: text, mode: "integer" };
      }),
    },
  ]),
);

export function addressOf(view: View): number {
  return (view.buffer as WasmBuffer).address + view.offset * 4;
}

export class Recorder {
  readonly #heap: SharedHeap;
  readonly #pool: Pool;
  /** List being written: address, and the next free word of it. */
  #list: number;
  #next = 0;
  /** Its work, in multiply-adds, and its commands. */
  #work = 0;
  #commands = 0;
  #lastSubmitted: number;
  readonly #resting: { address: number; busyUntil: number }[] = [];
  /** By the memory that they lie in. */
  readonly #staging = new Map<SharedHeap, StagingBlock[]>();
  readonly #chunks = new Map<SharedHeap, StagingBlock[]>();
  #tape: OpenTape | undefined;
  readonly #onTape: (() => void)[] = [];

  constructor(heap: SharedHeap, pool: Pool) {
    this.#heap = heap;
    this.#pool = pool;
    // Another recorder may have been here: a staging block is busy until a list after those.
    this.#lastSubmitted = pool.submitted;
    this.#list = heap.fresh(listWords * 4);
  }

  /** Appends one command; `args` holds a value for every argument of the table, by name (an absent integer is 0). */
  record(name: CommandName, args: object): void {
    if (this.#next + largestCommand > listWords) this.submit();
    this.#next += this.#pack(name, args, (this.#list >>> 2) + this.#next);
  }

  /** Appends one command for far memory `index`, whose addresses `args` holds; `place` is where the threads put it there (far-calls.ts). */
  recordFar(index: number, place: number, name: CommandName, args: object): void {
    if (this.#next + largestCommand > listWords) this.submit();
    const base = (this.#list >>> 2) + this.#next;
    const size = 5 + this.#pack(name, args, base + 5);
    this.#heap.words.set([(plans.get("far") as Plan).number, size * 4, index, farRun, place], base);
    this.#next += size;
    this.#work = Number.POSITIVE_INFINITY;
    this.tear();
  }

  /** Called where a tape begins and where it ends: nothing that was prepared on the other side may be used on this one. */
  onTape(forget: () => void): void {
    this.#onTape.push(forget);
  }

  startTape(): void {
    for (const forget of this.#onTape) forget();
    const counts = { from: this.#next, work: this.#work, commands: this.#commands };
    this.#tape = { stretches: [], written: new Set(), copies: [], ...counts, isTorn: false };
  }

  /** What was recorded since startTape; undefined where it cannot run again. */
  endTape(): Tape | undefined {
    const tape = this.#tape as OpenTape;
    this.#cut(tape);
    for (const forget of this.#onTape) forget();
    this.#tape = undefined;
    const { stretches, written, copies, isTorn } = tape;
    return isTorn ? undefined : { stretches, copies, written: [...written].filter(({ released }) => !released) };
  }

  /** The commands of a tape again. False, and nothing recorded, when one of them would read an old copy of a weight. */
  play({ stretches, written, copies }: Tape): boolean {
    if (!copies.every(({ source, pack }) => pack.version === source.version)) return false;
    for (const { words, work, commands } of stretches) {
      if (this.#next + words.length > listWords) this.submit();
      this.#heap.words.set(words, (this.#list >>> 2) + this.#next);
      this.#next += words.length;
      this.#work += work;
      this.#commands += commands;
    }
    for (const buffer of written) buffer.version++;
    return true;
  }

  /** Commands to come read a packed copy; `isNew`: and one before them has made it. */
  readsCopy(source: WasmBuffer, pack: Pack, isNew: boolean): void {
    this.#tape?.copies.push({ source, pack });
    if (isNew) this.tear();
  }

  /** What is being recorded cannot run again. */
  tear(): void {
    if (this.#tape) this.#tape.isTorn = true;
  }

  #cut(tape: OpenTape): void {
    const base = this.#list >>> 2;
    const words = this.#heap.words.slice(base + tape.from, base + this.#next);
    if (words.length > 0) tape.stretches.push({ words, work: this.#work - tape.work, commands: this.#commands - tape.commands });
    tape.from = 0;
    tape.work = 0;
    tape.commands = 0;
  }

  /** Writes a command at word `base`; returns its length in words. */
  #pack(name: CommandName, args: object, base: number): number {
    const { number, fields, work } = plans.get(name) as Plan;
    const words = this.#heap.words;
    const floats = this.#heap.floats;
    const values = args as Readonly<Record<string, Value>>;
    words[base] = number;
    words[base + 1] = (fields.length + 2) * 4;
    for (let i = 0; i < fields.length; i++) {
      const { key, mode } = fields[i] as Field;
      const value = values[key];
      const at = base + 2 + i;
      if (mode === "integer") words[at] = value as number;
      else if (mode === "float") floats[at] = value as number;
      else if (value === undefined) words[at] = 0;
      else {
        words[at] = addressOf(value as View);
        if (mode === "write") this.#wrote((value as View).buffer as WasmBuffer);
      }
    }
    this.#work += work.factors.reduce((product, key) => product * (values[key] as number), work.weight);
    this.#commands++;
    return fields.length + 2;
  }

  #wrote(buffer: WasmBuffer): void {
    buffer.version++;
    this.#tape?.written.add(buffer);
  }

  /** Hands what is recorded to the other threads, where they can begin without the caller. Whether they have it. */
  begin(): boolean {
    if (this.#next === 0 || !this.#pool.mayBegin(this.#isSmall, this.#work)) return false;
    this.submit(true, true);
    return true;
  }

  get #isSmall(): boolean {
    return this.#work < wakingWork + meetingWork * this.#commands;
  }

  /**
   * Starts what is recorded; returns the number to settle on. `isAwaited`: the caller has nothing else to do until it is done, or, with `comesLater`, will have
   * nothing else soon.
   */
  submit(isAwaited = false, comesLater = false): number {
    if (this.#next === 0) return this.#lastSubmitted;
    if (this.#tape) this.#cut(this.#tape);
    const work = isAwaited ? this.#work : Number.POSITIVE_INFINITY;
    this.#lastSubmitted = this.#pool.submit(this.#list, this.#list + this.#next * 4, this.#isSmall, work, comesLater);
    this.#work = 0;
    this.#commands = 0;
    this.#resting.push({ address: this.#list, busyUntil: this.#lastSubmitted });
    const oldest = this.#resting[0];
    this.#list =
      oldest && this.#pool.isDone(oldest.busyUntil) ? (this.#resting.shift()?.address as number) : this.#heap.fresh(listWords * 4);
    this.#next = 0;
    return this.#lastSubmitted;
  }

  /** True when no command is waiting or running: the host may touch buffers at once. */
  get idle(): boolean {
    return this.#next === 0 && this.#pool.isDone(this.#lastSubmitted);
  }

  /**
   * A block of chunkBytes for the stream of a load. What was recorded is submitted, so that the threads work while the host fills the next; when all blocks
   * are in use, the call waits for the oldest.
   */
  stageChunk(heap: SharedHeap = this.#heap): number {
    this.tear();
    this.submit();
    const chunks = blocksOf(this.#chunks, heap);
    const oldest = chunks.length < chunkCount ? undefined : chunks.shift();
    if (oldest) this.#pool.block(oldest.busyUntil);
    const address = oldest?.address ?? heap.fresh(chunkBytes);
    chunks.push({ address, bytes: chunkBytes, busyUntil: this.#lastSubmitted + 1 });
    return address;
  }

  /** A block of `bytes` that no command uses. It is free again once what is recorded up to the next submit is done. */
  stage(bytes: number, heap: SharedHeap = this.#heap): number {
    this.tear();
    const staging = blocksOf(this.#staging, heap);
    const index = staging.findIndex(
      (block) => block.bytes >= bytes && block.bytes <= 4 * bytes + 4096 && this.#pool.isDone(block.busyUntil),
    );
    let block = index >= 0 ? staging.splice(index, 1)[0] : undefined;
    if (!block) {
      const size = Math.max(4096, 2 ** Math.ceil(Math.log2(bytes)));
      block = { address: heap.fresh(size), bytes: size, busyUntil: 0 };
    }
    block.busyUntil = this.#lastSubmitted + 1;
    staging.push(block);
    return block.address;
  }
}

function blocksOf(blocks: Map<SharedHeap, StagingBlock[]>, heap: SharedHeap): StagingBlock[] {
  const found = blocks.get(heap) ?? [];
  blocks.set(heap, found);
  return found;
}
