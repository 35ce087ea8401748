// `gradually bench MODEL`, `gradually bench kernels` and `gradually bench train`: how fast this machine is with this program, beside its limits.

import type { Command } from "commander";
import { type DeviceName, openDevice } from "../backend/open.ts";
import { ConfigError } from "../core/errors.ts";
import { modelHelp } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { benchKernels } from "./bench-kernels.ts";
import { benchModel, type ModelBenchOptions } from "./bench-model.ts";
import { benchTrain, llamaShape } from "./bench-train.ts";
import { integer } from "./flags.ts";
import { withWeights } from "./model.ts";
import {
  addModelFlags,
  addSpeculationFlags,
  type ModelFlags as CommonFlags,
  cacheTypeOption,
  deviceOption,
  type SpeculationFlags,
  speculationOf,
} from "./model-flags.ts";
import { formatBytes, progressLine, say, writeJson } from "./output.ts";

type Common = { readonly device?: DeviceName; readonly threads?: string; readonly build?: string; readonly json: boolean };

export function benchCommand(program: Command): void {
  const bench = program.command("bench").description("measure a model, the kernels or training on this machine").enablePositionalOptions();
  benchModelCommand(bench);
  const withCommon = (command: Command) =>
    command
      .option("--threads <n>", "threads; default all")
      .option("--build <name>", "wide, relaxed or simd128; default the fastest that works")
      .option("--json", "print one JSON document", false);

  withCommon(bench.command("kernels"))
    .description("GFLOP/s and GB/s of the kernels, and their share of this machine's measured limits")
    .addHelpText("after", "\nExamples:\n  gradually bench kernels\n  gradually bench kernels --build relaxed --threads 2 --json\n")
    .action(async (options: Common) => {
      const host = nodeHost();
      const device = await open(options);
      try {
        if (!device.measureLimits)
          throw new ConfigError({
            operation: "bench kernels",
            got: device.info.name,
            expected: "the cpu device",
            cure: "leave --device out",
          });
        const limits = await device.measureLimits(host.now);
        const progress = progressLine(host.now);
        const kernels = await benchKernels(device, limits, host.now, (step, total) => progress.update({ stage: "bench", step, total }));
        progress.finish();
        const { name, build, threads } = device.info;
        if (options.json) process.stdout.write(`${JSON.stringify({ device: `${name} ${build}`, threads, limits, kernels })}\n`);
        else {
          process.stdout.write(
            `${name} ${build}, ${threads} threads: ${limits.fma_gflop_s.toFixed(0)} GFLOP/s of multiply-adds, reads ${limits.read_gb_s.toFixed(1)} GB/s\n\n`,
          );
          process.stdout.write(
            `${"kernel".padEnd(24)}${"shape".padEnd(26)}${"ms".padStart(8)}${"GFLOP/s".padStart(9)}${"GB/s".padStart(7)}${"limit".padStart(6)}\n`,
          );
          for (const k of kernels) {
            const share = `${Math.round(100 * k.of_limit)}%`;
            process.stdout.write(
              `${k.name.padEnd(24)}${(k.dtype === "f32" ? k.shape : `${k.shape} ${k.dtype}`).padEnd(26)}${k.ms.toFixed(3).padStart(8)}${(k.gflop_s > 0 ? k.gflop_s.toFixed(0) : "").padStart(9)}${k.gb_s.toFixed(1).padStart(7)}${share.padStart(6)}\n`,
            );
          }
          process.stderr.write("\nnext:   gradually bench train --shape d128,l4,ff384,h4,v256\n");
        }
      } finally {
        await device.close();
      }
    });

  withCommon(bench.command("train").addOption(deviceOption()))
    .description("tokens/s of a full training step (forward, backward, AdamW) of a Llama shape")
    .option("--shape <shape>", "width, layers, feed-forward, heads (kv heads), vocabulary", "d128,l4,ff384,h4,v256")
    .option("--batch <n>", "sequences in a step", "16")
    .option("--seq <n>", "tokens in a sequence", "128")
    .option("--steps <n>", "timed steps", "15")
    .addHelpText(
      "after",
      "\nExamples:\n  gradually bench train --shape d128,l4,ff384,h4,v256 --batch 16 --seq 128 --json\n  gradually bench train --device webgpu\n",
    )
    .action(async (options: Common & { shape: string; batch: string; seq: string; steps: string }) => {
      const config = llamaShape(options.shape);
      const [B, T, steps] = [
        whole("--batch", options.batch, 4096),
        whole("--seq", options.seq, 4096),
        whole("--steps", options.steps, 100_000),
      ];
      const device = await open(options);
      try {
        const result = await benchTrain(device, config, B, T, steps, nodeHost().now);
        if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
        else {
          process.stdout.write(
            `${Math.round(result.tok_s).toLocaleString("en-US")} tokens/s, ${result.ms_per_step.toFixed(0)} ms a step, ${result.gflop_s.toFixed(0)} GFLOP/s; ` +
              `${(result.params / 1e6).toFixed(2)} M parameters, ${result.threads} threads, ${result.device}\n`,
          );
        }
      } finally {
        await device.close();
      }
    });
}

