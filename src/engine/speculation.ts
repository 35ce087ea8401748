// Speculation without loss: a decoding sequence is fed, beside its last id, drafts of those that may follow, and each of these rows chooses an id
// exactly as a plain step would: with its own place's random numbers, penalties, budget and constraint. While the chosen id is the draft, the
// next row's logits are the true ones too, and another id is had from the same step. So every id and log-probability has the bits of
// plain decoding (rejection sampling of Leviathan et al. 2023, for a draft that is certain of itself), whatever drafts are made.
// Here: who drafts, how often it was right, and how many drafts are worth their rows.

import { Pace } from "./pace.ts";
import type { StepPlan } from "./scheduler.ts";
import { emittedCount, type Sequence } from "./sequence.ts";

export type SpeculationKind = "none" | "lookup" | "mtp";

export type SpeculationOptions = {
  /** lookup: what followed the same ids before (draft-lookup.ts); mtp: the model's own head for the token after the next (draft-next.ts). */
  readonly kind: SpeculationKind;
  /** Drafts for one sequence in a step at most, 1..32; mtp: 1. Default 8 for lookup. */
  readonly tokens?: number;
  /** Drafts only as far as it saves time by what was measured so far, down to none. Default true. */
  readonly adapt?: boolean;
};

export type CheckedSpeculation = Required<SpeculationOptions>;

/** What may follow the ids of a sequence. */
export type Proposal = {
  readonly ids: readonly number[];
  /** 0..3: how sure the drafter is; how often each grade comes true is counted. */
  readonly grade: number;
};

export interface Drafter {
  /** At most `most` ids, or undefined for none. */
  propose(sequence: Sequence, most: number): Proposal | undefined;
  /** Hears what the drafts of a step are expected to be worth: ids a second, beside plain decoding's. */
  judge?(worth: number): void;
}

/** The chance that a draft comes true, by grade. */
type Rates = [number, number, number, number];

type State = {
  readonly rates: Rates;
  /** What was proposed last, when the sequence had `at` ids; verified or not. */
  proposal: Proposal | undefined;
  at: number;
};

const firstRates: Rates = [0.3, 0.45, 0.6, 0.8];
/** How much one more observation counts: for its sequence, and for those that come later. */
const ownShare = 0.1;
const commonShare = 0.01;

export class Speculation {
  readonly #drafter: Drafter;
  readonly #tokens: number;
  readonly #adapt: boolean;
  readonly #pace = new Pace();
  readonly #draftPace = new Pace();
  readonly #rates: Rates = [...firstRates];
  readonly #states = new WeakMap<Sequence, State>();

  constructor(drafter: Drafter, { tokens, adapt }: CheckedSpeculation) {
    this.#drafter = drafter;
    this.#tokens = tokens;
    this.#adapt = adapt;
  }

  /** Sets the drafts of each. */
  draft(decoding: readonly Sequence[]): void {
    const offers: { sequence: Sequence; ids: readonly number[]; count: number; rate: number }[] = [];
    for (const sequence of decoding) {
      const state = this.#stateOf(sequence);
      const most = Math.min(this.#tokens, sequence.request.limit - emittedCount(sequence) - 1);
      const proposal = most > 0 ? this.#drafter.propose(sequence, most) : undefined;
      state.proposal = proposal;
      state.at = sequence.ids.length;
      if (proposal) offers.push({ sequence, ids: proposal.ids, count: 0, rate: state.rates[proposal.grade] as number });
    }
    if (!this.#adapt) for (const offer of offers) offer.count = offer.ids.length;
    else {
      const chances = offers.flatMap((offer) => offer.ids.map((_, i) => ({ offer, chance: offer.rate ** (i + 1) })));
      chances.sort((a, b) => b.chance - a.chance);
      const { n, worth } = this.#pace.choose(
        decoding.length,
        chances.map(({ chance }) => chance),
        (rows) => this.#draftPace.seconds(rows),
      );
      if (offers.length > 0) this.#drafter.judge?.(worth);
      for (const { offer } of chances.slice(0, n)) offer.count++;
    }
    for (const { sequence, ids, count } of offers) sequence.drafts = ids.slice(0, count);
  }

  /** After the choices of a step, and before its drafts are forgotten. */
  note({ choosing, outputs, rows }: StepPlan, seconds: number): void {
    for (const sequence of choosing) this.#observe(sequence);
    if (rows === outputs) this.#pace.note(rows, seconds);
  }

  /** How long it took to make drafts after a step. */
  noteDrafting({ outputs, rows }: StepPlan, seconds: number): void {
    if (rows === outputs) this.#draftPace.note(rows, seconds);
  }

  /** Compares what was proposed with what was emitted since, also where nothing was verified. */
  #observe(sequence: Sequence): void {
    const { rates, proposal, at } = this.#stateOf(sequence);
    if (!proposal) return;
    for (const [i, draft] of proposal.ids.entries()) {
      const id = sequence.ids[at + i];
      if (id === undefined) return;
      const came = id === draft ? 1 : 0;
      const { grade } = proposal;
      rates[grade] = (rates[grade] as number) * (1 - ownShare) + ownShare * came;
      this.#rates[grade] = (this.#rates[grade] as number) * (1 - commonShare) + commonShare * came;
      if (!came) return;
    }
  }

  #stateOf(sequence: Sequence): State {
    let state = this.#states.get(sequence);
    if (!state) {
      state = { rates: [...this.#rates], proposal: undefined, at: 0 };
      this.#states.set(sequence, state);
    }
    return state;
  }
}
