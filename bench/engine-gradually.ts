// gradually on one model, through its own command, in the form that rivals.ts compares. In and out: as engine-llama-cpp.ts.

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

type Test = { readonly name: string; readonly prompt?: number; readonly gen?: number; readonly depth?: number; readonly parallel?: number };

const [path = "", threads = "2", list = "[]"] = process.argv.slice(2);
const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const results: Record<string, number> = {};
for (const { name, prompt = 0, gen = 0, depth = 0, parallel = 1 } of JSON.parse(list) as Test[]) {
  const numbers = {
    "--prompt": prompt,
    "--gen": gen,
    "--depth": depth,
    "--parallel": parallel,
    "--repeats": 1,
    "--threads": Number(threads),
  };
  const flags = Object.entries(numbers).flatMap(([flag, value]) => [flag, String(value)]);
  const out = execFileSync(process.execPath, [main, "bench", path, ...flags, "--json"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const { pp, tg } = JSON.parse(out) as { pp?: { tok_s: number }; tg?: { tok_s: number } };
  results[name] = (prompt > 0 ? pp?.tok_s : tg?.tok_s) ?? Number.NaN;
}
process.stdout.write(`${JSON.stringify(results)}\n`);
