// Which files of a repository a model needs. In: the paths that the repository lists and the name that was asked for. Out: a folder of
// safetensors with its configuration and tokenizer, or one GGUF file with all its parts. Pure; the same choice is made over what the
// Hub lists and over what the cache holds. Unusual: pickles (.bin, .pt) are never chosen, since nothing here reads them.

import { ConfigError, quote } from "../core/errors.ts";
import { type HubName, showHubName } from "./hub-names.ts";

/** In this order they are fetched: weights last, so that a folder with weights has the rest. */
const smallFiles = [
  "config.json",
  "generation_config.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "tokenizer.json",
];
export const weightsFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";
const preferredQuantisation = "Q4_K_M";
const splitName = /-(\d{5})-of-(\d{5})\.gguf$/;

export type HubChoice =
  /** With `sharded`, the shards that the last of `files`, the index, names are needed too. */
  | { readonly kind: "folder"; readonly files: readonly string[]; readonly sharded: boolean }
  /** One file, or all parts of a split one; the first is the one to open. */
  | { readonly kind: "file"; readonly files: readonly [string, ...string[]] };

/** Throws ConfigError that lists what there is. */
export function chooseFiles(paths: readonly string[], name: HubName): HubChoice {
  const listed = new Set(paths);
  const { selector } = name;
  if (selector !== undefined && listed.has(selector)) return { kind: "file", files: partsOf(selector, listed, name) };
  const models = ggufModels(paths);
  if (selector !== undefined) return { kind: "file", files: partsOf(chooseQuantisation(models, selector, name), listed, name) };
  const sharded = !listed.has(weightsFile);
  if (listed.has("config.json") && (!sharded || listed.has(indexFile))) {
    const files = [...smallFiles.filter((file) => listed.has(file)), sharded ? indexFile : weightsFile];
    return { kind: "folder", files, sharded };
  }
  if (models.length > 0) {
    const only = models.length === 1 ? models[0] : undefined;
    return { kind: "file", files: partsOf(only ?? chooseQuantisation(models, preferredQuantisation, name), listed, name) };
  }
  const pickles = paths.some((path) => /\.(?:bin|pt|pth|ckpt)$/.test(path));
  const weights = paths.some((path) => path.endsWith(".safetensors"));
  throw new ConfigError({
    operation: `choose the files of ${showHubName(name)}`,
    got: weights
      ? "safetensors without config.json or index"
      : pickles
        ? "weights only as pickles (.bin, .pt), which can run code"
        : "no model",
    expected: `config.json with ${weightsFile} or ${indexFile}, or a .gguf file`,
    cure: pickles ? "find or make a safetensors version of it" : "check the name, or name a file: hf:org/name:file",
  });
}

/** True when a folder's files are enough to run text through it. */
export function hasTokenizer(paths: Iterable<string>): boolean {
  const names = new Set(paths);
  return ["tokenizer.json", "tokenizer.model", "vocab.json"].some((file) => names.has(file));
}

/** GGUF files that hold a model; of a split one only the first part. Projectors and importance matrices are no models. */
export function ggufModels(paths: readonly string[]): string[] {
  return paths
    .filter(
      (path) =>
        path.endsWith(".gguf") &&
        !/(?:^|\/)(?:mmproj|imatrix)[^/]*$/i.test(path) &&
        [undefined, "00001"].includes(splitName.exec(path)?.[1]),
    )
    .sort();
}

/** As `-hf org/name:TAG` of llama.cpp: the file whose name contains the tag, in either case. `UD-TAG` gives way to a plain `TAG`. */
function chooseQuantisation(models: readonly string[], tag: string, name: HubName): string {
  const plain = tag.replace(/[.+]/g, "\\$&");
  const matches = models.filter((path) => new RegExp(`(?:^|[-._/])${plain}(?:[-./]|$)`, "i").test(path));
  const usual = matches.filter((path) => !new RegExp(`(?:^|[-._/])UD-${plain}`, "i").test(path));
  const chosen = matches.length === 1 ? matches[0] : usual.length === 1 ? usual[0] : undefined;
  if (chosen !== undefined) return chosen;
  const shown = matches.length > 0 ? matches : models;
  const list = shown.slice(0, 40).join(", ") + (shown.length > 40 ? ` and ${shown.length - 40} more` : "");
  throw new ConfigError({
    operation: `choose the file of ${showHubName(name)}`,
    got: shown.length === 0 ? "a repository without GGUF files" : `${matches.length === 0 ? "no match" : "several matches"} among ${list}`,
    expected: `one file for ${tag}`,
    cure:
      shown.length === 0 ? "leave out what follows the colon" : `name the file: ${showHubName({ ...name, selector: shown[0] as string })}`,
  });
}

/** Part `i`, from 1, of the split file that `name` is a part of. */
function partName(name: string, i: number, total: string): string {
  return name.replace(splitName, `-${String(i).padStart(5, "0")}-of-${total}.gguf`);
}

const mostParts = 1000;

/** The names of all parts of the file that `name` is a part of; itself when it is whole. Throws ConfigError for more than 1,000. */
export function splitParts(name: string): string[] {
  const [, , total] = splitName.exec(name) ?? [];
  if (total === undefined) return [name];
  if (Number(total) > mostParts) {
    const cure = "check the name";
    throw new ConfigError({ operation: `open ${quote(name)}`, got: `${Number(total)} parts`, expected: `at most ${mostParts}`, cure });
  }
  return Array.from({ length: Number(total) }, (_, i) => partName(name, i + 1, total));
}

function partsOf(first: string, listed: ReadonlySet<string>, name: HubName): [string, ...string[]] {
  const [, , total] = splitName.exec(first) ?? [];
  if (total === undefined) return [first];
  const count = Number(total);
  const part = (i: number) => partName(first, i, total);
  // Counted one by one, so that a name that claims 99,999 parts costs nothing.
  for (let i = 1; i <= count; i++) {
    if (listed.has(part(i))) continue;
    throw new ConfigError({
      operation: `choose the files of ${showHubName(name)}`,
      got: `no ${part(i)}`,
      expected: `all ${count} parts`,
      cure: "the repository is incomplete: choose another file",
    });
  }
  return [part(1), ...Array.from({ length: Math.max(0, count - 1) }, (_, i) => part(i + 2))];
}