type ModelFlags = CommonFlags & SpeculationFlags & Omit<ModelBenchOptions, "speculation" | "cacheType"> & { readonly json?: boolean };

function benchModelCommand(bench: Command): void {
  bench
    .argument("[model]", modelHelp)
    .option("-p, --prompt <n>", "tokens of the prompt that is timed; 0: none", integer(0, 1_000_000), 512)
    .option("-n, --gen <n>", "tokens that are generated; 0: none", integer(0, 1_000_000), 128)
    .option("-d, --depth <n>", "tokens in the context before the generation", integer(0, 1_000_000), 0)
    .option("--parallel <n>", "sequences at once", integer(1, 1024), 1)
    .option("-r, --repeats <n>", "repeats; the median is reported", integer(1, 1000), 3)
    .option("--json", "print one JSON document");
  addSpeculationFlags(bench, "none");
  addModelFlags(bench)
    .addOption(cacheTypeOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually bench model-q4_0.gguf\n  $ gradually bench model-q4_0.gguf --depth 8192 --gen 32\n  $ gradually bench kernels\n",
    )
    .action(async (reference: string | undefined, flags: ModelFlags) => {
      await withWeights(reference, flags, async ({ model, host, path, cacheType }) => {
        const progress = progressLine(host.now);
        const speculation = speculationOf(flags);
        const options = { ...flags, cacheType, ...(speculation && { speculation }) };
        const result = await benchModel(model, options, host.now, (step, total) => progress.update({ stage: "bench", step, total }));
        progress.finish();
        if (flags.json) return writeJson(result);
        const { pp, tg, drafts, weights_bytes, read_gb_s, limit_gb_s } = result;
        say(
          `${path}, ${result.device}, ${result.threads} threads, ${formatBytes(weights_bytes)} of weights a step, cache ${result.cache_type}`,
        );
        if (pp) say(`pp ${pp.n}   ${pp.tok_s.toFixed(1)} tokens/s`);
        if (tg) {
          const many = tg.parallel > 1 ? `, ${tg.parallel} sequences` : "";
          const share = read_gb_s !== undefined && limit_gb_s ? `: ${read_gb_s.toFixed(1)} GB/s of ${limit_gb_s.toFixed(1)}` : "";
          say(`tg ${tg.n}   ${tg.tok_s.toFixed(1)} tokens/s at ${tg.depth}${many}${share}`);
        }
        if (drafts) say(`drafts by ${drafts.kind}: ${drafts.accepted} of ${drafts.n} tokens came true`);
      });
    });
}

function whole(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1 && value <= max) return value;
  throw new ConfigError({
    operation: flag,
    got: JSON.stringify(text),
    expected: `a whole number from 1 to ${max}`,
    cure: `give ${flag} such a number`,
  });
}

function open({ device, threads, build }: Common) {
  const wanted = threads === undefined ? {} : { threads: whole("--threads", threads, 256) };
  return openDevice(nodeHost(), { ...wanted, ...(device && { device }), ...(build !== undefined && { build: build as "wide" }) });
}
