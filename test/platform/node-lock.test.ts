import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { lockFile } from "../../src/platform/node-lock.ts";

const root = mkdtempSync(join(tmpdir(), "gradually-lock-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = () => join(root, `${++count}.lock`);

test("one holder at a time; released, it is free again", async () => {
  const path = fresh();
  const lock = await lockFile(path);
  expect(Number(readFileSync(path, "utf8").split(" ")[0])).toBe(process.pid);
  await expect(lockFile(path)).rejects.toThrow(ConfigError);
  await expect(lockFile(path)).rejects.toThrow(`in use by process ${process.pid}`);
  await lock.release();
  expect(existsSync(path)).toBe(false);
  await (await lockFile(path)).release();
});

test("of many that ask at once exactly one gets it, also when the old holder is dead", async () => {
  for (const stale of [undefined, "999999999 1 1\n"]) {
    const path = fresh();
    if (stale) writeFileSync(path, stale);
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => lockFile(path)));
    expect(asked.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const held = asked.find((result) => result.status === "fulfilled");
    expect(readdirSync(root).filter((name) => name.startsWith(`${count}.lock`))).toEqual([`${count}.lock`]); // no leftovers
    await held?.value.release();
    expect(existsSync(path)).toBe(false);
  }
});

test("the lock of a killed process is taken over", async () => {
  const path = fresh();
  const module = new URL("../../src/platform/node-lock.ts", import.meta.url).href;
  const child = spawn(process.execPath, [
    "--input-type=module",
    "-e",
    `const { lockFile } = await import("${module}"); await lockFile(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`,
  ]);
  await new Promise((resolve) => child.stdout.on("data", resolve));
  await expect(lockFile(path)).rejects.toThrow(`in use by process ${child.pid}`);
  const gone = new Promise((resolve) => child.on("close", resolve));
  child.kill("SIGKILL");
  await gone;
  await (await lockFile(path)).release();
});

test.skipIf(!existsSync("/proc/self/stat"))("a number that another process has by now does not hold it", async () => {
  const path = fresh();
  writeFileSync(path, `${process.ppid} 1 1\n`); // the parent lives, but did not start one tick after boot
  await (await lockFile(path)).release();
});

test("what is no lock does not block, and release leaves the lock of another alone", async () => {
  const path = fresh();
  for (const odd of ["", "x", "-5 1 1", "0"]) {
    writeFileSync(path, odd);
    await (await lockFile(path)).release();
  }
  const lock = await lockFile(path);
  writeFileSync(path, "1 1 1\n");
  await lock.release();
  expect(readFileSync(path, "utf8")).toBe("1 1 1\n");
});
