// Kills a training run (recipes/tiny.ts) with SIGKILL at random moments, resumes it, kills it again, and compares what comes out with a run that was left alone.
//   node test/train/kill.ts [--kills 200] [--device reference|cpu] [--seed 1] [--folder DIR]
// Prints one JSON line; exit 1 when a checkpoint was damaged or a resumed run differed by one byte.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { checkpointPath, listCheckpoints } from "../../src/train/checkpoint.ts";
import { findDamage, type Manifest } from "../../src/train/manifest.ts";

export type KillOptions = {
  readonly kills: number;
  readonly device: "reference" | "cpu";
  readonly seed: number;
  readonly folder: string;
  readonly onKill?: (kills: number) => void;
};

export type KillReport = {
  readonly kills: number;
  /** Kills that met a checkpoint being written. */
  readonly duringSave: number;
  /** Runs that came to their end after kills. */
  readonly runs: number;
  /** Checkpoints that did not verify after a kill, and why. */
  readonly damaged: readonly string[];
  /** What differed in finished runs: metrics.jsonl, or files of the final checkpoint. */
  readonly different: readonly string[];
  readonly steps: number;
  readonly seconds: number;
};

const child = fileURLToPath(new URL("./kill-child.ts", import.meta.url));

/** Throws when a run fails otherwise than by being killed. */
export async function killAgainAndAgain(options: KillOptions): Promise<KillReport> {
  const { kills, device, seed, folder } = options;
  const { files } = nodeHost();
  const began = performance.now();
  const random = new Random(seed);
  const whole = join(folder, "whole");
  const start = performance.now();
  await settled(launch(whole, device));
  const duration = performance.now() - start;
  const expected = results(whole);

  const report = { kills: 0, duringSave: 0, runs: 0, damaged: [] as string[], different: [] as string[] };
  let out = join(folder, "broken-0");
  while (report.kills < kills || report.runs === 0) {
    const victim = launch(out, device);
    // Once there were enough kills, the last run may finish.
    const timer = report.kills < kills ? setTimeout(() => victim.kill("SIGKILL"), random.uniform() * 0.7 * duration) : undefined;
    const killed = await settled(victim);
    clearTimeout(timer);
    const checkpoints = join(out, "checkpoints");
    for (const step of await listCheckpoints(files, checkpoints)) {
      const damage = await findDamage(files, checkpointPath(files, checkpoints, step), step);
      if (damage !== undefined) report.damaged.push(`checkpoint-${step}: ${damage}`);
    }
    if (killed) {
      report.kills++;
      if (existsSync(checkpoints) && readdirSync(checkpoints).some((name) => name.includes(".tmp-"))) report.duringSave++;
      options.onKill?.(report.kills);
    } else {
      report.runs++;
      report.different.push(...differing(expected, results(out)));
      rmSync(out, { recursive: true, force: true });
      out = join(folder, `broken-${report.runs}`);
    }
  }
  return {
    ...report,
    steps: (expected.get("metrics.jsonl") as string).trimEnd().split("\n").length,
    seconds: Math.round((performance.now() - began) / 1000),
  };
}

/** What must be the same, by name: the metrics, and the hash of every file of the final checkpoint but the wall clock's. */
function results(out: string): Map<string, string> {
  const checkpoints = join(out, "checkpoints");
  const last = Math.max(...readdirSync(checkpoints).map((name) => Number(name.split("-")[1])));
  const manifest: Manifest = JSON.parse(readFileSync(join(checkpoints, `checkpoint-${last}`, "manifest.json"), "utf8"));
  const hashes = manifest.files
    .filter(({ name }) => name !== "timing.json")
    .map(({ name, sha256 }) => [`${last}/${name}`, sha256] as const);
  return new Map([["metrics.jsonl", readFileSync(join(out, "metrics.jsonl"), "utf8")], ...hashes]);
}

function differing(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name));
}

function launch(out: string, device: string): ChildProcess {
  return spawn(process.execPath, [child, out, device], { stdio: ["ignore", "pipe", "pipe"] });
}

/** True when it was killed, false when it finished. */
async function settled(process: ChildProcess): Promise<boolean> {
  let output = "";
  let complaint = "";
  process.stdout?.on("data", (text) => (output += text));
  process.stderr?.on("data", (text) => (complaint += text));
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    process.on("error", reject);
    process.on("close", (exitCode, exitSignal) => resolve({ code: exitCode, signal: exitSignal }));
  });
  if (signal === "SIGKILL") return true;
  if (code === 0 && output.includes("finished")) return false;
  throw new Error(`the run ended with code ${code}, signal ${signal}: ${complaint.slice(-2000)}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { kills: { type: "string" }, device: { type: "string" }, seed: { type: "string" }, folder: { type: "string" } },
  });
  const folder = values.folder ?? mkdtempSync(join(tmpdir(), "gradually-kill-"));
  const device = values.device === "cpu" ? "cpu" : "reference";
  const report = await killAgainAndAgain({
    kills: Number(values.kills ?? 200),
    device,
    seed: Number(values.seed ?? 1),
    folder,
    onKill: (kills) => void (kills % 20 === 0 && process.stderr.write(`${kills} kills\n`)),
  });
  if (values.folder === undefined) rmSync(folder, { recursive: true, force: true });
  process.stdout.write(`${JSON.stringify({ ...report, device })}\n`);
  if (report.damaged.length + report.different.length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
