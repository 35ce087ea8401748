// Mutation testing: how many small faults in a file do its tests find? In: a file of src and the test files that guard it. Out: the share, and each fault that
// no test found, with its line. Each fault is one changed operator, number, condition or throw; types are stripped first, so none is in a type.
//
// Run: node tools/mutate.ts src/core/json.ts test/core/json.test.ts [--count 40] [--seed 1] [--seconds 60]
//
// Works on a copy of the project in a temporary folder. A run that uses up its seconds of the processor counts as found: an endless loop is seen by whoever waits.
// Not seconds by the clock: beside other work, and stopped for a while, a fault would count that no test found.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../src/core/random.ts";

const root = path.join(import.meta.dirname, "..");
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { count: { type: "string", default: "40" }, seed: { type: "string", default: "1" }, seconds: { type: "string", default: "60" } },
});
const [file, ...tests] = positionals;
if (!file || tests.length === 0) throw new Error("usage: node tools/mutate.ts FILE TEST…");

type Fault = { readonly at: number; readonly from: string; readonly to: string };

/** Whole tokens of code; spaces around those that would else be found in others. */
const swaps: readonly (readonly [RegExp, (found: string) => string])[] = [
  [/ === /g, () => " !== "],
  [/ !== /g, () => " === "],
  [/ < /g, () => " <= "],
  [/ <= /g, () => " < "],
  [/ > /g, () => " >= "],
  [/ >= /g, () => " > "],
  [/ && /g, () => " || "],
  [/ \|\| /g, () => " && "],
  [/ \+ /g, () => " - "],
  [/ - /g, () => " + "],
  [/ \* /g, () => " / "],
  [/ \+= /g, () => " -= "],
  [/\+\+/g, () => "--"],
  [/(?<=[( ])!(?=[\w(#])/g, () => ""],
  [/\btrue\b/g, () => "false"],
  [/\bfalse\b/g, () => "true"],
  [/(?<![\w.#])\d+(?![\w.])/g, (found) => String(Number(found) + 1)],
  [/\bthrow /g, () => "void "],
];

/** Comments and the insides of strings become spaces of the same length. Templates stay: most of them hold code. */
function mask(code: string): string {
  return code.replace(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"/g, (found) => " ".repeat(found.length));
}

function faultsIn(code: string): Fault[] {
  const masked = mask(code);
  return swaps.flatMap(([pattern, change]) =>
    [...masked.matchAll(pattern)].map((match) => ({ at: match.index, from: match[0], to: change(match[0]) })),
  );
}

const folder = mkdtempSync(path.join(tmpdir(), "gradually-mutants-"));
try {
  for (const part of ["src", "test", "tools", "models", "package.json", "tsconfig.json"])
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
  symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  const code = stripTypeScriptTypes(readFileSync(path.join(root, file), "utf8"));
  const place = path.join(folder, file);
  const run = () => {
    const args = ["node_modules/vitest/vitest.mjs", "run", "--bail", "1", "--testTimeout", "20000", "--reporter", "dot", ...tests];
    const limited = ["-c", 'ulimit -t "$0"; exec "$@"', values.seconds, process.execPath, ...args];
    return spawnSync("sh", limited, { cwd: folder, timeout: 1_800_000, killSignal: "SIGKILL", stdio: "ignore" }).status;
  };
  writeFileSync(place, code);
  if (run() !== 0) throw new Error("the tests fail on the file as it is");
  const random = new Random(Number(values.seed));
  const all = faultsIn(code);
  const chosen = random.shuffle(all).slice(0, Number(values.count));
  const missed: string[] = [];
  for (const { at, from, to } of chosen) {
    writeFileSync(place, code.slice(0, at) + to + code.slice(at + from.length));
    if (run() !== 0) continue;
    const line = code.slice(0, at).split("\n").length;
    const text = code.split("\n")[line - 1]?.trim() ?? "";
    missed.push(`${file}:${line}: ${JSON.stringify(from.trim())} as ${JSON.stringify(to.trim())} in ${text.slice(0, 120)}`);
    console.error(missed.at(-1));
  }
  const found = chosen.length - missed.length;
  console.log(JSON.stringify({ file, faults: all.length, tried: chosen.length, found, share: found / chosen.length, missed }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
