// How packed weights lie in GPU memory, and the host's way from a file's blocks to it. A weight is a few planes of 32-bit words in one buffer, each with the rows of all
// matrices one after the other, so that neighbours in a row are neighbours in memory; the bits are those of the file, moved to where a shader gets four
// codes at once (packed-codes.ts reads them). For each 32 weights: `codes`: 8 words of bytes, or 4 words of nibbles, word j with weights 4j.. low and 16 + 4j.. high;
// `pairs`: 2 words of 2-bit numbers, word h with weights 16h + 4j.. at bit 2j of the bytes; `bits`: 1 word, weights 4j.. at bit j of the bytes. `scales` holds scales and minimums
// as the file has them. The 16-bit floats have `codes` alone, two weights a word.

import type { PackedType } from "../../core/dtype.ts";

export type PlaneName = "codes" | "pairs" | "bits" | "scales";

/** Words of a row of each plane that a type has, for `width` weights; and how a block of the file is spread over them. */
type Layout = {
  readonly words: Readonly<Partial<Record<PlaneName, (width: number) => number>>>;
  /** Block `block` of a row: its bytes begin at `at`; `to` holds the planes and where the row begins in each. Absent where rows of codes lie as in the file. */
  readonly spread?: (from: DataView, at: number, block: number, to: Targets) => void;
};

/** Words of a plane, and where its row begins. */
export type Target = { readonly words: Uint32Array; row: number };
export type Targets = Readonly<Record<PlaneName, Target>>;

const blocksOf = (width: number) => width / 32;
const nibbles = (width: number) => 4 * blocksOf(width);
const pairs = (width: number) => 2 * blocksOf(width);
/** A word for each so many weights; where a row ends in the middle of a word, the next begins a new one. */
const each = (weights: number, words = 1) => {
  return (width: number) => words * Math.ceil(width / weights);
};

/** Places in a block of 32 weights: codes, where they are nibbles or bytes; the word of fifth bits; the scale of 16 bits, or with `minimum` two of them. */
type SmallBlock = { readonly codes: number; readonly codeWords?: number; readonly fifth?: number; readonly minimum?: boolean };

function small({ codes, codeWords = 4, fifth, minimum = false }: SmallBlock): Layout {
  const planes = { codes: each(32, codeWords), scales: each(minimum ? 32 : 64) };
  return {
    words: fifth === undefined ? planes : { ...planes, bits: blocksOf },
    spread: (from, at, block, to) => {
      copyWords(from, at + codes, codeWords, to.codes, codeWords * block);
      if (fifth !== undefined) to.bits.words[to.bits.row + block] = spreadBits(from.getUint32(at + fifth, true));
      if (minimum) copyWords(from, at, 1, to.scales, block);
      else put(to.scales, block, 16, from.getUint16(at, true));
    },
  };
}

/** Places in a block of 256 weights; words of the plane of scales. */
type LargeBlock = {
  readonly nibbles?: (run: number) => { readonly at: number; readonly shift: number };
  readonly pairs?: number;
  readonly bits?: number;
  readonly scaleWords: number;
  readonly scales: (from: DataView, at: number, to: Target, first: number) => void;
};

function large({ nibbles: nibblesAt, pairs: pairsAt, bits: bitsAt, scaleWords, scales }: LargeBlock): Layout {
  return {
    words: {
      ...(nibblesAt && { codes: nibbles }),
      ...(pairsAt !== undefined && { pairs }),
      ...(bitsAt !== undefined && { bits: blocksOf }),
      scales: each(256, scaleWords),
    },
    spread: (from, at, block, to) => {
      for (let run = 0; run < 8; run++) {
        const place = 8 * block + run;
        if (nibblesAt) {
          const { at: byte, shift } = nibblesAt(run);
          gatherNibbles(from, at + byte, shift, to.codes, 4 * place);
        }
        // Of each 128 weights, 32 after 32 share bytes.
        if (pairsAt !== undefined) gatherPairs(from, at + pairsAt + 32 * (run >> 2), 2 * (run & 3), to.pairs, 2 * place);
        if (bitsAt !== undefined) gatherBits(from, at + bitsAt, run, to.bits, place);
      }
      scales(from, at, to.scales, scaleWords * block);
    },
  };
}

const half: Layout = { words: { codes: each(2) } };

/** q4_k and q5_k: of each 64 weights, 32 low nibbles, then 32 high ones. */
const nibblesOf64 = (first: number) => (run: number) => ({ at: first + 32 * (run >> 1), shift: 4 * (run & 1) });
/** Scale, minimum, 12 bytes of 6-bit numbers. */
const header = (from: DataView, at: number, to: Target, first: number) => copyWords(from, at, 4, to, first);

