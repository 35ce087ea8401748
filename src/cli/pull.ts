// `gradually pull hf:org/name`: fetches a model into the cache that all Hugging Face programs share, and continues what was cut off. Prints where it
// lies and how to run it.

import type { Command } from "commander";
import { parseHubName, showHubName } from "../formats/hub-names.ts";
import { pullModel } from "../platform/hub/pull.ts";
import { nodeHost } from "../platform/node.ts";
import { readHubSettings, withProgress } from "./hub.ts";
import { formatBytes, say, shellWord, writeJson } from "./output.ts";

export function pullCommand(program: Command): void {
  program
    .command("pull")
    .description("Fetch a model from the Hugging Face Hub into its cache; a cut-off download is continued.")
    .argument("<model>", "hf:org/name, with @REVISION, and :FILE or :QUANTISATION for a GGUF")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  $ gradually pull hf:Qwen/Qwen2.5-0.5B-Instruct
  $ gradually pull hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M
  $ gradually pull hf:org/name@v1.0:model-Q8_0.gguf --json

Environment: HF_HOME, HF_HUB_CACHE (where models lie), HF_TOKEN (or the token file), HF_ENDPOINT, HF_HUB_OFFLINE=1`,
    )
    .action(runPull);
}

async function runPull(reference: string, flags: { readonly json?: boolean }): Promise<void> {
  const name = parseHubName(reference);
  const settings = await readHubSettings();
  const { now } = nodeHost();
  const start = now();
  const pulled = await withProgress(name, (report) => pullModel(settings, name, report));
  const seconds = now() - start;
  const sum = (files: typeof pulled.files) => files.reduce((bytes, file) => bytes + file.bytes, 0);
  const fetched = pulled.files.filter((file) => file.fetched);
  if (flags.json) {
    const { path, kind, commit, files } = pulled;
    writeJson({ model: showHubName(name), path, kind, commit, bytes: sum(files), fetched_bytes: sum(fetched), seconds, files });
    return;
  }
  const count = `${pulled.files.length} ${pulled.files.length === 1 ? "file" : "files"}, ${formatBytes(sum(pulled.files))}`;
  say(pulled.path);
  say(fetched.length === 0 ? `${count}, all there already` : `${count}; ${formatBytes(sum(fetched))} fetched`);
  if (pulled.kind === "folder" || pulled.path.endsWith(".gguf")) say(`next: gradually run ${shellWord(showHubName(name))}`);
}
