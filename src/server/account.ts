// The books: every generation request that came is, in the end, exactly one of succeeded, failed, cancelled or rejected. In: what happens to a
// request. Out: counters that balance: received = succeeded + failed + cancelled + rejected + running + waiting.

import type { Metrics } from "./metrics.ts";

export type Outcome = "succeeded" | "failed" | "cancelled" | "rejected";

export class Account {
  readonly #metrics: Metrics;
  readonly #onSettled: () => void;
  #outcome: Outcome | undefined;

  constructor(metrics: Metrics, onSettled: () => void) {
    this.#metrics = metrics;
    this.#onSettled = onSettled;
    metrics.add("requests_received_total");
  }

  get isSettled(): boolean {
    return this.#outcome !== undefined;
  }

  /** The first outcome counts; later ones are ignored. `label`: finish reason, or why it was rejected. */
  settle(outcome: Outcome, label = "other"): void {
    if (this.#outcome) return;
    this.#outcome = outcome;
    if (outcome === "succeeded") this.#metrics.add("request_success_total", 1, { finished_reason: label });
    else if (outcome === "failed") this.#metrics.add("requests_failed_total");
    else if (outcome === "cancelled") this.#metrics.add("requests_cancelled_total");
    else this.#metrics.add("requests_rejected_total", 1, { reason: label });
    this.#onSettled();
  }
}
