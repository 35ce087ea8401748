// From the word MODEL to a loaded model. In: a Hugging Face folder, hf:org/name (fetched when it is not there), the name of a bundled model, or
// nothing (the bundled model). Out: device,
// model, tokenizer and what the folder says about generation, closed when `use` is done, whatever happens.

import { type Command, Option } from "commander";
import type { Device } from "../backend/backend.ts";
import { openDevice } from "../backend/open.ts";
import { type Chat, openChat } from "../chat/prompt.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { openGguf } from "../formats/gguf.ts";
import { type HfFolder, openHfFolder } from "../formats/hf-folder.ts";
import { loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { findModelPath } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { readTemplates } from "../text/chat-template.ts";
import { readGgufTokenizer } from "../text/gguf-tokenizer.ts";
import { loadTokenizer, makeTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { integer } from "./flags.ts";
import { note } from "./output.ts";

export type DeviceFlags = { readonly device: "cpu" | "reference"; readonly threads?: number };

export function addDeviceFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--device <name>", "cpu (WebAssembly) or reference (plain loops, slow)").choices(["cpu", "reference"]).default("cpu"),
    )
    .option("-t, --threads <n>", "threads (default: all cores)", integer(1, 256));
}

export async function withDevice<T>(flags: DeviceFlags, use: (device: Device, host: Host) => Promise<T>): Promise<T> {
  const host = nodeHost();
  const device = await openDevice(host, flags);
  try {
    return await use(device, host);
  } finally {
    await device.close();
  }
}

/** What MODEL means. Loads the client of the Hub only when needed: it takes longer to load than a small model. */
export function findModel(files: Files, reference: string | undefined): Promise<string> {
  return findModelPath(files, reference, async (name) => await (await import("./hub.ts")).findHubModel(name));
}

export async function readTokenizer(folder: Pick<HfFolder, "readText" | "path">, files: Files): Promise<Tokenizer> {
  const json = await folder.readText("tokenizer.json");
  const path = files.join(folder.path, "tokenizer.json");
  if (json === undefined) {
    throw new ConfigError({
      operation: `open model ${quote(folder.path, 300)}`,
      got: "no tokenizer.json",
      expected: "a folder with one",
      cure: "put the tokenizer.json of the model's publisher there",
    });
  }
  return loadTokenizer(json, await folder.readText("tokenizer_config.json"), path);
}

type ModelText = { readonly path: string; readonly tokenizer: Tokenizer; readonly chat?: Chat };

/** What text needs of a model, a folder or a .gguf file: no weights, no device. Throws ConfigError where MODEL has no tokenizer. */
export async function openText(files: Files, reference: string): Promise<ModelText> {
  const isFile = reference.endsWith(".gguf") && (await files.exists(reference)) && !(await files.isFolder(reference));
  const path = isFile ? reference : await findModel(files, reference);
  if (path.endsWith(".gguf")) return await openGgufText(files, path);
  const names = new Set(await files.list(path));
  const readText = async (name: string) => (names.has(name) ? await files.readText(files.join(path, name), 200_000_000) : undefined);
  const tokenizer = await readTokenizer({ path, readText }, files);
  const chat = await readChat({ path, readText }, tokenizer);
  return { path, tokenizer, ...(chat && { chat }) };
}

async function openGgufText(files: Files, path: string): Promise<ModelText> {
  const gguf = await openGguf(files, path);
  try {
    const { definition, specialIds, chatTemplate } = readGgufTokenizer(gguf.metadata, path);
    const tokenizer = makeTokenizer(definition, specialIds, path);
    return { path, tokenizer, ...(chatTemplate !== undefined && { chat: openChat(tokenizer, { default: chatTemplate }, path) }) };
  } finally {
    await gguf.close();
  }
}

export type LoadedModel = {
  readonly host: Host;
  readonly device: Device;
  /** As the user could name it. */
  readonly path: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** generation_config.json over config.json: special ids and sampling defaults. */
  readonly generationConfig: JsonObject;
  readonly chat?: Chat;
};

/** Loads device, model and tokenizer. */
export async function withModel<T>(
  reference: string | undefined,
  flags: DeviceFlags,
  use: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  return await withWeights(reference, flags, async ({ folder, ...loaded }) => {
    const tokenizer = await readTokenizer(folder, loaded.host.files);
    const generationConfig = { ...pick(folder.config, "eos_token_id"), ...folder.generationConfig };
    const chat = await readChat(folder, tokenizer);
    return await use({ ...loaded, tokenizer, generationConfig, ...(chat && { chat }) });
  });
}

type Weighted = Pick<LoadedModel, "host" | "device" | "path" | "model"> & { readonly folder: HfFolder };

/** Loads device and model: for verbs that need no text. */
export async function withWeights<T>(reference: string | undefined, flags: DeviceFlags, use: (loaded: Weighted) => Promise<T>): Promise<T> {
  // The folder first: a wrong path is told without starting threads.
  const { files } = nodeHost();
  const path = await findModel(files, reference);
  const folder = await openHfFolder(files, path);
  try {
    for (const warning of folder.warnings) note(`note: ${warning}`);
    return await withDevice(flags, async (device, host) => {
      const model = await loadModel(device, folder);
      try {
        return await use({ host, device, path, model, folder });
      } finally {
        model.dispose();
      }
    });
  } finally {
    await folder.close();
  }
}

/** Ids that end a generation. */
export function stopIds({ generationConfig, tokenizer, model }: Pick<LoadedModel, "generationConfig" | "tokenizer" | "model">): number[] {
  const named = generationConfig.eos_token_id ?? tokenizer.specialIds.eos;
  const ids = Array.isArray(named) ? named : [named];
  return ids.filter((id): id is number => typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < model.vocabSize);
}

/** The folder's chat template, ready to use; undefined where it has none. */
export async function readChat(folder: Pick<HfFolder, "readText" | "path">, tokenizer: Tokenizer): Promise<Chat | undefined> {
  const text = await folder.readText("tokenizer_config.json");
  const config = text === undefined ? undefined : parseJson(text, { source: "tokenizer_config.json", unsafeIntegers: "round" });
  const templates = readTemplates(await folder.readText("chat_template.jinja"), isJsonObject(config) ? config : undefined);
  return templates.default === undefined && templates.toolUse === undefined ? undefined : openChat(tokenizer, templates, folder.path);
}

function pick(object: JsonObject, key: string): JsonObject {
  const value = object[key];
  return value === undefined || value === null ? {} : { [key]: value };
}
