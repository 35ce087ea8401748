// `gradually rm hf:org/name`: removes a fetched model with all its revisions; with :FILE one GGUF and its parts. Files that another process is fetching are
// left alone.

import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { parseHubName, showHubName } from "../formats/hub-names.ts";
import { removeCached } from "../platform/hub/remove.ts";
import { readHubSettings } from "./hub.ts";
import { formatBytes, say, writeJson } from "./output.ts";

export function rmCommand(program: Command): void {
  program
    .command("rm")
    .description("Remove a model that was fetched from the Hugging Face Hub.")
    .argument("<model>", "hf:org/name, or hf:org/name:FILE for one GGUF")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExamples:\n  $ gradually rm hf:org/name\n  $ gradually rm hf:org/name:Q8_0")
    .action(runRm);
}

async function runRm(reference: string, flags: { readonly json?: boolean }): Promise<void> {
  const name = parseHubName(reference);
  const settings = await readHubSettings();
  const freed = await removeCached(settings, name);
  if (freed === undefined) {
    const operation = `remove ${showHubName(name)}`;
    throw new ConfigError({
      operation,
      got: "no such model in the cache",
      expected: "one that gradually ls lists",
      cure: "check the name",
    });
  }
  if (flags.json) writeJson({ model: showHubName(name), freed_bytes: freed });
  else say(`removed ${showHubName(name)}: ${formatBytes(freed)} freed`);
}
