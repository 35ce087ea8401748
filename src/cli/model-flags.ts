// Flags of the verbs that open a device or a model, and what they mean.

import { type Command, Option } from "commander";
import { type DeviceName, deviceNames } from "../backend/open.ts";
import { type CacheType, cacheTypes } from "../core/dtype.ts";
import type { SpeculationKind, SpeculationOptions } from "../engine/speculation.ts";
import { integer } from "./flags.ts";

/** --cache-type; llama.cpp's names for it are aliases. */
export function cacheTypeOption(): Option {
  return new Option(
    "--cache-type <name>",
    "round cached keys and values to this type (default: q8_0 for block-quantised weights, f16 for 16-bit ones, else f32)",
  ).choices([...cacheTypes]);
}

export type DeviceFlags = { readonly device: DeviceName; readonly threads?: number };

/** --device. */
export function deviceOption(): Option {
  return new Option("--device <name>", "cpu (WebAssembly), webgpu (a GPU: npm install webgpu) or reference (plain loops, slow)")
    .choices([...deviceNames])
    .default("cpu");
}

export function addDeviceFlags(command: Command): Command {
  return command.addOption(deviceOption()).option("-t, --threads <n>", "threads of the cpu (default: all cores)", integer(1, 256));
}

export type SpeculationFlags = { readonly speculate?: SpeculationKind; readonly draftTokens?: number };

/** Flags of speculation; `fallback` says what is done without them. */
export function addSpeculationFlags(command: Command, fallback: string): Command {
  return command
    .addOption(
      new Option(
        "--speculate <kind>",
        `foretell tokens, for speed alone: lookup (from the text so far), mtp (by the model's own head), none (default: ${fallback})`,
      ).choices(["lookup", "mtp", "none"]),
    )
    .option("--draft-tokens <n>", "tokens foretold at a time at most (default: 8; mtp: 1)", integer(1, 32));
}

/** Undefined where no flag was given. */
export function speculationOf({ speculate, draftTokens }: SpeculationFlags): SpeculationOptions | undefined {
  if (speculate === undefined && draftTokens === undefined) return undefined;
  return { kind: speculate ?? "lookup", ...(draftTokens !== undefined && { tokens: draftTokens }) };
}

export type ModelFlags = DeviceFlags & { readonly ctxSize?: number; readonly cacheType?: CacheType };

/** Device flags, and the context to make room for. */
export function addModelFlags(command: Command): Command {
  return addDeviceFlags(command).option(
    "-c, --ctx-size <n>",
    "longest context in tokens (default: the model's, as far as 1 GiB of cache goes)",
    integer(1, 2 ** 24),
  );
}
