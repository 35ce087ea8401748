// Runs the command as a user does, in a process of its own. Also makes, once for each test file, a small trained model through the command itself.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { expect, vi } from "vitest";

// Processes on a busy machine take their time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

export const root = path.join(import.meta.dirname, "../..");
export const fixtures = path.join(root, "test/fixtures/models");

export type Ran = { readonly code: number | null; readonly signal: string | null; readonly out: string; readonly err: string };

export type RanProcess = {
  readonly done: Promise<Ran>;
  kill(signal: NodeJS.Signals): void;
  onError(listener: (text: string) => void): void;
};

export function start(args: readonly string[], options: { input?: string; env?: Record<string, string>; cwd?: string } = {}): RanProcess {
  const child = spawn(process.execPath, [path.join(root, "src/cli/main.ts"), ...args], {
    cwd: options.cwd ?? root,
    env: { ...process.env, NO_COLOR: "1", ...options.env },
  });
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  // A usage error may end the process before it reads its input.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  const done = new Promise<Ran>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, out, err }));
  });
  return {
    done,
    kill: (signal) => child.kill(signal),
    onError: (listener) => child.stderr.on("data", listener),
  };
}

export function cli(args: readonly string[], options?: Parameters<typeof start>[1]): Promise<Ran> {
  return start(args, options).done;
}

/** Runs with --json and expects success and one document, nothing else. */
export async function json(args: readonly string[], options?: Parameters<typeof start>[1]): Promise<Record<string, unknown>> {
  const ran = await cli([...args, "--json"], options);
  expect(ran, ran.err).toMatchObject({ code: 0 });
  expect(ran.out.endsWith("\n")).toBe(true);
  expect(ran.out.trimEnd()).not.toContain("\n");
  return JSON.parse(ran.out) as Record<string, unknown>;
}

/** Expects exit 1 with nothing on standard output and one line on standard error that says all of `parts`; never a stack trace. */
export async function expectFailure(args: readonly string[], ...parts: string[]): Promise<void> {
  const ran = await cli(args);
  expect(ran, ran.err).toMatchObject({ code: 1, out: "" });
  expect(ran.err.trimEnd().split("\n")).toHaveLength(1);
  expect(ran.err).toMatch(/^error: .*: got .*; expected .*; /);
  expect(ran.err).not.toMatch(/\bat .*\.ts:\d+/);
  for (const part of parts) expect(ran.err).toContain(part);
}

/** Expects exit 2 and one line. */
export async function expectUsage(args: readonly string[], ...parts: string[]): Promise<void> {
  const ran = await cli(args);
  expect(ran, ran.err).toMatchObject({ code: 2, out: "" });
  expect(ran.err.trimEnd().split("\n")).toHaveLength(1);
  for (const part of parts) expect(ran.err).toContain(part);
}

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const folder = mkdtempSync(path.join(tmpdir(), "gradually-cli-"));
  return { path: folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Of the bundled recipe `tiny`: an arithmetic model with <think> and a context of 64. */
export async function trainTiny(out: string, ...more: string[]): Promise<string> {
  const report = await json(["train", "tiny", "--out", out, "--set", "stages.0.steps=6", ...more]);
  return report.checkpoint as string;
}
