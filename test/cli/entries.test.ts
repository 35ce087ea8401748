// The other two ways into the command: the package's, in few files, and a checkout's. They answer as src/cli/main.ts does.

import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { buildCli } from "../../tools/build-cli.ts";
import { cli, root } from "./cli.ts";

const run = promisify(execFile);
const problem = ["run", "3 5 7=22", "--threads", "1"];

test("a checkout's first file, in JavaScript", async () => {
  const { stdout } = await run(process.execPath, [path.join(root, "src/cli/checkout.js"), ...problem]);
  expect(stdout).toBe((await cli(problem)).out);
  expect(stdout).toContain("</think>");
});

test("the package's command: finds the package and the bundled model from where it lies, and tells usage errors", async () => {
  // As deep below the package as dist/cli.
  const folder = path.join(root, ".vitest", `cli-${process.pid}`);
  const main = path.join(folder, "main.js");
  try {
    await buildCli(folder, (name) => `../../src/backend/wasm/generated/${name}.ts`);
    const { stdout } = await run(process.execPath, [main, ...problem]);
    expect(stdout).toBe((await cli(problem)).out);
    expect((await run(process.execPath, [main, "--version"])).stdout).toBe((await cli(["--version"])).out);
    await expect(run(process.execPath, [main, "run", "--no-such-flag"])).rejects.toMatchObject({ code: 2, stdout: "" });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
