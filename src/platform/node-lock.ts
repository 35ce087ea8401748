// A lock file that survives nothing: it names a process, and a lock of a process that is gone counts for nothing. In: a path. Out: the lock, or a
// ConfigError that names the holder. Unusual: numbers of processes are used again after a crash, so where the system tells (Linux), the
// holder's start time is part of its name.

import * as fs from "node:fs/promises";
import { ConfigError, quote } from "../core/errors.ts";
import { hasCode, translated } from "./node-errors.ts";

let counter = 0;

export type Lock = { release(): Promise<void> };

export async function lockFile(path: string): Promise<Lock> {
  const lock = await tryLockFile(path);
  if (typeof lock === "string") throw inUse(path, lock);
  return lock;
}

/** The lock, or the number of the process that has it. */
export async function tryLockFile(path: string): Promise<Lock | string> {
  return await translated("lock", path, async () => {
    const token = `${process.pid}-${++counter}`;
    const mine = `${process.pid} ${await startOf(process.pid)} ${token}\n`;
    for (let tries = 0; tries < 100; tries++) {
      if (await create(path, token, mine)) return { release: () => release(path, mine) };
      const found = await fs.readFile(path, "utf8").catch(() => undefined);
      if (found === undefined) continue; // released just now
      if (await isAlive(found)) return found.split(" ")[0] ?? "?";
      await removeStale(path, token, found);
    }
    return "?";
  });
}

/** Content and name appear at once: a half-written lock is never seen. */
async function create(path: string, token: string, content: string): Promise<boolean> {
  const temporary = `${path}.${token}`;
  await fs.writeFile(temporary, content);
  try {
    await fs.link(temporary, path);
    return true;
  } catch (thrown) {
    if (hasCode(thrown, "EEXIST")) return false;
    throw thrown;
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** Moves the lock aside and looks again: if somebody else took it over meanwhile, it is put back. */
async function removeStale(path: string, token: string, stale: string): Promise<void> {
  const aside = `${path}.stale-${token}`;
  try {
    await fs.rename(path, aside);
    if ((await fs.readFile(aside, "utf8")) !== stale) await fs.link(aside, path).catch(() => {});
  } catch (thrown) {
    if (!hasCode(thrown, "ENOENT")) throw thrown;
  } finally {
    await fs.rm(aside, { force: true });
  }
}

async function release(path: string, mine: string): Promise<void> {
  const found = await fs.readFile(path, "utf8").catch(() => undefined);
  if (found === mine) await fs.rm(path, { force: true });
}

async function isAlive(content: string): Promise<boolean> {
  const [pid, start] = content.trim().split(" ");
  const number = Number(pid);
  if (!Number.isSafeInteger(number) || number <= 0) return false;
  try {
    process.kill(number, 0);
  } catch (thrown) {
    if (!hasCode(thrown, "EPERM")) return false;
  }
  const now = await startOf(number);
  return now === "?" || start === "?" || now === start;
}

/** When a process started, in ticks since boot; "?" where /proc does not say, "dead" for one that only waits to be buried. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from field 3 on; the name before it may hold blanks
    return fields[0] === "Z" || fields[0] === "X" ? "dead" : (fields[19] ?? "?");
  } catch {
    return "?";
  }
}

function inUse(path: string, holder: string): ConfigError {
  return new ConfigError({
    operation: `lock ${quote(path, 300)}`,
    got: `a folder in use by ${holder === "?" ? "another process" : `process ${holder}`}`,
    expected: "one process at a time",
    cure: "wait for it to end, or stop it",
  });
}
