// The logs of a run, one JSON object on each line. metrics.jsonl and samples.jsonl are the same bytes in every run of one recipe; timing.jsonl holds the wall
// clock and is not. In: rows. Out: files that a checkpoint can cut back to its own length when the run resumes from it.

import type { Appender, Files } from "../core/host.ts";
import type { JsonValue } from "../core/json.ts";

export const logNames = ["metrics.jsonl", "samples.jsonl", "timing.jsonl"] as const;
export type LogName = (typeof logNames)[number];

export class RunLog {
  readonly #appenders: ReadonlyMap<LogName, Appender>;

  private constructor(appenders: ReadonlyMap<LogName, Appender>) {
    this.#appenders = appenders;
  }

  /** Opens the logs and cuts each to its length in `lengths` (0 when it is not there). Throws FormatError when one is shorter. */
  static async open(files: Files, folder: string, lengths: Readonly<Partial<Record<LogName, number>>>): Promise<RunLog> {
    const appenders = new Map<LogName, Appender>();
    try {
      for (const name of logNames) appenders.set(name, await files.appender(files.join(folder, name), lengths[name] ?? 0));
    } catch (error) {
      for (const appender of appenders.values()) await appender.close();
      throw error;
    }
    return new RunLog(appenders);
  }

  async append(name: LogName, row: JsonValue): Promise<void> {
    await this.#of(name).append(`${JSON.stringify(row)}\n`);
  }

  length(name: LogName): number {
    return this.#of(name).position;
  }

  /** Everything appended so far is on the disk afterwards: a checkpoint may count on it. */
  async sync(): Promise<void> {
    for (const appender of this.#appenders.values()) await appender.sync();
  }

  async close(): Promise<void> {
    for (const appender of this.#appenders.values()) await appender.close();
  }

  #of(name: LogName): Appender {
    return this.#appenders.get(name) as Appender;
  }
}
