// `gradually quantize IN OUT --type q4_k_m`: a model as a GGUF file of fewer bits. IN is whatever `run` takes. Numbers stream; the file appears
// whole or not at all.

import { type Command, Option } from "commander";
import { ConfigError, quote } from "../core/errors.ts";
import { isGgufPath } from "../models/model-files.ts";
import { modelHelp } from "../platform/find-model.ts";
import { type Mix, mixes } from "../quantize/mix.ts";
import { convertModel } from "./convert.ts";

type Flags = { readonly type: Mix; readonly name?: string; readonly force?: boolean; readonly json?: boolean };

export function quantizeCommand(program: Command): void {
  program
    .command("quantize")
    .description("Write a model as a GGUF file whose weights take fewer bits.")
    .argument("<in>", modelHelp)
    .argument("<out>", "the .gguf file to write")
    .addOption(new Option("--type <type>", "q4_k_m and its like are llama.cpp's mixes").choices(mixes).default("q4_k_m"))
    .option("--name <name>", "the model's name in the file (default: of IN)")
    .option("--force", "write over a file that is there")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Bits for a weight: f32 32, f16 and bf16 16, q8_0 8.5, q6_k 6.6, q5_k_m 5.7, q5_0 5.5, q4_k_m 4.9, q4_0 4.5.

Examples:
  $ gradually quantize ./my-model my-model-q4_k_m.gguf
  $ gradually quantize hf:org/name name-q8_0.gguf --type q8_0
  $ gradually quantize big-f16.gguf small.gguf --type q4_k_m`,
    )
    .action(async (reference: string, out: string, flags: Flags) => {
      if (!isGgufPath(out))
        throw new ConfigError({
          operation: "quantize",
          got: `output ${quote(out, 300)}`,
          expected: "a name that ends in .gguf",
          cure: "for a folder use: gradually convert",
        });
      await convertModel("quantize", reference, out, flags);
    });
}
