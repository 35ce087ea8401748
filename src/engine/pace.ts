// How long steps take by their number of rows, as measured, and how many drafts that makes worth while: n drafts whose chances sum to g turn D ids
// in T(D) seconds into D + g ids in T(D + n). In: seconds of steps. Out: n. What was never measured is taken for as quick as fewer rows were, so
// it is tried. Every `retryEvery` choices the other answer is given once, because contexts grow and machines change. Nothing here
// changes an id: only time depends on it.

/** Steps of more rows are not sped up by drafts: they compute, rather than wait for memory. */
const mostRows = 128;
/** How much a measurement counts. */
const share = 0.08;
const retryEvery = 64;
/** Less than this is not worth the risk. */
const leastGain = 1.02;

export class Pace {
  /** Averages, of the logarithms; 0: not measured. */
  readonly #seconds = new Float64Array(mostRows + 1);
  readonly #counts = new Int32Array(mostRows + 1);
  #since = 0;

  /**
   * One measurement. The others move along by half of what it was off: a machine that is slower now is so for all numbers of rows. One that is off
   * by more than twice counts as twice, so that a pause of the machine changes little.
   */
  note(rows: number, seconds: number): void {
    if (rows > mostRows || !(seconds > 0)) return;
    const known = this.#seconds[rows] as number;
    const count = ++(this.#counts[rows] as number);
    if (count <= 2) {
      // What is done for the first time takes longer.
      this.#seconds[rows] = count === 1 ? seconds : Math.min(known, seconds);
      return;
    }
    const factor = Math.min(2, Math.max(0.5, seconds / known)) ** share;
    for (let r = 1; r <= mostRows; r++) (this.#seconds[r] as number) *= r === rows ? factor ** 2 : factor;
  }

  /** Of a step of so many rows; of the nearest fewer, or else more, where it was not measured; 0 where nothing was. */
  seconds(rows: number): number {
    for (let r = Math.min(rows, mostRows); r > 0; r--) if (this.#seconds[r]) return this.#seconds[r] as number;
    return this.#seconds.find((seconds) => seconds > 0) ?? 0;
  }

  /**
   * How many of the drafts, their chances in falling order, go with `decoding` rows, and how many ids a second the best number has beside
   * plain decoding. `overhead`: seconds that making drafts takes with so many rows, had anyhow.
   */
  choose(decoding: number, chances: readonly number[], overhead: (rows: number) => number = () => 0): { n: number; worth: number } {
    const most = Math.min(chances.length, mostRows - decoding);
    // Plain steps first: everything is measured by them.
    if (most <= 0 || (this.#counts[decoding] ?? 0) < 2) return { n: 0, worth: 1 };
    const timeOf = (rows: number) => this.seconds(rows) + overhead(rows);
    let expected = decoding;
    let n = 0;
    let rate = decoding / timeOf(decoding);
    for (const [i, chance] of chances.slice(0, most).entries()) {
      expected += chance;
      const other = expected / timeOf(decoding + i + 1);
      if (other <= (n === 0 ? leastGain : 1) * rate) continue;
      n = i + 1;
      rate = other;
    }
    const worth = (rate * this.seconds(decoding)) / decoding;
    if (++this.#since < retryEvery) return { n, worth };
    this.#since = 0;
    return { n: n > 0 ? 0 : Math.min(most, 4 * decoding), worth };
  }
}
