// `gradually logits MODEL --ids 1,2,3`: the logits after the last id, or after every id. For comparing with other engines: no tokenizer,
// no cache, no sampling takes part.

import type { Command } from "commander";
import { DeviceError, RequestError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";
import { modelHelp } from "../platform/find-model.ts";
import { dispose, fromArray, read, scope } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { integers } from "./flags.ts";
import { withWeights } from "./model.ts";
import { addModelFlags, type ModelFlags } from "./model-flags.ts";
import { say, writeJson } from "./output.ts";

type Flags = ModelFlags & { readonly ids: number[]; readonly all?: boolean; readonly json?: boolean };

export function logitsCommand(program: Command): void {
  const command = program
    .command("logits")
    .description("Print the logits of a model for given ids.")
    .argument("<model>", modelHelp)
    .requiredOption("--ids <list>", "ids with commas between them", integers(0))
    .option("--all", "for every position, not only the last")
    .option("--json", 'print {"logits": […]}; with --all one list for each position');
  addModelFlags(command)
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually logits ./my-model --ids 1,403,407\n  $ gradually logits ./my-model --ids 1,403,407 --all --json",
    )
    .action(runLogits);
}

async function runLogits(reference: string, flags: Flags): Promise<void> {
  await withWeights(reference, flags, async ({ model }) => {
    const rows = await computeLogits(model, flags.ids, flags.all ?? false);
    if (flags.json) {
      writeJson({ logits: flags.all ? rows : rows[0] });
      return;
    }
    const first = flags.all ? 0 : flags.ids.length - 1;
    for (const [i, row] of rows.entries()) {
      const best = row
        .map((value, id) => ({ id, value }))
        .sort((a, b) => b.value - a.value)
        .slice(0, 5);
      say(`position ${first + i}: ${best.map(({ id, value }) => `${id} (${value.toFixed(4)})`).join("  ")}`);
    }
  });
}

/** Logits [V] after the last id, or after each. Throws RequestError for ids that the model does not have or that are too many. */
export async function computeLogits(model: Model, ids: readonly number[], all: boolean): Promise<number[][]> {
  const outside = ids.find((id) => id >= model.vocabSize);
  if (outside !== undefined) {
    throw new RequestError({
      operation: "logits: --ids",
      got: `id ${outside}`,
      expected: `ids from 0 to ${model.vocabSize - 1}`,
      cure: "use this model's tokenizer",
    });
  }
  const R = ids.length;
  if (R > model.contextLength) {
    throw new RequestError({
      operation: "logits: --ids",
      got: `${R} ids`,
      expected: `at most ${model.contextLength}, the model's context`,
      cure: "give fewer ids",
    });
  }
  const positions = ids.map((_, i) => i);
  const outputs = all ? positions : [R - 1];
  const make = (values: readonly number[]) => fromArray(model.device, values, [values.length], "i32");
  const logits = noGradients(() =>
    scope(
      () =>
        model.forward({
          ids: make(ids),
          positions: make(positions),
          first: make(ids.map(() => 0)),
          last: make(positions),
          outputRows: make(outputs),
        }).logits,
    ),
  ); // [M, V]
  const numbers = Array.from(await read(logits));
  dispose(logits);
  if (!numbers.every(Number.isFinite)) {
    throw new DeviceError({
      operation: "logits",
      got: "NaN or infinity",
      expected: "finite numbers",
      cure: "check the weights of this model",
    });
  }
  return outputs.map((_, m) => numbers.slice(m * model.vocabSize, (m + 1) * model.vocabSize));
}
