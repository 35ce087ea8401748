// The same models, the same threads, one run: gradually beside its rivals. `npm run bench:rivals [-- --repeats 5 --threads 2 --tests pp512,tg128@128
// --engines llama-cpp,wllama MODEL.gguf …]`; README.md beside this file says what each engine needs. Every measurement is a process of its own; engines
// take turns, so a slow minute of the machine meets all of them. Out: medians and ratios as a table, and every single number in results/MACHINE.csv.
// An engine that cannot run here is left out, and said so at once and again in the end; one that breaks makes the exit status 1.

import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makeOnnx } from "./onnx-model.ts";
import { cannotRun, type Test } from "./protocol.ts";
import { median, table } from "./report.ts";

const tests: readonly Test[] = [
  { name: "pp512", prompt: 512 },
  { name: "tg128@128", gen: 128, depth: 128 },
  { name: "tg32@8192", gen: 32, depth: 8192 },
  { name: "tg64x8", gen: 64, depth: 128, parallel: 8 },
];
const all = tests.map(({ name }) => name);
/** Tests by engine. The prompt of 8,192 takes wllama and transformers.js some ten minutes, so they are not asked. */
const engines: ReadonlyMap<string, readonly string[]> = new Map([
  ["llama-cpp", all],
  ["wllama", all.filter((name) => name !== "tg32@8192")],
  ["transformers-js", all.filter((name) => name !== "tg32@8192")],
  ["gradually", all],
]);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repeats: { type: "string", default: "5" },
    threads: { type: "string", default: String(cpus().length) },
    tests: { type: "string", default: all.join(",") },
    engines: { type: "string", default: [...engines.keys()].join(",") },
  },
});
const repeats = Number(values.repeats);
const chosenTests = choose("--tests", values.tests, all);
const chosenEngines = choose("--engines", values.engines, [...engines.keys()]);
if (!Number.isSafeInteger(repeats) || repeats < 1) stop(`--repeats ${values.repeats}: a whole number from 1`);

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const models = positionals.length > 0 ? positionals : makeModels();
if (chosenEngines.includes("transformers-js")) for (const model of models) makeOnnx(model);
const machine = (cpus()[0]?.model ?? "cpu")
  .replaceAll(/[^A-Za-z0-9]+/g, "-")
  .replaceAll(/^-|-$/g, "")
  .toLowerCase();
const csv = here(`results/${machine}-${cpus().length}.csv`);
mkdirSync(here("results"), { recursive: true });
if (!existsSync(csv)) appendFileSync(csv, "date,node,engine,model,test,threads,tok_s\n");

/** Why an engine is left out, by engine and model; by engine, model and test where it broke. */
const left = new Map<string, string>();
/** In ms: an engine that hangs does not keep the others waiting for ever. */
const patience = 30 * 60 * 1000;

for (const model of models) {
  const measured = new Map<string, number[]>();
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const test of tests.filter(({ name }) => chosenTests.includes(name))) {
      for (const engine of chosenEngines.filter((name) => engines.get(name)?.includes(test.name))) {
        const what = `${engine} ${basename(model)}`;
        if (left.has(what) || left.has(`${what} ${test.name}`)) continue;
        process.stderr.write(`${basename(model)} ${test.name} ${engine} ${repeat + 1}/${repeats}\n`);
        const tokensPerSecond = measure(engine, model, test);
        if (tokensPerSecond === undefined) continue;
        const key = `${test.name} ${engine}`;
        measured.set(key, [...(measured.get(key) ?? []), tokensPerSecond]);
        const row = [
          new Date().toISOString(),
          process.version,
          engine,
          basename(model),
          test.name,
          values.threads,
          tokensPerSecond.toFixed(2),
        ];
        appendFileSync(csv, `${row.join(",")}\n`);
      }
    }
  }
  process.stdout.write(`\n${basename(model)}, ${values.threads} threads, tokens/s, median of ${repeats}\n`);
  process.stdout.write(table(chosenTests, chosenEngines, (test, engine) => median(measured.get(`${test} ${engine}`) ?? [])));
}
for (const [what, why] of left) process.stdout.write(`\nLEFT OUT: ${what}: ${why}\n`);

/** Nothing where the engine cannot run this model here, or broke; the reason is in `left`. */
function measure(engine: string, model: string, test: Test): number | undefined {
  const { status, stdout, stderr, signal } = spawnSync(
    process.execPath,
    [here(`engine-${engine}.ts`), model, values.threads, JSON.stringify([test])],
    { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: patience, maxBuffer: 2 ** 26 },
  );
  if (status === 0) {
    const result = (JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, number | null>)[test.name];
    if (typeof result === "number" && result > 0) return result;
  }
  const isBroken = status !== cannotRun;
  const what = `${engine} ${basename(model)}${isBroken ? ` ${test.name}` : ""}`;
  const why = isBroken ? `broke (${signal ?? `exit ${status}`}): ${stderr.trim().slice(-1000)}` : stderr.trim();
  left.set(what, why);
  process.stderr.write(`LEFT OUT: ${what}: ${why}\n`);
  if (isBroken) process.exitCode = 1;
  return undefined;
}

/** The random-weight models of the goals, made once. */
function makeModels(): string[] {
  const maker = here("../tools/make-model.ts");
  return ["q4_0", "q8_0", "q4_k_m"].map((type) => {
    const path = here(`models/llama-1.1b-${type}.gguf`);
    if (!existsSync(path)) {
      mkdirSync(here("models"), { recursive: true });
      const { status } = spawnSync(process.execPath, [maker, "llama-1.1b", path, "--type", type], { stdio: "inherit" });
      if (status !== 0) stop(`could not make ${path}`);
    }
    return path;
  });
}

function choose(flag: string, list: string, known: readonly string[]): string[] {
  const names = list.split(",").filter((name) => name !== "");
  for (const name of names) if (!known.includes(name)) stop(`${flag} ${name}: one of ${known.join(", ")}`);
  return known.filter((name) => names.includes(name));
}

function stop(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}
