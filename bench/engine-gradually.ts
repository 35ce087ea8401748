// gradually on one model, through its own command. In and out: protocol.ts.

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readCall, say } from "./protocol.ts";

const { model, threads, tests } = readCall();
const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const results: Record<string, number> = {};
for (const { name, prompt = 0, gen = 0, depth = 0, parallel = 1 } of tests) {
  const numbers = { "--prompt": prompt, "--gen": gen, "--depth": depth, "--parallel": parallel, "--repeats": 1, "--threads": threads };
  const flags = Object.entries(numbers).flatMap(([flag, value]) => [flag, String(value)]);
  const out = execFileSync(process.execPath, [main, "bench", model, ...flags, "--json"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { pp, tg } = JSON.parse(out) as { pp?: { tok_s: number }; tg?: { tok_s: number } };
  results[name] = (prompt > 0 ? pp?.tok_s : tg?.tok_s) ?? Number.NaN;
}
say(results);
