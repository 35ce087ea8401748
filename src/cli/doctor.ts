// `gradually doctor`: is this machine ready? Each line is ok or warn, with the cure. Measures a matrix product for a moment, so the speed that it
// names is this machine's, now. Exit code 0 even with warnings: they are advice.

import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { cpus, freemem, tmpdir } from "node:os";
import type { Command } from "commander";
import type { Device } from "../backend/backend.ts";
import { availableWasmBuilds, gpuFacts, openDevice } from "../backend/open.ts";
import { selfTest } from "../backend/self-test.ts";
import type { PackedType } from "../core/dtype.ts";
import { GraduallyError } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { matmul } from "../ops/matmul.ts";
import { nodeHost } from "../platform/node.ts";
import { memoryLimit } from "../platform/node-memory.ts";
import { dispose, fromArray, keep, read, scope } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { findModel } from "./find-model.ts";
import { formatBytes, hasColour, say, writeJson } from "./output.ts";

export type Check = { readonly name: string; readonly status: "ok" | "warn"; readonly detail: string; readonly cure?: string };

export function doctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("Check this machine: Node, processor, kernel builds, speed, memory, GPU, folders.")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually doctor\n  $ gradually doctor --json\n  $ GRADUALLY_WASM=relaxed gradually doctor      with another build of the kernels",
    )
    .action(doctor);
}

async function doctor(flags: { readonly json?: boolean }): Promise<void> {
  const host = nodeHost();
  const checks: Check[] = [checkNode(), checkProcessor(host)];
  const available = await availableWasmBuilds(host);
  const { checks: deviceChecks, measured } = await checkDevice(host, available);
  const { check: gpuCheck, gpu } = await checkGpu(host);
  checks.push(...deviceChecks, checkMemory(), gpuCheck, ...(await checkFolders()), await checkModel(host));
  if (flags.json) {
    writeJson({
      ok: checks.every(({ status }) => status === "ok"),
      node: process.versions.node,
      platform: `${process.platform} ${process.arch}`,
      cpu: cpus()[0]?.model ?? null,
      threads: host.parallelism,
      builds: { available, chosen: measured?.build ?? null },
      gflop_s: measured?.gflops ?? null,
      memory: { total: memoryLimit(), free: Math.min(freemem(), memoryLimit()) },
      webgpu: gpu ?? null,
      checks,
    });
    return;
  }
  const paint = hasColour(process.stdout)
    ? (code: number, text: string) => `\u001b[${code}m${text}\u001b[0m`
    : (_: number, text: string) => text;
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, status, detail, cure } of checks) {
    say(`${paint(status === "ok" ? 32 : 33, status.padEnd(4))}  ${name.padEnd(width)}  ${detail}${cure === undefined ? "" : `; ${cure}`}`);
  }
}

function checkNode(): Check {
  const version = process.versions.node;
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const name = "node";
  if (major < 22 || (major === 22 && minor < 13)) return { name, status: "warn", detail: version, cure: "install Node 22.13 or newer" };
  if (major < 24) return { name, status: "ok", detail: `${version}; Node 24 has faster kernels on x64` };
  return { name, status: "ok", detail: version };
}

function checkProcessor(host: Host): Check {
  const detail = `${cpus()[0]?.model.trim() ?? "unknown"}, ${process.arch}, ${host.parallelism} threads`;
  if (host.parallelism > 1) return { name: "cpu", status: "ok", detail };
  return { name: "cpu", status: "warn", detail, cure: "give this process more cores" };
}

async function checkDevice(
  host: Host,
  available: readonly string[],
): Promise<{ checks: Check[]; measured?: { build: string; gflops: number } }> {
  const asked = host.env("GRADUALLY_WASM");
  const fast = available.includes("relaxed");
  try {
    const device = await openDevice(host);
    try {
      const { build, threads } = device.info;
      const why =
        asked === build
          ? "GRADUALLY_WASM asks for it"
          : build === available[0]
            ? "the fastest that this engine runs"
            : `${available[0]} did not pass its self-test`;
      const detail = `${build} chosen: ${why}; available: ${available.join(", ")}`;
      const kernels: Check = fast
        ? { name: "kernels", status: "ok", detail }
        : { name: "kernels", status: "warn", detail, cure: "use an engine with relaxed SIMD (Node 22 or newer)" };
      const gflops = await measure(device, host);
      const speed: Check = {
        name: "speed",
        status: "ok",
        detail: `${gflops.toFixed(0)} GFLOP/s in f32 matrix products, ${threads} threads`,
      };
      return { checks: [kernels, speed], measured: { build, gflops } };
    } finally {
      await device.close();
    }
  } catch (error) {
    const detail = error instanceof Error ? error.message.replaceAll("\n", " ") : String(error);
    return { checks: [{ name: "kernels", status: "warn", detail, cure: asked ? "unset GRADUALLY_WASM" : "report this" }] };
  }
}

