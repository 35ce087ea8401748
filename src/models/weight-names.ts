// Names and shapes of a checkpoint held against the weight table, before anything is allocated. In: the entries of a family and the tensors that were found.
// Out: nothing, or a FormatError that names what is missing, unexpected or of another shape, beside the nearest names.

import { FormatError, quote } from "../core/errors.ts";
import { sameShape, showShape } from "../core/shape.ts";
import type { WeightRow } from "./model.ts";
import type { CheckpointTensor, WeightEntry } from "./weights.ts";

/** Checkpoint names of a row. */
export function namesOf(row: WeightRow): string[] {
  return row.action === "stack" ? Array.from({ length: row.count }, (_, e) => row.name.replace("{e}", String(e))) : [row.name];
}

export function complain(got: string, expected: string, cure: string): never {
  throw new FormatError({ operation: "load weights", got, expected, cure });
}

/** A missing and an unexpected name are often one misspelling, so each is shown beside the nearest of the other kind. */
export function checkNames(entries: readonly WeightEntry[], found: ReadonlyMap<string, CheckpointTensor>): void {
  const known = new Set<string>();
  const missing: string[] = [];
  for (const { row } of entries) {
    for (const name of namesOf(row)) {
      known.add(name);
      if (row.action !== "skip" && row.action !== "copy" && !found.has(name)) missing.push(name);
    }
  }
  const unexpected = [...found.keys()].filter((name) => !known.has(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const wrong: string[] = [];
  if (missing.length > 0) wrong.push(`no ${list(missing, unexpected.length ? unexpected : [...found.keys()])}`);
  if (unexpected.length > 0) wrong.push(`the unexpected ${list(unexpected, missing.length ? missing : [...known])}`);
  complain(wrong.join(", and "), `the ${known.size} tensors of this config`, "use the config.json that belongs to these weights");
}

export function checkShapes({ row, shape }: WeightEntry, found: ReadonlyMap<string, CheckpointTensor>): void {
  if (row.action === "skip") return;
  const expected = row.action === "stack" ? shape.slice(1) : shape;
  for (const name of namesOf(row)) {
    const tensor = found.get(name);
    if (tensor && !sameShape(tensor.shape, expected)) {
      complain(
        `tensor ${quote(name)} of shape ${showShape(tensor.shape)}`,
        `${showShape(expected)}, as config.json says`,
        "use the config.json that belongs to these weights",
      );
    }
  }
}

/** At most three names, each with up to two of the nearest candidates. */
function list(names: readonly string[], candidates: readonly string[]): string {
  const shown = names.slice(0, 3).map(
    (name) =>
      `${quote(name, 120)} (nearest: ${
        nearest(name, candidates)
          .map((other) => quote(other, 120))
          .join(", ") || "none"
      })`,
  );
  const rest = names.length - shown.length;
  return `tensor ${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

export function nearest(name: string, candidates: readonly string[]): string[] {
  const scored = candidates.slice(0, 4000).map((other) => ({ other, distance: editDistance(name.slice(0, 200), other.slice(0, 200)) }));
  return scored
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 2)
    .map(({ other }) => other);
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
