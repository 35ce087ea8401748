// What a repository holds, through @huggingface/hub. In: a name. Out: the commit it means now and the files of that commit, each with its size
// and the hash that becomes its name in the cache. Everything the server says is checked before use: hashes are hexadecimal (H15), sizes
// are safe integers, and every URL that the library asks for, the next page of a list included, lies in the repository's part of the API (H16).
// Unusual: the library fetches through `get`, so tokens, redirects, limits and retries are ours.

import { listFiles, modelInfo } from "@huggingface/hub";
import { ConfigError, FormatError, quote, RequestError } from "../../core/errors.ts";
import { decodeUtf8, isJsonObject, parseJson } from "../../core/json.ts";
import { apiUrl, type HubName, isCommit, isPlainPath, isWithin, showHubName } from "../../formats/hub-names.ts";
import { type Answer, get, PassingTrouble, withRetries } from "./http.ts";
import type { HubSettings } from "./settings.ts";

const pageLimit = 500;
const pageBytes = 50_000_000;
const fileLimit = 200_000;

export type HubFile = {
  readonly path: string;
  readonly size: number;
  /** sha256 of a large file, 64 hexadecimal digits; else the git blob's sha1, 40. */
  readonly hash: string;
};

export type Revision = { readonly commit: string; readonly files: ReadonlyMap<string, HubFile> };

/** Files whose path could not lie on a disk are left out. Throws ConfigError, RequestError or FormatError. */
export async function readRevision(settings: HubSettings, name: HubName): Promise<Revision> {
  const operation = `ask the Hub for ${showHubName(name)}`;
  const prefix = `${apiUrl(settings.endpoint, name.repository)}/`;
  let pages = 0;
  const guardedFetch = async (input: string | URL | Request): Promise<Response> => {
    const url = input instanceof Request ? input.url : String(input);
    if (!isWithin(url, prefix) || ++pages > pageLimit) {
      const got = pages > pageLimit ? `a list of more than ${pageLimit} pages` : `a next page at ${quote(url, 200)}`;
      throw new FormatError({ operation, got, expected: `a list below ${prefix}`, cure: "do not trust this server" });
    }
    // Somebody waits at a terminal, and nothing has come yet: fewer attempts than for a file.
    const patience = { ...settings.patience, tries: Math.min(3, settings.patience.tries) };
    return await withRetries(patience, operation, () => fetchJson(settings, operation, name, url));
  };
  const shared = { hubUrl: settings.endpoint, fetch: guardedFetch as typeof fetch };
  const { repository, revision } = name;
  const { sha: commit } = await modelInfo({ ...shared, name: repository, revision, additionalFields: ["sha"] });
  if (typeof commit !== "string" || !isCommit(commit)) {
    const got = `the commit ${quote(String(commit))}`;
    throw new FormatError({ operation, got, expected: "40 hexadecimal digits", cure: "check HF_ENDPOINT" });
  }
  const files = new Map<string, HubFile>();
  for await (const entry of listFiles({ ...shared, repo: { type: "model", name: repository }, revision: commit, recursive: true })) {
    const file = checkEntry(entry, operation);
    if (!file) continue;
    if (files.has(file.path) || files.size >= fileLimit) {
      const got = files.has(file.path) ? `${quote(file.path)} twice` : `more than ${fileLimit} files`;
      throw new FormatError({ operation, got, expected: "a list of different files", cure: "check HF_ENDPOINT" });
    }
    files.set(file.path, file);
  }
  return { commit, files };
}

async function fetchJson(settings: HubSettings, operation: string, name: HubName, url: string): Promise<Response> {
  const answer = await get(settings, operation, url, { accept: "application/json" });
  try {
    refuseStatus(answer, operation, name, settings);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > pageBytes) {
        const got = `more than ${pageBytes} bytes`;
        throw new FormatError({ operation, got, expected: "a list of files", cure: "check HF_ENDPOINT" });
      }
    }
    const text = decodeUtf8(Buffer.concat(chunks), url);
    // The library reads it again by JSON.parse, which would let doubled keys and huge integers pass.
    const value = parseJson(text, { source: url, unsafeIntegers: "round" });
    const isList = new URL(url).pathname.includes(`/${name.repository}/tree/`);
    if (isList ? !Array.isArray(value) || !value.every(isJsonObject) : !isJsonObject(value)) {
      const got = quote(text, 60);
      throw new FormatError({
        operation,
        got,
        expected: isList ? "a list of files" : "an object about a model",
        cure: "check HF_ENDPOINT",
      });
    }
    const { link } = answer.headers;
    return new Response(text, { headers: { "content-type": "application/json", ...(typeof link === "string" && { link }) } });
  } finally {
    answer.close();
  }
}

/** Throws what a status other than 200 and 206 means: PassingTrouble where trying again may help. */
export function refuseStatus(
  { status, headers, hubHeaders, close }: Answer,
  operation: string,
  name: HubName,
  { endpoint, token }: HubSettings,
): void {
  if (status === 200 || status === 206) return;
  close();
  const said = [hubHeaders["x-error-code"], hubHeaders["x-error-message"]].filter((part) => typeof part === "string" && part !== "");
  const got = `status ${status}${said.length > 0 ? ` (${quote(said.join(": "), 200).slice(1, -1)})` : ""}`;
  if (status === 408 || status === 429 || status >= 500) throw new PassingTrouble(got, retryAfter(headers["retry-after"]));
  const page = `${endpoint}/${name.repository}`;
  if (status === 401 || status === 403) {
    const cure =
      token === undefined
        ? `accept its conditions at ${page} if it has any, and set HF_TOKEN`
        : `check HF_TOKEN, and accept the conditions at ${page}`;
    throw new ConfigError({ operation, got, expected: "a model that this user may fetch (one that does not exist reads the same)", cure });
  }
  if (status === 404) {
    throw new ConfigError({ operation, got, expected: "a repository, revision and file that exist", cure: `look at ${page}` });
  }
  throw new RequestError({ operation, got, expected: "status 200", cure: "check HF_ENDPOINT" });
}

/** Seconds, or a date. */
function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const wait = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

type Entry = {
  readonly type: unknown;
  readonly path: unknown;
  readonly size: unknown;
  readonly oid?: unknown;
  readonly lfs?: { readonly oid?: unknown; readonly size?: unknown };
};

function checkEntry({ type, path, size, oid, lfs }: Entry, operation: string): HubFile | undefined {
  if (type !== "file" || typeof path !== "string" || !isPlainPath(path)) return undefined;
  const file = { path, size: lfs ? lfs.size : size, hash: lfs ? lfs.oid : oid };
  const isHash = typeof file.hash === "string" && (lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(file.hash);
  if (typeof file.size === "number" && Number.isSafeInteger(file.size) && file.size >= 0 && isHash) return file as HubFile;
  const got = `${quote(path)} of ${quote(String(file.size))} bytes with the hash ${quote(String(file.hash))}`;
  throw new FormatError({ operation, got, expected: "a size and 40 or 64 hexadecimal digits", cure: "do not trust this server" });
}
