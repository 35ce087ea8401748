// What a page may name as a model, told apart. In: text, URL, files or a handle of the user's. Out: plain data that can be sent to the worker. Nothing is
// fetched here. Of a folder only the files directly in it count.

import { ConfigError, quote } from "../../core/errors.ts";
import { ggufModels } from "../../formats/hub-files.ts";
import { isHubName, parseHubName, showHubName } from "../../formats/hub-names.ts";
import type { BrowserSource } from "./options.ts";

export type LocalFile = { readonly path: string; readonly file: File };

export type DescribedSource =
  | { readonly kind: "stored"; readonly name: string }
  | { readonly kind: "hub"; readonly name: string }
  /** Absolute, without fragment. */
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "files"; readonly name: string; readonly files: readonly LocalFile[] };

const operation = "load a model";

/** Throws ConfigError for what is none of these. */
export async function describeSource(source: BrowserSource): Promise<DescribedSource> {
  if (typeof source === "string") return describeText(source);
  if (source instanceof URL) return describeUrl(source.href);
  if (source instanceof File) return describeFiles([{ path: source.name, file: source }], source.name);
  if ("kind" in source) return source.kind === "file" ? await describeSource(await source.getFile()) : await describeFolder(source);
  const files = [...source];
  const folder = files[0]?.webkitRelativePath.split("/")[0];
  const direct = files.filter(({ webkitRelativePath }) => webkitRelativePath.split("/").length <= 2);
  return describeFiles(
    direct.map((file) => ({ path: file.name, file })),
    folder || undefined,
  );
}

function describeText(text: string): DescribedSource {
  if (isHubName(text) && !/^https?:.*\/resolve\//.test(text)) return { kind: "hub", name: showHubName(parseHubName(text)) };
  if (text.includes("/") || text.toLowerCase().endsWith(".gguf")) return describeUrl(text);
  if (text !== "") return { kind: "stored", name: text };
  throw new ConfigError({
    operation,
    got: "an empty name",
    expected: "a URL, hf:org/name or the name of a stored model",
    cure: "name one",
  });
}

function describeUrl(text: string): DescribedSource {
  const url = URL.canParse(text, location.href) ? new URL(text, location.href) : undefined;
  if (!url || !/^(?:https?|blob):$/.test(url.protocol)) {
    throw new ConfigError({ operation, got: quote(text, 300), expected: "an http or https URL", cure: "correct it" });
  }
  url.hash = "";
  // With and without a slash at its end it is one folder.
  url.pathname = url.pathname.replace(/(?<=.)\/+$/, "");
  return { kind: "url", url: url.href };
}

async function describeFolder(handle: FileSystemDirectoryHandle): Promise<DescribedSource> {
  const files: LocalFile[] = [];
  for await (const [path, entry] of handle.entries()) {
    if (entry.kind === "file") files.push({ path, file: await (entry as FileSystemFileHandle).getFile() });
  }
  return describeFiles(files, handle.name);
}

function describeFiles(files: readonly LocalFile[], folder: string | undefined): DescribedSource {
  const name = (folder ?? entryOf(files.map(({ path }) => path))).replace(/\.gguf$/i, "") || "model";
  entryOf(files.map(({ path }) => path));
  return { kind: "files", name, files };
}

/** The file to open, or "" for a folder with config.json. Throws ConfigError where there is no one model. */
export function entryOf(paths: readonly string[]): string {
  if (paths.includes("config.json")) return "";
  const models = ggufModels(paths);
  if (models.length === 1) return models[0] as string;
  throw new ConfigError({
    operation,
    got: models.length === 0 ? `no model among ${paths.length} files` : `${models.length} models: ${quote(models.join(", "), 200)}`,
    expected: "the files of one folder with config.json, or one .gguf file (all parts of it)",
    cure: "choose others",
  });
}
