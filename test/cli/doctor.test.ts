import { expect, test } from "vitest";
import { cli, json } from "./cli.ts";

test("doctor: facts of this machine, and advice with a cure", async () => {
  const report = await json(["doctor"]);
  expect(report).toMatchObject({ node: process.versions.node });
  // Which GPU there is, if any, is the machine's affair; cli/webgpu.test.ts has one of its own.
  expect(report.webgpu === null || typeof (report.webgpu as { name: string }).name === "string").toBe(true);
  expect(report.gflop_s).toBeGreaterThan(0.1);
  const { available, chosen } = report.builds as { available: string[]; chosen: string };
  expect(available).toContain(chosen);
  for (const check of report.checks as { status: string; cure?: string }[]) {
    expect(["ok", "warn"]).toContain(check.status);
    expect(check.cure !== undefined).toBe(check.status === "warn");
  }
});

test("doctor follows GRADUALLY_WASM, and names a wrong one", async () => {
  const plain = await json(["doctor"], { env: { GRADUALLY_WASM: "simd128" } });
  expect(plain.builds).toMatchObject({ chosen: "simd128" });
  const wrong = await cli(["doctor"], { env: { GRADUALLY_WASM: "fast" } });
  expect(wrong.code).toBe(0);
  expect(wrong.out).toMatch(/^warn {2}kernels .*"fast".*unset GRADUALLY_WASM$/m);
});
