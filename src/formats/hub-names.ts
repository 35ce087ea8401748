// Names of models on the Hugging Face Hub, their URLs and their place in its cache. In: `hf:org/name[@revision][:file]`, or the
// spellings `hf.co/…` and `https://huggingface.co/…`. Out: checked parts. Pure text, for Node and browser alike.
// Unusual: every part is held to a list of plain characters before it becomes a URL or a path, each segment is encoded all the
// same, and the URL that comes out is compared with the one intended (hazards H14, H16: `..` must not lead a token elsewhere).

import { ConfigError, quote } from "../core/errors.ts";

export type HubName = {
  /** `org/name`. */
  readonly repository: string;
  /** A branch, a tag or a commit; `main` when none was named. */
  readonly revision: string;
  /** A file of the repository (`sub/model.gguf`), or a quantisation (`Q4_K_M`) that stands for one. */
  readonly selector?: string;
};

const prefixes = /^(?:hf:(?:\/\/)?|(?:https?:\/\/)?(?:hf\.co|huggingface\.co)\/)/;
// What the Hub allows: 96 characters, no `-` or `.` at either end, neither `--` nor `..` anywhere, so that `models--org--name` reads only one way.
const repositoryPart = /^(?!.*(?:--|\.\.))(?!.*\.git$)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const revisionPart = /^(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9_][A-Za-z0-9._+-]*$/;
/** One name of a file or folder: plain characters, and none of the words that open a device on Windows. */
const pathPart = /^(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[A-Za-z0-9_](?:[A-Za-z0-9._+-]{0,198}[A-Za-z0-9_+-])?$/i;

/** True for `hf:…`, `hf.co/…` and `https://huggingface.co/…`; then it is no path. */
export function isHubName(text: string): boolean {
  return prefixes.test(text);
}

/** Throws ConfigError. */
export function parseHubName(text: string): HubName {
  const rest = text.replace(prefixes, "").replace(/\/$/, "");
  const colon = rest.indexOf(":");
  const [left, selector] = colon < 0 ? [rest, undefined] : [rest.slice(0, colon), rest.slice(colon + 1)];
  const at = left.indexOf("@");
  const [repository, revision] = at < 0 ? [left, "main"] : [left.slice(0, at), left.slice(at + 1)];
  const parts = repository.split("/");
  const refuse = (expected: string) => {
    throw new ConfigError({
      operation: "read the name of a model",
      got: quote(text, 300),
      expected,
      cure: "write it as hf:org/name or hf:org/name:Q4_K_M",
    });
  };
  if (parts.length !== 2 || !parts.every((part) => repositoryPart.test(part))) refuse("hf:, an organisation, a slash and a name");
  if (!isRevision(revision)) refuse("a branch, tag or commit after @");
  if (selector !== undefined && !isPlainPath(selector)) refuse("a file or a quantisation after the colon");
  return selector === undefined ? { repository, revision } : { repository, revision, selector };
}

export function isRevision(text: string): boolean {
  return text.length <= 200 && text.split("/").every((part) => revisionPart.test(part));
}

/** Can this path of a repository become a path on a disk? */
export function isPlainPath(path: string): boolean {
  const parts = path.split("/");
  return path.length <= 400 && parts.length <= 8 && parts.every((part) => pathPart.test(part));
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

/** `hf:org/name`, with what differs from the default. */
export function showHubName({ repository, revision, selector }: HubName): string {
  return `hf:${repository}${revision === "main" ? "" : `@${revision}`}${selector === undefined ? "" : `:${selector}`}`;
}

/** The folder of a repository in the cache: `models--org--name`. */
export function cacheFolderOf(repository: string): string {
  return `models--${repository.replace("/", "--")}`;
}

/** The other way; undefined for a folder that is no model's. */
export function repositoryOf(folder: string): string | undefined {
  const [kind, organisation = "", name = "", ...more] = folder.split("--");
  const known = kind === "models" && more.length === 0 && repositoryPart.test(organisation) && repositoryPart.test(name);
  return known ? `${organisation}/${name}` : undefined;
}

/** Where the Hub's API speaks of a repository. The endpoint has no slash at its end. */
export function apiUrl(endpoint: string, repository: string): string {
  return `${endpoint}/api/models/${encodePath(repository)}`;
}

/** Where a file of one commit is fetched. Throws ConfigError when the parts lead anywhere else. */
export function fileUrl(endpoint: string, repository: string, commit: string, path: string): string {
  const prefix = `${endpoint}/${encodePath(repository)}/resolve/${encodeURIComponent(commit)}/`;
  const url = prefix + encodePath(path);
  if (isWithin(url, prefix)) return url;
  throw new ConfigError({
    operation: `fetch ${quote(path)}`,
    got: "a path out of its repository",
    expected: "a plain path",
    cure: "name another file",
  });
}

/** True when `url`, after a browser's normalisation, lies below `prefix`. */
export function isWithin(url: string, prefix: string): boolean {
  if (!URL.canParse(url) || !URL.canParse(prefix)) return false;
  const [made, meant] = [new URL(url), new URL(prefix)];
  return made.origin === meant.origin && made.username === "" && made.password === "" && made.pathname.startsWith(meant.pathname);
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
