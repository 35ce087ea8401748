// Which files a model on the network has. In: a URL or a name of the Hub. Out: their names and URLs, the small ones first. A folder on a plain server cannot be
// listed: the files that loading reads are asked for by name, and those that are not there are left out. Of the Hub one answer tells files and sizes
// of one commit, checked before use (hazards H14 to H16).

import { ConfigError, FormatError, quote } from "../../core/errors.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { chooseFiles, indexFile, splitParts, weightsFile } from "../../formats/hub-files.ts";
import { apiUrl, fileUrl, type HubName, isCommit, isPlainPath, isWithin, parseHubName, showHubName } from "../../formats/hub-names.ts";
import { requestText } from "./http.ts";
import type { PlainLoadOptions } from "./options.ts";

export type RemoteFile = {
  /** Its name in the store, without folders. */
  readonly path: string;
  readonly url: string;
  readonly size?: number;
  /** May be absent: then `instead`, if any, must be there. */
  readonly isOptional?: boolean;
  readonly instead?: string;
};

export type RemoteModel = {
  readonly source: string;
  /** Proposed for the store. */
  readonly name: string;
  readonly files: readonly RemoteFile[];
  readonly headers: Readonly<Record<string, string>>;
  /** Of a shard that the index names, or undefined when it cannot be. */
  readonly shard?: (path: string) => RemoteFile | undefined;
};

const small = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"];
const read = new Set(["config.json", ...small, "tokenizer.json", weightsFile, indexFile]);
const listLimit = 50_000_000;

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A .gguf file with all its parts, or a folder. */
export function remoteOfUrl(url: string): RemoteModel {
  const parsed = new URL(url);
  const last = decodeURIComponent(baseName(parsed.pathname.replace(/\/+$/, "")));
  const at = (name: string, from = url) => {
    const made = new URL(from);
    made.pathname = `${made.pathname.replace(/\/+$/, "")}/${encodeURIComponent(name)}`;
    return made.href;
  };
  if (/\.gguf$/i.test(last) || parsed.protocol === "blob:") {
    const parts = splitParts(last);
    const folder = new URL(".", parsed);
    folder.search = parsed.search;
    const files = parts.length === 1 ? [{ path: nameOfFile(last), url }] : parts.map((path) => ({ path, url: at(path, folder.href) }));
    return { source: url, name: proposed(last.replace(/(?:-\d{5}-of-\d{5})?\.gguf$/i, "")), files, headers: {} };
  }
  return {
    source: url,
    name: proposed(last || parsed.hostname),
    files: [
      { path: "config.json", url: at("config.json") },
      ...small.map((path) => ({ path, url: at(path), isOptional: true })),
      { path: "tokenizer.json", url: at("tokenizer.json") },
      { path: weightsFile, url: at(weightsFile), isOptional: true, instead: indexFile },
      { path: indexFile, url: at(indexFile), isOptional: true, instead: weightsFile },
    ],
    headers: {},
    shard: (path) => ({ path, url: at(path) }),
  };
}

function nameOfFile(name: string): string {
  return /\.gguf$/i.test(name) && isPlainPath(name) ? name : "model.gguf";
}

/** Without what a stored name may not have. */
function proposed(name: string): string {
  return name.replaceAll(/[/\\\p{Cc}]/gu, "").slice(0, 100) || "model";
}

/** Asks the Hub. Throws ConfigError, RequestError or FormatError. */
export async function remoteOfHub(text: string, { hub = {} }: PlainLoadOptions, signal: AbortSignal): Promise<RemoteModel> {
  const name = parseHubName(text);
  const { endpoint: given = "https://huggingface.co", token } = hub;
  const endpoint = given.replace(/\/+$/, "");
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const listed = await readListing(endpoint, name, headers, signal);
  const fileOf = (path: string): RemoteFile | undefined => {
    const size = listed.files.get(path);
    if (size === undefined) return undefined;
    return { path: baseName(path), url: fileUrl(endpoint, name.repository, listed.commit, path), size };
  };
  const choice = chooseFiles([...listed.files.keys()], name);
  const wanted = choice.kind === "folder" ? choice.files.filter((path) => read.has(path)) : choice.files;
  return {
    source: showHubName(name),
    name: showHubName(name),
    files: wanted.flatMap((path) => fileOf(path) ?? []),
    headers,
    ...(choice.kind === "folder" && choice.sharded && { shard: fileOf }),
  };
}

type Listing = { readonly commit: string; readonly files: ReadonlyMap<string, number> };

async function readListing(
  endpoint: string,
  name: HubName,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Listing> {
  const operation = `ask the Hub for ${showHubName(name)}`;
  const prefix = apiUrl(endpoint, name.repository);
  const url = `${prefix}/revision/${encodeURIComponent(name.revision)}?blobs=true`;
  if (!isWithin(url, `${prefix}/`))
    throw new ConfigError({ operation, got: quote(url, 300), expected: `a URL below ${quote(prefix, 300)}`, cure: "check hub.endpoint" });
  const text = await requestText(url, { accept: "application/json", ...headers }, listLimit, signal);
  if (text === undefined)
    throw new ConfigError({
      operation,
      got: "no such repository",
      expected: "one that exists",
      cure: `look at ${endpoint}/${name.repository}`,
    });
  const refuse = (got: string, expected: string): never => {
    throw new FormatError({ operation, got, expected, cure: "check hub.endpoint; do not trust this server" });
  };
  const value = parseJson(text, { source: url, unsafeIntegers: "round" });
  if (!isJsonObject(value) || !Array.isArray(value.siblings)) return refuse("an answer without siblings", "an object about a model");
  const { sha } = value;
  if (typeof sha !== "string" || !isCommit(sha)) return refuse(`the commit ${quote(String(sha))}`, "40 hexadecimal digits");
  const files = new Map<string, number>();
  for (const entry of value.siblings) {
    if (!isJsonObject(entry) || typeof entry.rfilename !== "string" || !isPlainPath(entry.rfilename)) continue;
    const size = isJsonObject(entry.lfs) ? entry.lfs.size : entry.size;
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
      return refuse(`${quote(entry.rfilename)} of ${String(size)} bytes`, "a size");
    files.set(entry.rfilename, size);
  }
  return { commit: sha, files };
}
