// The same files, the same threads, one run: gradually beside its rivals. `npm run bench:rivals [-- --repeats 5 --threads 2 MODEL.gguf …]`. Every
// measurement is a process of its own; engines take turns, so a slow minute of the machine meets all of them. Out: the
// medians and ratios as a table, and every single number in results/MACHINE.csv.

import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const tests = [
  { name: "pp512", prompt: 512 },
  { name: "tg128@128", gen: 128, depth: 128 },
  { name: "tg32@8192", gen: 32, depth: 8192 },
  { name: "tg64x8", gen: 64, depth: 128, parallel: 8 },
];
const engines = ["llama-cpp", "gradually"] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    repeats: { type: "string", default: "5" },
    threads: { type: "string", default: String(cpus().length) },
    tests: { type: "string", default: tests.map(({ name }) => name).join(",") },
  },
});
const chosen = tests.filter(({ name }) => values.tests.split(",").includes(name));
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const models = positionals.length > 0 ? positionals : await makeModels();
const machine = (cpus()[0]?.model ?? "cpu")
  .replaceAll(/[^A-Za-z0-9]+/g, "-")
  .replaceAll(/^-|-$/g, "")
  .toLowerCase();
const csv = here(`results/${machine}-${cpus().length}.csv`);
mkdirSync(here("results"), { recursive: true });
if (!existsSync(csv)) appendFileSync(csv, "date,node,engine,model,test,threads,tok_s\n");

/** The random-weight models of the goals, made once. */
async function makeModels(): Promise<string[]> {
  const maker = here("../tools/make-model.ts");
  return ["q4_0", "q8_0", "q4_k_m"].map((type) => {
    const path = here(`models/llama-1.1b-${type}.gguf`);
    if (!existsSync(path)) {
      mkdirSync(here("models"), { recursive: true });
      execFileSync(process.execPath, [maker, "llama-1.1b", path, "--type", type], { stdio: "inherit" });
    }
    return path;
  });
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

for (const model of models) {
  const measured = new Map<string, number[]>();
  for (let repeat = 0; repeat < Number(values.repeats); repeat++) {
    for (const test of chosen) {
      for (const engine of engines) {
        process.stderr.write(`${basename(model)} ${test.name} ${engine} ${repeat + 1}/${values.repeats}\n`);
        const out = execFileSync(process.execPath, [here(`engine-${engine}.ts`), model, values.threads, JSON.stringify([test])], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        });
        const tokensPerSecond = (JSON.parse(out.trim().split("\n").at(-1) as string) as Record<string, number>)[test.name] as number;
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
  process.stdout.write(`\n${basename(model)}, ${values.threads} threads, median of ${values.repeats}\n`);
  for (const { name } of chosen) {
    const [rival, ours] = engines.map((engine) => median(measured.get(`${name} ${engine}`) ?? [])) as [number, number];
    process.stdout.write(
      `  ${name.padEnd(12)} llama.cpp ${rival.toFixed(1).padStart(8)}   gradually ${ours.toFixed(1).padStart(8)}   ${(ours / rival).toFixed(2)}x\n`,
    );
  }
}
