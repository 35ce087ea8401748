// `--device webgpu` as a user gives it: the CPU's tokens, the doctor's word on the GPU, and what is said where there is none.

import { describe, expect, test } from "vitest";
import { testGpu } from "../backend/webgpu-adapter.ts";
import { cli, json } from "./cli.ts";

/** The Vulkan loader then finds no driver. */
const noDriver = { VK_DRIVER_FILES: "/dev/null", VK_ICD_FILENAMES: "/dev/null" };

describe.skipIf(!testGpu)("--device webgpu", { timeout: 180_000 }, () => {
  // The adapter of the tests put its driver into this process's environment, which the command inherits.
  test("run gives the CPU's tokens", async () => {
    const [cpu, webgpu] = await Promise.all(
      ["cpu", "webgpu"].map((device) => json(["run", "3 5 7=22", "--temperature", "0", "--max-tokens", "12", "--device", device])),
    );
    expect(webgpu?.device).toMatch(/^webgpu /);
    expect(cpu?.device).toMatch(/^wasm /);
    expect(webgpu?.ids).toEqual(cpu?.ids);
  });

  test("doctor names the adapter and its limits, and finds its kernels right", async () => {
    const report = await json(["doctor"]);
    const gpu = report.webgpu as { name: string; software: boolean; largest_buffer: number; workgroup_memory: number };
    expect(gpu.name).not.toBe("");
    expect(gpu.largest_buffer).toBeGreaterThanOrEqual(2 ** 27);
    expect(gpu.workgroup_memory).toBeGreaterThanOrEqual(2 ** 14);
    const check = (report.checks as { name: string; status: string; detail: string }[]).find(({ name }) => name === "webgpu");
    expect(check).toMatchObject({ status: "ok", detail: expect.stringContaining(gpu.name) });
  });

  test.runIf(process.platform === "linux" && process.env.GRADUALLY_GPU !== "system")(
    "without a driver: one line with the cure; the doctor is content",
    async () => {
      const ran = await cli(["run", "3 5 7=22", "--device", "webgpu"], { env: noDriver });
      expect(ran.code).toBe(1);
      expect(ran.out).toBe("");
      expect(ran.err).toMatch(/^error: open the webgpu device: got no adapter; .*install the GPU's driver.*or use the cpu$/m);
      const report = await json(["doctor"], { env: noDriver });
      expect(report.webgpu).toBeNull();
    },
  );
});
