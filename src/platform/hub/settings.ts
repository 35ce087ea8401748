// What the environment says about the Hub. In: variables by their usual names (HF_HOME, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, XDG_CACHE_HOME,
// HF_TOKEN, HF_TOKEN_PATH, HF_ENDPOINT, HF_HUB_OFFLINE) and the token file. Out: checked settings. The token stands in no message.
// Unusual: @huggingface/hub reads only the places of the cache, so all of them are read here.

import * as fs from "node:fs/promises";
import { homedir } from "node:os";
import * as path from "node:path";
import { ConfigError, quote } from "../../core/errors.ts";
import { hasCode, translated } from "../node-errors.ts";

export type HubSettings = {
  /** `https://huggingface.co` or a mirror, without a slash at its end. */
  readonly endpoint: string;
  readonly token?: string;
  /** The folder with `models--org--name`. */
  readonly cache: string;
  readonly offline: boolean;
  readonly patience: Patience;
  /** Is the endpoint in this machine's own network? Then it may redirect there. Found by its address when absent. */
  readonly isLocal?: boolean;
};

export type Patience = {
  /** A connection that brings less than `stallBytes` in so many milliseconds is given up. */
  readonly stallMs: number;
  readonly stallBytes: number;
  /** Attempts in a row that bring less than `progressBytes`. */
  readonly tries: number;
  readonly progressBytes: number;
  /** First pause between attempts; each next is twice as long. */
  readonly pauseMs: number;
  /** Longest pause that a server may ask for. */
  readonly longestPauseMs: number;
  /** How long to wait for another process that has the file but does not get on with it. */
  readonly lockMs: number;
};

export const usualPatience: Patience = {
  stallMs: 30_000,
  stallBytes: 1024,
  tries: 6,
  progressBytes: 2 ** 20,
  pauseMs: 500,
  longestPauseMs: 120_000,
  lockMs: 300_000,
};

type Env = (name: string) => string | undefined;

/** Throws ConfigError. */
export async function hubSettings(env: Env, home = homedir()): Promise<HubSettings> {
  const value = (name: string) => env(name)?.trim() || undefined;
  const folder = (name: string) => {
    const named = value(name);
    return named?.replace(/^~(?=$|[/\\])/, home);
  };
  const hfHome = folder("HF_HOME") ?? path.join(folder("XDG_CACHE_HOME") ?? path.join(home, ".cache"), "huggingface");
  const cache = path.resolve(folder("HF_HUB_CACHE") ?? folder("HUGGINGFACE_HUB_CACHE") ?? path.join(hfHome, "hub"));
  const isOn = (name: string) => /^(?:1|on|yes|true)$/i.test(value(name) ?? "");
  const token =
    value("HF_TOKEN") ??
    value("HUGGING_FACE_HUB_TOKEN") ??
    (isOn("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? undefined : await readToken(folder("HF_TOKEN_PATH") ?? path.join(hfHome, "token")));
  return {
    endpoint: checkEndpoint(value("HF_ENDPOINT") ?? "https://huggingface.co"),
    ...(token !== undefined && { token: checkToken(token) }),
    cache,
    offline: isOn("HF_HUB_OFFLINE") || isOn("TRANSFORMERS_OFFLINE"),
    patience: usualPatience,
  };
}

async function readToken(file: string): Promise<string | undefined> {
  return await translated("read", file, async () => {
    try {
      return (await fs.readFile(file, "utf8")).trim() || undefined;
    } catch (thrown) {
      if (hasCode(thrown, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
      throw thrown;
    }
  });
}

function checkToken(token: string): string {
  if (/^[\x21-\x7e]{1,1000}$/.test(token)) return token;
  throw new ConfigError({
    operation: "read the token for the Hugging Face Hub",
    got: `${token.length} characters with spaces or others that no token has`,
    expected: "one word",
    cure: "set HF_TOKEN, or correct the token file",
  });
}

function checkEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain =
    url && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (isPlain) return url.href.replace(/\/+$/, "");
  throw new ConfigError({
    operation: "read HF_ENDPOINT",
    got: quote(text.replace(/\/\/[^@/]*@/, "//…@"), 200),
    expected: "an address like https://huggingface.co",
    cure: "correct or unset it",
  });
}
