// `gradually perplexity MODEL FILE`: how well a model predicts a text, and with --kl how far its predictions are from another model's, as for a
// quantised model beside the original.

import type { Command } from "commander";
import { ConfigError, quote } from "../core/errors.ts";
import { chunkText, type Document, perplexity } from "../eval/perplexity.ts";
import { openModelFiles } from "../models/files.ts";
import { loadModel } from "../models/load.ts";
import { modelHelp } from "../platform/find-model.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { findModel } from "./find-model.ts";
import { integer } from "./flags.ts";
import { withModel } from "./model.ts";
import { addModelFlags, type ModelFlags } from "./model-flags.ts";
import { progressLine, say, writeJson } from "./output.ts";
import { readInput } from "./stdin.ts";

type Flags = ModelFlags & {
  readonly chunk: number;
  readonly lines?: boolean;
  readonly kl?: string;
  readonly limit?: number;
  readonly json?: boolean;
};

const textLimit = 2 ** 28;

export function perplexityCommand(program: Command): void {
  const command = program
    .command("perplexity")
    .description("Measure how well a model predicts a text. Lower is better; 1 is certainty.")
    .argument("<model>", modelHelp)
    .argument("<file>", "a text file; - reads standard input")
    .option("--chunk <n>", "tokens in a chunk; the second half of each is scored", integer(4), 512)
    .option("--lines", "every line is a text of its own; all its tokens are scored")
    .option("--kl <base>", "also measure KL(BASE || MODEL), and how often both choose the same token")
    .option("--limit <n>", "at most n chunks or lines", integer(1))
    .option("--json", 'print {"perplexity", "error", "nll", "tokens", "kl": {"mean", "p99", "max", "same_top"}}');
  addModelFlags(command)
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually perplexity model-q4_k_m.gguf story.txt\n  $ gradually perplexity model-q4_k_m.gguf story.txt --kl ./model --json\n  $ gradually perplexity ./my-model problems.txt --lines",
    )
    .action(run);
}

async function run(reference: string, file: string, flags: Flags): Promise<void> {
  await withModel(reference, flags, async ({ model, tokenizer, host, device, path }) => {
    const text = file === "-" ? await readInput("perplexity") : await host.files.readText(file, textLimit);
    const documents = (flags.lines ? lines(text, tokenizer) : chunks(text, tokenizer, Math.min(flags.chunk, model.contextLength))).slice(
      0,
      flags.limit,
    );
    const progress = progressLine(host.now);
    const onProgress = (step: number, total: number) => progress.update({ stage: "perplexity", step, total });
    const opened = flags.kl === undefined ? undefined : await openModelFiles(host.files, await findModel(host.files, flags.kl));
    const base = opened && (await loadModel(device, opened, { weights: "stored", contextLength: model.contextLength }));
    try {
      const result = await perplexity(model, documents, { ...(base && { base }), onProgress });
      progress.finish();
      if (flags.json) return writeJson({ ...result, model: path, documents: documents.length, chunk: flags.lines ? null : flags.chunk });
      say(`perplexity ${result.perplexity.toFixed(4)} ± ${result.error.toFixed(4)} over ${result.tokens} tokens`);
      if (result.kl) {
        const { mean, p99, same_top } = result.kl;
        say(
          `KL ${mean.toExponential(2)} nats a token (99 % below ${p99.toExponential(2)}), the same choice in ${(100 * same_top).toFixed(2)} %`,
        );
      }
    } finally {
      progress.finish();
      base?.dispose();
      await opened?.close();
    }
  });
}

function chunks(text: string, tokenizer: Tokenizer, length: number): Document[] {
  const { bos } = tokenizer.specialIds;
  const sample = tokenizer.encode("");
  return chunkText(tokenizer.encode(text), length, sample[0] === bos ? bos : undefined);
}

function lines(text: string, tokenizer: Tokenizer): Document[] {
  const { bos } = tokenizer.specialIds;
  const documents = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const ids = tokenizer.encode(line);
      return { ids: bos !== undefined && ids[0] !== bos ? [bos, ...ids] : ids, from: 1 };
    });
  if (documents.length > 0) return documents;
  throw new ConfigError({
    operation: "perplexity",
    got: `a text of ${quote(text, 20)}`,
    expected: "lines of text",
    cure: "give another file",
  });
}
