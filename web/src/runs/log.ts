// One log of a run, followed while it grows. In: pieces by offset. Out: rows, parsed line by line; a line that is no JSON object is counted and left
// out. A log that was cut back (the run was resumed from a checkpoint) begins again.

import type { LogName, RunsClient } from "../client/client.ts";

export type Row = Readonly<Record<string, unknown>> & { readonly step: number; readonly stage: string };

/** The logs of one run; isLive: rows came within the last seconds; damaged: lines that are no rows. */
export type RunRows = Readonly<Record<LogName, readonly Row[]>> & {
  readonly id: string;
  readonly isLive: boolean;
  readonly damaged: number;
};

/** A page with more rows than this would be slow; the oldest of a long run then come from every n-th row. */
const mostRows = 200_000;

export class Log {
  rows: readonly Row[] = [];
  damagedLines = 0;
  readonly #runs: RunsClient;
  readonly #id: string;
  readonly #name: LogName;
  #next = 0;

  constructor(runs: RunsClient, id: string, name: LogName) {
    this.#runs = runs;
    this.#id = id;
    this.#name = name;
  }

  /** Reads to the end. Returns whether anything was new. */
  async read(signal: AbortSignal): Promise<boolean> {
    let isNew = false;
    for (;;) {
      const { from, next, size, text } = await this.#runs.log(this.#id, this.#name, this.#next, signal);
      if (from < this.#next) {
        this.rows = [];
        this.damagedLines = 0;
      }
      const rows = this.#parse(text);
      if (rows.length > 0 || from < this.#next) isNew = true;
      if (rows.length > 0) this.rows = thin([...this.rows, ...rows]);
      const isStuck = next === this.#next;
      this.#next = next;
      if (next >= size || isStuck) return isNew;
    }
  }

  #parse(text: string): Row[] {
    const rows: Row[] = [];
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const row = readRow(line);
      if (row) rows.push(row);
      else this.damagedLines++;
    }
    return rows;
  }
}

export function readRow(line: string): Row | undefined {
  try {
    const value = JSON.parse(line) as unknown;
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const { step, stage } = value as Record<string, unknown>;
    return typeof step === "number" && Number.isFinite(step) && typeof stage === "string" ? (value as Row) : undefined;
  } catch {
    return undefined;
  }
}

function thin(rows: readonly Row[]): readonly Row[] {
  return rows.length <= mostRows ? rows : rows.filter((_, i) => i % 2 === 0);
}
