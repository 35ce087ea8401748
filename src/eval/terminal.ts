// Progress on a terminal: one line that is rewritten in place; elsewhere (a log, a pipe) a plain line every so many steps.
// In: a place to write and a clock, so that nothing here touches the process. Out: text of at most `columns` columns a line.
//   grpo      ━━━━━━━━━━━━────────  62/100  reward 0.812  14,120 tok/s  3 min 12 s left

import { formatDuration } from "../core/human.ts";

export type Progress = {
  readonly stage: string;
  /** Steps done, and all of them. */
  readonly step: number;
  readonly total: number;
  readonly loss?: number;
  readonly reward?: number;
  /** Share of right answers, 0..1. */
  readonly accuracy?: number;
  readonly tokensPerSecond?: number;
  /** Stands in place of `step/total`, where those are bytes: `1.2 of 4.9 GiB`. */
  readonly amount?: string;
  /** Any other pace: `35 MiB/s`. */
  readonly rate?: string;
  /** Seconds left; worked out from the pace of this stage when absent. */
  readonly secondsLeft?: number;
};

export type ProgressOptions = {
  readonly write: (text: string) => void;
  /** Is the output a terminal? */
  readonly interactive: boolean;
  /** Colours; give `wantsColour`. Ignored when not interactive. */
  readonly colour?: boolean;
  /** Width of the terminal; at most 80 are used. Default 80. */
  readonly columns?: number;
  /** Steps between plain lines; default a tenth of the stage. */
  readonly every?: number;
  /** Seconds on a monotonic clock. */
  readonly now: () => number;
};

/** https://no-color.org: any NO_COLOR that is not empty switches colours off. */
export function wantsColour(interactive: boolean, env: (name: string) => string | undefined): boolean {
  return interactive && !env("NO_COLOR") && env("TERM") !== "dumb";
}

export class ProgressLine {
  readonly #options: ProgressOptions;
  #stage = "";
  #start = { time: 0, step: 0 };
  #drawn = Number.NEGATIVE_INFINITY;
  #printed = -1;
  #open = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(progress: Progress): void {
    const { now, write, interactive, every } = this.#options;
    const time = now();
    if (progress.stage !== this.#stage) {
      this.finish();
      this.#stage = progress.stage;
      this.#start = { time, step: progress.step };
      this.#drawn = Number.NEGATIVE_INFINITY;
      this.#printed = -1;
    }
    const last = progress.step >= progress.total;
    const full = { ...progress, secondsLeft: progress.secondsLeft ?? this.#secondsLeft(progress, time) };
    if (interactive) {
      // Ten times a second is enough, and the last step must be seen.
      if (!last && time - this.#drawn < 0.1) return;
      this.#drawn = time;
      this.#open = true;
      write(`\r\u001b[2K${this.#line(full)}`);
      return;
    }
    const step = every ?? Math.max(1, Math.floor(progress.total / 10));
    const due = this.#printed < 0 || progress.step - this.#printed >= step || last;
    if (!due || this.#printed === progress.step) return;
    this.#printed = progress.step;
    write(`${plainLine(full)}\n`);
  }

  /** A line that stays; the progress line continues under it. */
  log(text: string): void {
    const { write, interactive } = this.#options;
    write(interactive && this.#open ? `\r\u001b[2K${text}\n` : `${text}\n`);
    this.#drawn = Number.NEGATIVE_INFINITY;
    this.#open = false;
  }

  /** Ends the line that is being rewritten. */
  finish(): void {
    if (this.#open) this.#options.write("\n");
    this.#open = false;
  }

  #secondsLeft(progress: Progress, time: number): number | undefined {
    const done = progress.step - this.#start.step;
    return done > 0 ? ((time - this.#start.time) / done) * Math.max(0, progress.total - progress.step) : undefined;
  }

  #line(progress: Progress): string {
    // The last column stays free: writing there wraps the line on some terminals.
    const columns = Math.max(20, Math.min(80, this.#options.columns ?? 80)) - 1;
    const parts = [amountOf(progress), ...facts(progress)];
    const stage = progress.stage.padEnd(9).slice(0, 12);
    // What does not fit is dropped from the end, then the bar shrinks away.
    while (parts.length > 1 && stage.length + 1 + parts.join("  ").length > columns) parts.pop();
    const tail = parts.join("  ").slice(0, columns);
    const room = columns - stage.length - tail.length - 3;
    const width = Math.min(20, room) >= 5 ? Math.min(20, room) : 0;
    const filled = Math.round(width * Math.min(1, progress.total > 0 ? progress.step / progress.total : 1));
    const paint = (code: number, text: string) => (this.#options.colour && text ? `\u001b[${code}m${text}\u001b[0m` : text);
    const bar = width === 0 ? "" : `${paint(36, "━".repeat(filled))}${paint(90, "─".repeat(width - filled))}  `;
    const name = stage.slice(0, Math.max(0, columns - tail.length - 1));
    return `${paint(1, name)}${name === "" ? "" : " "}${bar}${tail}`;
  }
}

/** One line for logs: `grpo 62/100 reward 0.812 14,120 tok/s 3 min 12 s left`. */
export function plainLine(progress: Progress): string {
  return [progress.stage, amountOf(progress), ...facts(progress)].join(" ");
}

function amountOf({ amount, step, total }: Progress): string {
  return amount ?? `${step}/${total}`;
}

function facts(progress: Progress): string[] {
  const { loss, reward, accuracy, tokensPerSecond, rate, secondsLeft, step, total } = progress;
  const made: string[] = [];
  if (loss !== undefined) made.push(`loss ${loss.toFixed(3)}`);
  if (reward !== undefined) made.push(`reward ${reward.toFixed(3)}`);
  if (accuracy !== undefined) made.push(`right ${(accuracy * 100).toFixed(1)} %`);
  if (tokensPerSecond !== undefined) made.push(`${Math.round(tokensPerSecond).toLocaleString("en-US")} tok/s`);
  if (rate !== undefined) made.push(rate);
  if (secondsLeft !== undefined && step < total) made.push(`${formatDuration(secondsLeft)} left`);
  return made;
}
