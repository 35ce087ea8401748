// How verbs speak: one JSON document on standard output under --json, everything that is not the result on standard error, an
// error as one line. NO_COLOR is honoured. Text that a model made cannot steer the terminal: control characters are shown, not sent.

import { GraduallyError } from "../core/errors.ts";
import { ProgressLine, wantsColour } from "../eval/terminal.ts";

const env = (name: string): string | undefined => process.env[name];

/** One document and nothing else. */
export function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A line of the result, for people. */
export function say(text = ""): void {
  process.stdout.write(`${text}\n`);
}

/** A line beside the result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function hasColour(stream: { readonly isTTY?: boolean }): boolean {
  return wantsColour(stream.isTTY === true, env);
}

/** Progress on standard error. */
export function progressLine(now: () => number): ProgressLine {
  const { stderr } = process;
  return new ProgressLine({
    write: (text) => stderr.write(text),
    interactive: stderr.isTTY === true,
    colour: hasColour(stderr),
    columns: stderr.columns,
    now,
  });
}

/** All but tab and newline of the control characters as `\u001b`. */
export function showControls(text: string): string {
  return text.replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (c) =>
    c === "\n" || c === "\t" ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** One line: operation, got, expected, cure. GRADUALLY_DEBUG=1 shows where it was thrown. */
export function explainError(verb: string, thrown: unknown): string {
  if (env("GRADUALLY_DEBUG") && thrown instanceof Error && thrown.stack) return thrown.stack;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const known = thrown instanceof GraduallyError;
  const line = known
    ? message
    : `${verb}: got an unexpected failure (${message}); expected none; report it with what GRADUALLY_DEBUG=1 shows`;
  return `error: ${showControls(line.replaceAll(/\s*\n\s*/g, " "))}`;
}

/** Columns that line up. */
export function table(rows: readonly (readonly string[])[], alignRight: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (alignRight.includes(i) ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number))).join("  ");
  return rows.map((row) => line(row).trimEnd()).join("\n");
}

/** 12.3 MiB. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(value >= 1000 ? 4 : 3))} ${units[unit]}`;
}

/** An argument as the shell takes it. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
