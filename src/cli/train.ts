// `gradually train RECIPE`: runs a recipe into a run folder, or on from where it stopped. RECIPE is a TypeScript or JavaScript module (its export
// `recipe` or its default export), a recipe.json, or the name of a bundled recipe. A signal ends the run with a checkpoint.

import { basename, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { ConfigError, GraduallyError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { parseJson } from "../core/json.ts";
import { packageRoot } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { defineRecipe, type Recipe, type RecipeInput } from "../train/recipe.ts";
import { applyOverrides } from "../train/recipe-overrides.ts";
import { type RunResult, runRecipe } from "../train/run.ts";
import { collect } from "./flags.ts";
import { withDevice } from "./model.ts";
import { addDeviceFlags, type DeviceFlags } from "./model-flags.ts";
import { note, progressLine, say, shellWord, writeJson } from "./output.ts";
import { listenForStop } from "./stop-signals.ts";

type Flags = DeviceFlags & { readonly out?: string; readonly set: string[]; readonly resume?: boolean; readonly json?: boolean };

export function trainCommand(program: Command): void {
  const command = program
    .command("train")
    .description("Train a model by a recipe. Ctrl-C stops it with a checkpoint; --resume goes on, bit for bit as if it had never stopped.")
    .argument("<recipe>", "a recipe module (.ts, .js), a recipe.json, or the name of a bundled recipe")
    .option("--out <folder>", "the run folder (default: runs/ and the recipe's name)")
    .option("--set <path=value>", "change an option of the recipe; may be given more than once", collect, [])
    .option("--resume", "go on from the newest whole checkpoint of the folder")
    .option("--json", "print one JSON document when it ends");
  addDeviceFlags(command)
    .addHelpText(
      "after",
      `
Examples:
  $ gradually train tiny --out runs/first
  $ gradually train my-recipe.ts --set seed=2 --set stages.pretrain.steps=500
  $ gradually train tiny --out runs/first --resume`,
    )
    .action(train);
}

async function train(name: string, flags: Flags): Promise<void> {
  const { files } = nodeHost();
  const recipe = applyOverrides(await loadRecipe(files, name), flags.set);
  const out = flags.out ?? files.join("runs", recipe.name);
  await withDevice(flags, async (device, host) => {
    const progress = progressLine(host.now);
    const stopping = listenForStop(() => progress.log("stopping after this step; once more to stop at once"));
    const start = host.now();
    let result: RunResult;
    try {
      result = await runRecipe(recipe, {
        out,
        host,
        device,
        resume: flags.resume ?? false,
        signal: stopping.signal,
        onProgress: (state) => progress.update(state),
        onWarning: (text) => progress.log(`warning: ${text}`),
      });
    } finally {
      progress.finish();
      stopping.release();
    }
    result.model.dispose();
    tell(result, { out, name, seconds: host.now() - start, json: flags.json ?? false });
  });
}

function tell(result: RunResult, { out, name, seconds, json }: { out: string; name: string; seconds: number; json: boolean }): void {
  const { finished, checkpoint, steps, tokens, skipped, ledger, model, task } = result;
  const cost = ledger.report();
  if (json) {
    const { total, active } = model.parameterCount;
    writeJson({
      finished,
      out,
      checkpoint,
      steps,
      tokens,
      skipped,
      params: total,
      active_params: active,
      seconds,
      flop: cost.flop,
      cost_usd: cost.cost_usd,
      stages: cost.stages,
    });
    return;
  }
  say(checkpoint);
  note(ledger.costLine());
  if (!finished) note(`stopped; next: gradually train ${shellWord(name)} --out ${shellWord(out)} --resume`);
  else if (task) note(`next: gradually eval ${shellWord(checkpoint)} --task ${task.task.name}`);
  else note(`next: gradually run ${shellWord(checkpoint)}`);
}

/** Throws ConfigError when there is no recipe of that name or its module cannot be loaded. */
export async function loadRecipe(files: Files, name: string): Promise<Recipe> {
  const operation = `load recipe ${quote(name, 300)}`;
  const path = await findRecipe(files, name, operation);
  if (extname(path) === ".json")
    return defineRecipe(parseJson(await files.readText(path, 10_000_000), { source: path }) as unknown as RecipeInput);
  let module: { readonly recipe?: unknown; readonly default?: unknown };
  try {
    module = await import(pathToFileURL(resolve(path)).href);
  } catch (thrown) {
    if (thrown instanceof GraduallyError) throw thrown;
    const got = quote(thrown instanceof Error ? thrown.message : String(thrown), 300);
    throw new ConfigError({ operation, got, expected: "a module that loads", cure: "mend the recipe" }, { cause: thrown });
  }
  const recipe = module.recipe ?? module.default;
  if (recipe === undefined) {
    const got = `exports ${Object.keys(module).join(", ") || "(none)"}`;
    throw new ConfigError({
      operation,
      got,
      expected: "an export named recipe, or a default export",
      cure: "export const recipe = defineRecipe({…})",
    });
  }
  return defineRecipe(recipe as RecipeInput);
}

async function findRecipe(files: Files, name: string, operation: string): Promise<string> {
  if (name !== "" && (await files.exists(name)) && !(await files.isFolder(name))) return name;
  const shelf = files.join(packageRoot, "recipes");
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    for (const extension of ["", ".ts", ".js", ".json"]) {
      const path = files.join(shelf, name + extension);
      if ((await files.exists(path)) && !(await files.isFolder(path))) return path;
    }
  }
  const bundled = (await files.list(shelf)).map((file) => basename(file, extname(file)));
  throw new ConfigError({
    operation,
    got: "no such file",
    expected: bundled.length > 0 ? `a recipe file, or one of ${bundled.join(", ")}` : "a recipe file",
    cure: "check the path",
  });
}
