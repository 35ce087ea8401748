// The folder of a run, opened for writing by one process: recipe.json, the logs, the checkpoints. In: a recipe and a path. Out: a locked folder and, when the
// run resumes, the newest checkpoint that verifies, with the logs cut back to it. A folder that holds another run is refused, and
// so is a resume with a changed recipe: the differences are listed.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { latestCheckpoint, type SavedCheckpoint, sweepCheckpoints } from "./checkpoint.ts";
import { sha256 } from "./manifest.ts";
import { freeKeys, type Recipe, recipeText } from "./recipe.ts";
import { differences } from "./recipe-overrides.ts";
import { logNames, RunLog } from "./run-log.ts";

export type RunFolder = {
  readonly path: string;
  readonly checkpoints: string;
  readonly log: RunLog;
  /** Where the run goes on; undefined: from the beginning. */
  readonly saved: SavedCheckpoint | undefined;
  /** SHA-256 of the recipe without the keys that are free to change. */
  readonly recipeHash: string;
  close(): Promise<void>;
};

/** Throws ConfigError when the folder is in use, holds a run that is not to be resumed, or a run of another recipe. */
export async function openRunFolder(
  files: Files,
  path: string,
  recipe: Recipe,
  resume: boolean,
  onWarning: (text: string) => void,
): Promise<RunFolder> {
  await files.makeFolder(path);
  const lock = await files.lock?.(files.join(path, "run.lock"));
  try {
    const checkpoints = files.join(path, "checkpoints");
    const recipePath = files.join(path, "recipe.json");
    const recipeHash = await hashOf(recipe);
    const before = (await files.exists(recipePath)) ? await files.readText(recipePath, 10_000_000) : undefined;
    if (!resume) await refuseOldRun(files, path);
    else if (before !== undefined) refuseOtherRecipe(path, before, recipe);
    const onDamaged = (damagedPath: string, damage: string) => onWarning(`${damagedPath} is damaged (${damage}) and is not used`);
    if (resume && lock) await sweepCheckpoints(files, checkpoints);
    const saved = resume ? await latestCheckpoint(files, checkpoints, onDamaged) : undefined;
    if (saved && saved.state.recipe !== recipeHash) {
      const found = await modelDifferences(files, saved.path, recipe);
      const model = found.length > 0 ? ` and another model (${found.join("; ")})` : "";
      throw new ConfigError({
        operation: `resume ${quote(path, 300)}`,
        got: `${files.baseName(saved.path)} of another recipe${model}`,
        expected: "a checkpoint of this recipe",
        cure: "train into another folder",
      });
    }
    const log = await RunLog.open(files, path, saved ? lengthsOf(saved) : {});
    try {
      const now = recipeText(recipe);
      if (before !== now) await files.writeAtomic(recipePath, now);
    } catch (error) {
      await log.close();
      throw error;
    }
    const close = async () => {
      await log.close();
      await lock?.release();
    };
    return { path, checkpoints, log, saved, recipeHash, close };
  } catch (error) {
    await lock?.release();
    throw error;
  }
}

async function hashOf(recipe: Recipe): Promise<string> {
  return await sha256(new TextEncoder().encode(JSON.stringify(bound(recipe as unknown as Record<string, unknown>))));
}

/** Without the keys that may change. */
function bound(recipe: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(recipe).filter(([key]) => !freeKeys.some((free) => free === key)));
}

async function refuseOldRun(files: Files, path: string): Promise<void> {
  for (const name of ["recipe.json", "metrics.jsonl", "checkpoints"]) {
    if (!(await files.exists(files.join(path, name)))) continue;
    throw new ConfigError({
      operation: `train into ${quote(path, 300)}`,
      got: `a folder with a run in it (${name})`,
      expected: "a new or empty folder",
      cure: "resume that run (--resume) or choose another folder",
    });
  }
}

function refuseOtherRecipe(path: string, before: string, recipe: Recipe): void {
  const operation = `resume ${quote(path, 300)}`;
  const old = parseJson(before, { source: "recipe.json" });
  // Through JSON, so that both sides lost the same things.
  const found = isJsonObject(old) ? differences(bound({ ...old }), bound(JSON.parse(recipeText(recipe)))) : ["recipe.json is no object"];
  if (found.length === 0) return;
  throw new ConfigError({
    operation,
    got: `a changed recipe (${found.join("; ")})`,
    expected: "the recipe that the run began with",
    cure: "undo the changes, or train into another folder",
  });
}

/** How the model of a checkpoint differs from the one that the recipe asks for, key by key of the recipe's model.config. */
async function modelDifferences(files: Files, checkpoint: string, { model }: Recipe): Promise<string[]> {
  const source = files.join(checkpoint, "config.json");
  const saved = parseJson(await files.readText(source, 10_000_000), { source });
  if (!isJsonObject(saved) || model.config === null) return [];
  const wanted: Record<string, unknown> = JSON.parse(JSON.stringify(model.config));
  return differences(Object.fromEntries(Object.keys(wanted).map((key) => [key, saved[key]])), wanted);
}

function lengthsOf({ state, timing }: SavedCheckpoint): Record<string, number> {
  const lengths: Record<string, number> = { ...state.logs };
  if (isJsonObject(timing) && typeof timing.length === "number") lengths["timing.jsonl"] = timing.length;
  return Object.fromEntries(logNames.map((name) => [name, lengths[name] ?? 0]));
}
