// Values of flags: text in, a checked number out, or a usage error (exit 2) that says what was expected.

import { InvalidArgumentError } from "commander";

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

function refuse(text: string, expected: string): never {
  throw new InvalidArgumentError(`Expected ${expected}, got ${JSON.stringify(text)}.`);
}

/** An integer in low..high. */
export function integer(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) && value >= low && value <= high) return value;
    return refuse(text, high === Number.MAX_SAFE_INTEGER ? `an integer of ${low} or more` : `an integer from ${low} to ${high}`);
  };
}

/** A number in low..high; `above` leaves low itself out. */
export function real(low: number, high: number, above = false): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (decimal.test(text) && Number.isFinite(value) && (above ? value > low : value >= low) && value <= high) return value;
    return refuse(text, `a number ${above ? "above" : "from"} ${low}${above ? ", at most" : " to"} ${high}`);
  };
}

/** Integers in low..high with commas between them, at least one. */
export function integers(low: number, high: number = Number.MAX_SAFE_INTEGER): (text: string) => number[] {
  return (text) => {
    const values = text.split(",").map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
    if (values.every((value) => Number.isSafeInteger(value) && value >= low && value <= high)) return values;
    return refuse(text, `integers of ${low} or more with commas between them, like 1,2,3`);
  };
}

/** A flag that may be given more than once. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}