const layouts: Readonly<Record<PackedType, Layout>> = {
  f16: half,
  bf16: half,
  q8_0: small({ codes: 2, codeWords: 8 }),
  q4_0: small({ codes: 2 }),
  q4_1: small({ codes: 4, minimum: true }),
  q5_0: small({ codes: 6, fifth: 2 }),
  q5_1: small({ codes: 8, fifth: 4, minimum: true }),
  iq4_nl: small({ codes: 2 }),
  mxfp4: {
    words: { codes: nibbles, scales: each(128) },
    spread: (from, at, block, to) => {
      copyWords(from, at + 1, 4, to.codes, 4 * block);
      put(to.scales, block, 8, from.getUint8(at));
    },
  },
  q2_k: large({
    pairs: 16,
    scaleWords: 5,
    scales: (from, at, to, first) => {
      copyWords(from, at, 4, to, first);
      copyWords(from, at + 80, 1, to, first + 4);
    },
  }),
  q3_k: large({
    pairs: 32,
    bits: 0,
    scaleWords: 4,
    scales: (from, at, to, first) => {
      copyWords(from, at + 96, 3, to, first);
      to.words[to.row + first + 3] = from.getUint16(at + 108, true);
    },
  }),
  q4_k: large({ nibbles: nibblesOf64(16), scaleWords: 4, scales: header }),
  q5_k: large({ nibbles: nibblesOf64(48), bits: 16, scaleWords: 4, scales: header }),
  q6_k: large({
    nibbles: (run) => ({ at: 64 * (run >> 2) + 32 * (run & 1), shift: 2 * (run & 2) }),
    pairs: 128,
    scaleWords: 5,
    scales: (from, at, to, first) => {
      copyWords(from, at + 192, 4, to, first);
      to.words[to.row + first + 4] = from.getUint16(at + 208, true);
    },
  }),
  iq4_xs: {
    words: { codes: nibbles, scales: each(256, 2) },
    spread: (from, at, block, to) => {
      copyWords(from, at, 2, to.scales, 2 * block);
      copyWords(from, at + 8, 32, to.codes, 32 * block);
    },
  },
};

/** In the order in which they lie: those that are read four words at a time begin at multiples of four. */
const order: readonly PlaneName[] = ["codes", "scales", "pairs", "bits"];

export type Plane = { readonly name: PlaneName; readonly rowWords: number; readonly firstWord: number };

/** The planes of `rows` rows of `width` weights, whole blocks, and the words of all. */
export function planesOf(type: PackedType, rows: number, width: number): { readonly planes: readonly Plane[]; readonly words: number } {
  let words = 0;
  const planes: Plane[] = [];
  for (const name of order) {
    const rowWords = layouts[type].words[name]?.(width);
    if (rowWords === undefined) continue;
    planes.push({ name, rowWords, firstWord: words });
    words += 4 * Math.ceil((rows * rowWords) / 4);
  }
  return { planes, words };
}

/** Rows as they lie in a file, `blocks` blocks of `blockBytes` each, to words of the planes (those the type lacks are empty). `bytes` are whole rows. */
export function spreadRows(type: PackedType, planes: readonly Plane[], bytes: Uint8Array, blocks: number, blockBytes: number): Targets {
  const rows = bytes.length / (blocks * blockBytes);
  const rowWords = (wanted: PlaneName) => planes.find(({ name }) => name === wanted)?.rowWords ?? 0;
  const target = (name: PlaneName): Target => ({ words: new Uint32Array(rows * rowWords(name)), row: 0 });
  const to: Targets = { codes: target("codes"), pairs: target("pairs"), bits: target("bits"), scales: target("scales") };
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { spread } = layouts[type];
  const rowBytes = blocks * blockBytes;
  const codes = new Uint8Array(to.codes.words.buffer);
  for (let row = 0, at = 0; row < rows; row++, at += rowBytes) {
    if (spread) for (let block = 0; block < blocks; block++) spread(from, at + block * blockBytes, block, to);
    else codes.set(bytes.subarray(at, at + rowBytes), to.codes.row * 4);
    for (const { name, rowWords } of planes) to[name].row += rowWords;
  }
  return to;
}

function copyWords(from: DataView, at: number, count: number, { words, row }: Target, first: number): void {
  for (let i = 0; i < count; i++) words[row + first + i] = from.getUint32(at + 4 * i, true);
}

/** Number `index` of numbers of `bits` bits in words that hold zeros there. */
function put({ words, row }: Target, index: number, bits: number, value: number): void {
  const word = row + Math.floor((index * bits) / 32);
  words[word] = (words[word] as number) | (value << ((index * bits) % 32));
}

/** 32 bytes with a nibble each, at bit `shift`. */
function gatherNibbles(from: DataView, at: number, shift: number, { words, row }: Target, first: number): void {
  for (let j = 0; j < 4; j++) {
    const low = (from.getUint32(at + 4 * j, true) >>> shift) & 0x0f0f0f0f;
    const high = (from.getUint32(at + 16 + 4 * j, true) >>> shift) & 0x0f0f0f0f;
    words[row + first + j] = low | (high << 4);
  }
}

/** 32 bytes with a 2-bit number each, at bit `shift`. */
function gatherPairs(from: DataView, at: number, shift: number, { words, row }: Target, first: number): void {
  for (let h = 0; h < 2; h++) {
    let word = 0;
    for (let j = 0; j < 4; j++) word |= ((from.getUint32(at + 16 * h + 4 * j, true) >>> shift) & 0x03030303) << (2 * j);
    words[row + first + h] = word;
  }
}

/** 32 bytes with a bit each, at bit `shift`. */
function gatherBits(from: DataView, at: number, shift: number, { words, row }: Target, first: number): void {
  let word = 0;
  for (let j = 0; j < 8; j++) word |= ((from.getUint32(at + 4 * j, true) >>> shift) & 0x01010101) << j;
  words[row + first] = word;
}

/** A word with weight i at bit i. */
function spreadBits(bits: number): number {
  let word = 0;
  // Four bits to four bytes: the copies that the product adds do not overlap.
  for (let j = 0; j < 8; j++) word |= (Math.imul((bits >>> (4 * j)) & 15, 0x00204081) & 0x01010101) << j;
  return word;
}