/** Best of many products of 768 x 768 matrices, in GFLOP/s: until none was better for 0.3 s, as threads join one by one while the first are computed. */
async function measure(device: Device, host: Host): Promise<number> {
  const n = 768;
  const numbers = Float32Array.from({ length: n * n }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.5);
  const [a, b] = keep(() => [fromArray(device, numbers, [n, n]), fromArray(device, numbers, [n, n])] as const);
  const multiply = () => noGradients(() => scope(() => matmul(a, b)));
  const first = multiply();
  await read(first);
  dispose(first);
  const began = host.now();
  let best = 0;
  let improved = began;
  while (host.now() < Math.min(improved + 0.3, began + 3)) {
    const start = host.now();
    const c = multiply();
    await device.finish();
    const now = host.now();
    const speed = (2 * n ** 3) / (now - start) / 1e9;
    if (speed > 1.02 * best) improved = now;
    best = Math.max(best, speed);
    dispose(c);
  }
  dispose(a, b);
  return best;
}

function checkMemory(): Check {
  const total = memoryLimit();
  const free = Math.min(freemem(), total);
  const detail = `${formatBytes(free)} free of ${formatBytes(total)}; a model may take up to 4 GiB`;
  if (free >= 2 ** 30) return { name: "memory", status: "ok", detail };
  return { name: "memory", status: "warn", detail, cure: "close other programs" };
}

type Gpu = {
  readonly name: string;
  readonly software: boolean;
  /** Bytes. */
  readonly largest_buffer: number;
  readonly workgroup_memory: number;
  readonly workgroup_size: number;
};

/** No GPU is no fault: the CPU does it all. One that computes wrongly is. */
async function checkGpu(host: Host): Promise<{ check: Check; gpu?: Gpu }> {
  const name = "webgpu";
  let facts: Awaited<ReturnType<typeof gpuFacts>>;
  try {
    facts = await gpuFacts(host);
  } catch (thrown) {
    const why = thrown instanceof GraduallyError ? `${thrown.complaint.got}; for a GPU: ${thrown.complaint.cure}` : String(thrown);
    return { check: { name, status: "ok", detail: `none, and none is needed: the CPU does it all (${oneLine(why)})` } };
  }
  const { limits, isSoftware } = facts;
  const gpu: Gpu = {
    name: facts.name,
    software: isSoftware,
    largest_buffer: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize),
    workgroup_memory: limits.maxComputeWorkgroupStorageSize,
    workgroup_size: limits.maxComputeInvocationsPerWorkgroup,
  };
  const { largest_buffer, workgroup_memory, workgroup_size } = gpu;
  const detail = `${gpu.name}, buffers up to ${formatBytes(largest_buffer)}, groups of ${workgroup_size} with ${formatBytes(workgroup_memory)}`;
  // A software one takes long to compile the many kernels of packed weights, and nobody runs models on it.
  const wrong = await tryGpu(host, isSoftware ? [] : undefined);
  if (wrong === undefined)
    return { check: { name, status: "ok", detail: `${detail}; ${isSoftware ? "the cpu is faster" : "to use it: --device webgpu"}` }, gpu };
  return { check: { name, status: "warn", detail: `${detail}: ${wrong}`, cure: "update the GPU's driver, or stay on the cpu" }, gpu };
}

/** What is wrong with the GPU; undefined where every kernel agrees with the reference. `types`: packed weights that are tried; default all. */
async function tryGpu(host: Host, types: readonly PackedType[] | undefined): Promise<string | undefined> {
  try {
    const device = await openDevice(host, { device: "webgpu" });
    try {
      const failed = await selfTest(device, types);
      return failed.length > 0 ? `other results than the reference in ${failed.join(", ")}` : undefined;
    } finally {
      await device.close();
    }
  } catch (thrown) {
    return oneLine(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}

async function checkFolders(): Promise<Check[]> {
  const folders = [
    ["work folder", process.cwd(), "change to a folder that you may write to, or give --out"],
    ["temporary", tmpdir(), "set TMPDIR to a folder that you may write to"],
  ] as const;
  return await Promise.all(
    folders.map(async ([name, path, cure]): Promise<Check> => {
      const isWritable = await access(path, constants.W_OK).then(
        () => true,
        () => false,
      );
      return isWritable
        ? { name, status: "ok", detail: `${path} is writable` }
        : { name, status: "warn", detail: `${path} is not writable`, cure };
    }),
  );
}

async function checkModel(host: Host): Promise<Check> {
  try {
    return { name: "model", status: "ok", detail: `bundled: ${await findModel(host.files, undefined)}` };
  } catch {
    return { name: "model", status: "warn", detail: "no bundled model", cure: "make one: gradually speedrun" };
  }
}
