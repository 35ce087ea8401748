// `gradually ls`: the models that are here, bundled and fetched, with what they take on the disk and when they were last read. Parameters are counted from the
// headers of safetensors files; nothing else of them is read.

import type { Command } from "commander";
import { GraduallyError } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { formatCount, formatDuration } from "../core/human.ts";
import { elementCount } from "../core/shape.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { showHubName } from "../formats/hub-names.ts";
import { packageRoot } from "../platform/find-model.ts";
import { listCached } from "../platform/hub/cache.ts";
import { nodeHost } from "../platform/node.ts";
import { readHubSettings } from "./hub.ts";
import { formatBytes, say, showControls, table, writeJson } from "./output.ts";

type Listed = {
  /** As MODEL takes it. */
  readonly model: string;
  readonly kind: "bundled" | "safetensors" | "gguf" | "partial";
  readonly bytes: number;
  readonly parameters: number | null;
  readonly last_used: string | null;
  readonly path: string;
};

export function lsCommand(program: Command): void {
  program
    .command("ls")
    .alias("list")
    .description("List the models that are here: bundled ones and those in the Hugging Face cache.")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExamples:\n  $ gradually ls\n  $ gradually ls --json")
    .action(runLs);
}

async function runLs(flags: { readonly json?: boolean }): Promise<void> {
  const { files } = nodeHost();
  const settings = await readHubSettings();
  const models: Listed[] = await listBundled(files);
  for (const { name, kind, path, bytes, lastUsed } of await listCached(settings)) {
    const parameters = kind === "safetensors" ? await countParameters(files, path) : null;
    models.push({ model: showHubName(name), kind, bytes, parameters, last_used: lastUsed.toISOString(), path });
  }
  if (flags.json) {
    writeJson({ cache: settings.cache, models });
    return;
  }
  const rows = models.map(({ model, kind, bytes, parameters, last_used }) => [
    model,
    kind,
    formatBytes(bytes),
    parameters === null ? "" : formatCount(parameters),
    last_used === null ? "" : `${formatDuration((Date.now() - Date.parse(last_used)) / 1000)} ago`,
  ]);
  say(showControls(table([["model", "kind", "size", "parameters", "last used"], ...rows], [2, 3])));
  if (models.some(({ kind }) => kind === "partial"))
    say("\npartial: not all of it is there; `gradually pull` goes on with it, `gradually rm` removes it");
}

async function listBundled(files: Files): Promise<Listed[]> {
  const shelf = files.join(packageRoot, "models");
  const found: Listed[] = [];
  for (const name of await files.list(shelf)) {
    const path = files.join(shelf, name);
    if (!(await files.exists(files.join(path, "config.json")))) continue;
    let bytes = 0;
    for (const file of await files.list(path)) {
      if (await files.isFolder(files.join(path, file))) continue;
      const source = await files.open(files.join(path, file));
      bytes += source.size;
      await source.close();
    }
    found.push({ model: name, kind: "bundled", bytes, parameters: await countParameters(files, path), last_used: null, path });
  }
  return found;
}

/** Null for what cannot be opened. */
async function countParameters(files: Files, path: string): Promise<number | null> {
  try {
    const folder = await openHfFolder(files, path);
    await folder.close();
    return [...folder.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  } catch (thrown) {
    if (thrown instanceof GraduallyError) return null;
    throw thrown;
  }
}
