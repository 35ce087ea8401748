// Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", SC 2011). The whole state is (key, stream, counter): three small integers that a
// checkpoint stores exactly, so a resumed run continues bit for bit. `fork` gives independent streams by name.

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;

function rotateLeft(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

export type RandomState = { readonly key: number; readonly stream: number; readonly counter: number };

export class Random {
  #key: number;
  #stream: number;
  #counter: number;
  #spare = 0;

  /** `seed` and `stream` are taken modulo 2^32; `counter` counts 32-bit draws. */
  constructor(seed: number, stream = 0, counter = 0) {
    this.#key = seed >>> 0;
    this.#stream = stream >>> 0;
    this.#counter = counter;
    if (counter % 2 === 1) this.#block(Math.floor(counter / 2));
  }

  static from(state: RandomState): Random {
    return new Random(state.key, state.stream, state.counter);
  }

  get state(): RandomState {
    return { key: this.#key, stream: this.#stream, counter: this.#counter };
  }

  /** An independent generator; the same label always gives the same one. Does not advance this generator. */
  fork(label: string | number): Random {
    let hash = 0x811c9dc5 ^ this.#stream;
    for (const char of String(label)) hash = Math.imul(hash ^ (char.codePointAt(0) as number), 0x01000193);
    const mixed = new Random(this.#key, hash >>> 0);
    return new Random(mixed.uint32(), mixed.uint32());
  }

  /** Uniform integer in [0, 2^32). */
  uint32(): number {
    const index = this.#counter++;
    return index % 2 === 1 ? this.#spare : this.#block(index / 2);
  }

  /** Uniform in [0, 1), 32 bits of resolution. */
  uniform(): number {
    return this.uint32() / 4294967296;
  }

  /** Uniform integer in [0, n), 1 <= n <= 2^32; unbiased by rejection. */
  integer(n: number): number {
    const limit = 4294967296 - (4294967296 % n);
    for (;;) {
      const draw = this.uint32();
      if (draw < limit) return draw % n;
    }
  }

  /** Standard normal by Box-Muller; two draws each. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** One element of a non-empty list. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)] as T;
  }

  /** Fisher-Yates, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const held = items[i] as T;
      items[i] = items[j] as T;
      items[j] = held;
    }
    return items;
  }

  /** Computes block `n` (two draws), returns the first and keeps the second. */
  #block(n: number): number {
    const k0 = this.#key;
    const k1 = this.#stream;
    const k2 = k0 ^ k1 ^ 0x1bd11bda;
    const keys = [k0, k1, k2];
    let x0 = ((n >>> 0) + k0) | 0;
    let x1 = (Math.floor(n / 4294967296) + k1) | 0;
    for (let round = 0; round < 20; round++) {
      x0 = (x0 + x1) | 0;
      x1 = rotateLeft(x1, rotations[round % 8] as number) ^ x0;
      if (round % 4 === 3) {
        const injection = (round + 1) / 4;
        x0 = (x0 + (keys[injection % 3] as number)) | 0;
        x1 = (x1 + (keys[(injection + 1) % 3] as number) + injection) | 0;
      }
    }
    this.#spare = x1 >>> 0;
    return x0 >>> 0;
  }
}
