// From the word MODEL to a path: a Hugging Face folder, a .gguf file, hf:org/name (fetched when it is not there), the name of a bundled model, or nothing
// (the bundled model).

import { fileURLToPath } from "node:url";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isHubName } from "../formats/hub-names.ts";
import { isGgufPath } from "../models/model-files.ts";

export const modelHelp = "a Hugging Face model folder, a .gguf file, hf:org/name, or the name of a bundled model";

/** Where package.json, models/ and recipes/ lie. */
export const packageRoot = fileURLToPath(new URL("../../", import.meta.url));
const bundledName = "countdown-reasoner";

/** The folder, or the .gguf file, that MODEL means; `findHub` answers hf:org/name. Throws ConfigError when there is none. */
export async function findModelPath(
  files: Files,
  reference: string | undefined,
  findHub: (reference: string) => Promise<string>,
): Promise<string> {
  const shelf = files.join(packageRoot, "models");
  if (reference === undefined) return await findBundled(files, shelf);
  const operation = `open model ${quote(reference, 300)}`;
  if (isHubName(reference)) return await findHub(reference);
  if (isGgufPath(reference) && (await files.exists(reference))) return reference;
  if (reference !== "" && (await files.isFolder(reference))) return reference;
  const isBareName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(reference);
  if (isBareName && (await files.isFolder(files.join(shelf, reference)))) return files.join(shelf, reference);
  const got = reference !== "" && (await files.exists(reference)) ? "a file" : isGgufPath(reference) ? "no such file" : "no such folder";
  throw new ConfigError({ operation, got, expected: modelHelp, cure: "check the path" });
}

/** The model on the shelf: countdown-reasoner, or the only one. Throws ConfigError. */
export async function findBundled(files: Files, shelf: string): Promise<string> {
  const folders: string[] = [];
  for (const name of await files.list(shelf)) if (await files.exists(files.join(shelf, name, "config.json"))) folders.push(name);
  const chosen = folders.includes(bundledName) ? bundledName : folders.length === 1 ? folders[0] : undefined;
  if (chosen !== undefined) return files.join(shelf, chosen);
  const got = folders.length === 0 ? `no bundled model in ${quote(shelf, 300)}` : `bundled models ${folders.join(", ")}`;
  throw new ConfigError({
    operation: "open the bundled model",
    got,
    expected: "one",
    cure: "name a model folder, or make one: gradually speedrun",
  });
}
