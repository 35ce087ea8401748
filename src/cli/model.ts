// From the word MODEL to a loaded model. In: a Hugging Face folder, a .gguf file, hf:org/name (fetched when it is not there), the name of a bundled
// model, or nothing (the bundled model). Out: device, model, tokenizer and what the files say about generation, closed when `use` is
// done, whatever happens.

import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import type { Device } from "../backend/backend.ts";
import { openDevice } from "../backend/open.ts";
import { type Chat, openChat } from "../chat/prompt.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { isHubName } from "../formats/hub-names.ts";
import { describeConfig } from "../models/describe.ts";
import { isGgufPath, type ModelFiles, openModelFiles, openModelText } from "../models/files.ts";
import { loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { nodeHost } from "../platform/node.ts";
import type { TemplateSet } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { integer } from "./flags.ts";
import { note } from "./output.ts";

export const modelHelp = "a Hugging Face model folder, a .gguf file, hf:org/name, or the name of a bundled model";

/** Where package.json, models/ and recipes/ lie. */
export const packageRoot = fileURLToPath(new URL("../../", import.meta.url));
const bundledName = "countdown-reasoner";

export type DeviceFlags = { readonly device: "cpu" | "reference"; readonly threads?: number };

export function addDeviceFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--device <name>", "cpu (WebAssembly) or reference (plain loops, slow)").choices(["cpu", "reference"]).default("cpu"),
    )
    .option("-t, --threads <n>", "threads (default: all cores)", integer(1, 256));
}

export type ModelFlags = DeviceFlags & { readonly ctxSize?: number };

/** Device flags, and the context to make room for. */
export function addModelFlags(command: Command): Command {
  return addDeviceFlags(command).option(
    "-c, --ctx-size <n>",
    "longest context in tokens (default: the model's, as far as 1 GiB of cache goes)",
    integer(1, 2 ** 24),
  );
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

/** The folder, or for hf:org/name the .gguf file, that MODEL means. Throws ConfigError when there is none. */
export async function findModel(files: Files, reference: string | undefined): Promise<string> {
  const shelf = files.join(packageRoot, "models");
  if (reference === undefined) return await findBundled(files, shelf);
  const operation = `open model ${quote(reference, 300)}`;
  // Loaded when needed: the client of the Hub takes longer to load than a small model.
  if (isHubName(reference)) return await (await import("./hub.ts")).findHubModel(reference);
  if (isGgufPath(reference) && (await files.exists(reference))) return reference;
  if (reference !== "" && (await files.isFolder(reference))) return reference;
  const isBareName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(reference);
  if (isBareName && (await files.isFolder(files.join(shelf, reference)))) return files.join(shelf, reference);
  const got = reference !== "" && (await files.exists(reference)) ? "a file" : "no such folder";
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

type ModelText = { readonly path: string; readonly tokenizer: Tokenizer; readonly chat?: Chat };

/** What text needs of a model: no weights, no device. Throws ConfigError where MODEL has no tokenizer. */
export async function openText(files: Files, reference: string): Promise<ModelText> {
  const path = await findModel(files, reference);
  const { tokenizer, templates } = await openModelText(files, path);
  return { path, tokenizer, ...chatOf(tokenizer, templates, path) };
}

function chatOf(tokenizer: Tokenizer, templates: TemplateSet, path: string): { readonly chat?: Chat } {
  return templates.default === undefined && templates.toolUse === undefined ? {} : { chat: openChat(tokenizer, templates, path) };
}

export type LoadedModel = {
  readonly host: Host;
  readonly device: Device;
  /** As the user could name it. */
  readonly path: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** Special ids and sampling defaults. */
  readonly generationConfig: JsonObject;
  readonly chat?: Chat;
};

/** Loads device, model and tokenizer. */
export async function withModel<T>(reference: string | undefined, flags: ModelFlags, use: (loaded: LoadedModel) => Promise<T>): Promise<T> {
  return await withWeights(reference, flags, async (loaded) => {
    const { opened } = loaded;
    const { tokenizer, templates } = await opened.openText();
    return await use({ ...loaded, tokenizer, generationConfig: opened.generationConfig, ...chatOf(tokenizer, templates, loaded.path) });
  });
}

type Weighted = Pick<LoadedModel, "host" | "device" | "path" | "model"> & { readonly opened: ModelFiles };

/** Loads device and model, weights as the files store them: for verbs that need no text. */
export async function withWeights<T>(reference: string | undefined, flags: ModelFlags, use: (loaded: Weighted) => Promise<T>): Promise<T> {
  // The files first: a wrong path is told without starting threads.
  const { files } = nodeHost();
  const path = await findModel(files, reference);
  const opened = await openModelFiles(files, path);
  try {
    for (const warning of opened.warnings) note(`note: ${warning}`);
    const contextLength = chooseContext(opened, flags.ctxSize);
    return await withDevice(flags, async (device, host) => {
      const model = await loadModel(device, opened, { weights: "stored", contextLength });
      try {
        return await use({ host, device, path, model, opened });
      } finally {
        model.dispose();
      }
    });
  } finally {
    await opened.close();
  }
}

/** Cached tokens may take so many bytes unless --ctx-size says otherwise; at least `smallestDefault` of them are allowed. */
const cacheBytes = 2 ** 30;
const smallestDefault = 4096;

/** The context that the model has, but no longer than a cache of 1 GiB holds; or what --ctx-size asks for. */
function chooseContext({ config, tensors }: ModelFiles, wanted: number | undefined): number {
  const { contextLength, cacheBytesPerToken } = describeConfig(config, {}, new Set(tensors.keys()));
  if (wanted === undefined) return Math.min(contextLength, Math.max(smallestDefault, Math.floor(cacheBytes / cacheBytesPerToken)));
  if (wanted > contextLength)
    throw new ConfigError({
      operation: "--ctx-size",
      got: String(wanted),
      expected: `at most ${contextLength}, the model's context`,
      cure: "ask for less, or leave the flag out",
    });
  return wanted;
}

/** Ids that end a generation. */
export function stopIds({ generationConfig, tokenizer, model }: Pick<LoadedModel, "generationConfig" | "tokenizer" | "model">): number[] {
  const named = generationConfig.eos_token_id ?? tokenizer.specialIds.eos;
  const ids = Array.isArray(named) ? named : [named];
  return ids.filter((id): id is number => typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < model.vocabSize);
}
