// The table that rivals.ts prints. In: medians by test and engine. Out: one line a test, with gradually's ratio to each rival, and one line each for
// what a long context costs and what eight sequences together give, within each engine.

const ours = "gradually";
const within = [
  { name: "8192/128", over: "tg32@8192", under: "tg128@128" },
  { name: "x8/x1", over: "tg64x8", under: "tg128@128" },
];

/** The middle number, or the mean of the two middle ones; NaN of none. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const [low = Number.NaN, high = Number.NaN] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return (low + high) / 2;
}

/** `value` answers NaN for what was not measured. */
export function table(tests: readonly string[], engines: readonly string[], value: (test: string, engine: string) => number): string {
  const lines = [["", ...engines, ...engines.filter((engine) => engine !== ours).map((engine) => `to ${engine}`)]];
  for (const test of tests) {
    const ratios = engines.filter((engine) => engine !== ours).map((engine) => value(test, ours) / value(test, engine));
    lines.push([test, ...engines.map((engine) => format(value(test, engine), 1)), ...ratios.map((ratio) => format(ratio, 2, "x"))]);
  }
  for (const { name, over, under } of within) {
    const ratios = engines.map((engine) => value(over, engine) / value(under, engine));
    if (ratios.some((ratio) => !Number.isNaN(ratio))) lines.push([name, ...ratios.map((ratio) => format(ratio, 2, "x"))]);
  }
  return lines.map(([name = "", ...cells]) => `  ${name.padEnd(12)}${cells.map((cell) => cell.padStart(20)).join("")}\n`).join("");
}

function format(value: number, digits: number, unit = ""): string {
  return Number.isNaN(value) ? "-" : `${value.toFixed(digits)}${unit}`;
}
