// What is known of a model's files, whatever their kind: a Hugging Face folder (folder-files.ts) or a GGUF file (gguf-files.ts), mapped to the same names.

import type { Files } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import type { Gguf } from "../formats/gguf.ts";
import type { TemplateSet } from "../text/template-set.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ModelTensor } from "./gguf-map.ts";

/** What text needs of a model. */
export type ModelText = { readonly tokenizer: Tokenizer; readonly templates: TemplateSet };

export type ModelFiles = {
  readonly path: string;
  readonly kind: "hf" | "gguf";
  readonly config: JsonObject;
  /** Special ids and sampling defaults: of generation_config.json, or of the metadata. */
  readonly generationConfig: JsonObject;
  readonly tensors: ReadonlyMap<string, ModelTensor>;
  /** What is odd but harmless, one line each. */
  readonly warnings: readonly string[];
  /** The file itself, for GGUF. */
  readonly gguf?: Gguf;
  /** A text file of the folder; undefined for GGUF. */
  readText(name: string): Promise<string | undefined>;
  /** Throws ConfigError where there is no tokenizer. */
  openText(): Promise<ModelText>;
  close(): Promise<void>;
};

export function isGgufPath(path: string): boolean {
  return path.toLowerCase().endsWith(".gguf");
}

/** Whether the path names a GGUF file, not a folder of such a name. */
export async function isGgufFile(files: Files, path: string): Promise<boolean> {
  return isGgufPath(path) && !(await files.isFolder(path));
}
