// Who may come in. In: a request's method, path and headers, and the operator's settings. Out: nothing, or a Refusal. Host first (a web page
// that rebinds its name to 127.0.0.1 is told apart by it), then the key. Keys are compared as sha256 digests, all of them, without an early
// end, so that the time tells nothing. A key in the query counts for nothing.

import { quote } from "../core/errors.ts";
import type { AppRequest } from "./call.ts";
import { Refusal } from "./refusal.ts";

export type Gate = {
  /** Host names (without port) that requests may be addressed to. */
  readonly hosts: ReadonlySet<string>;
  /** Origins that may read answers, exact. */
  readonly origins: ReadonlySet<string>;
  /** sha256 digests; empty: no key needed. */
  readonly keys: readonly Uint8Array[];
};

/** What a caller is known by: the salt that keeps its cached prefixes apart from those of other keys. */
export type Caller = { readonly salt: string };

const nobody: Caller = { salt: "" };

export async function makeGate(options: {
  readonly hosts?: readonly string[];
  readonly origins?: readonly string[];
  readonly keys?: readonly string[];
}): Promise<Gate> {
  const { hosts = [], origins = [], keys = [] } = options;
  return {
    hosts: new Set(["localhost", "127.0.0.1", "[::1]", ...hosts.map((host) => host.toLowerCase())]),
    origins: new Set(origins),
    keys: await Promise.all(keys.map(sha256)),
  };
}

/** The name in a Host header, in lower case, without port; undefined for what is none. */
export function hostName(header: string): string | undefined {
  return /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.exec(header.toLowerCase())?.[1]?.replace(/(?<=[^.])\.$/, "");
}

/** Throws Refusal 403. A request without the header (in a service worker) is judged by its address. */
export function checkHost(request: AppRequest, gate: Gate): void {
  const header = request.headers.get("host") ?? new URL(request.url).host;
  const name = hostName(header);
  if (name !== undefined && gate.hosts.has(name)) return;
  throw new Refusal(`Host ${quote(header, 100)}`, "a name of this server", "call it by 127.0.0.1, or start it with --allowed-host NAME", {
    status: 403,
    code: "host_not_allowed",
    reason: "host",
  });
}

/** `header` is the other header that may hold the key, e.g. Anthropic's x-api-key. Throws Refusal 401. */
export async function checkKey(request: AppRequest, gate: Gate, header?: string): Promise<Caller> {
  if (gate.keys.length === 0) return nobody;
  const [, bearer] = /^bearer +(\S.*)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  const given = bearer ?? (header === undefined ? undefined : (request.headers.get(header) ?? undefined));
  const digest = await sha256(given ?? "");
  let found = 0;
  for (const key of gate.keys) found |= equals(digest, key);
  if (given !== undefined && found === 1) return { salt: hexadecimal(digest).slice(0, 16) };
  throw new Refusal(
    given === undefined ? "no API key" : "an API key that is not this server's",
    "Authorization: Bearer KEY",
    "send the key that the server was started with",
    { status: 401, code: "invalid_api_key", reason: "key", headers: { "www-authenticate": "Bearer" } },
  );
}

/** Headers of answers to a page of another origin: none unless the operator allowed that very origin. Never with credentials. */
export function corsHeaders(request: AppRequest, gate: Gate): Record<string, string> {
  const origin = request.headers.get("origin");
  if (gate.origins.size === 0) return {};
  if (origin === null || !gate.origins.has(origin)) return { vary: "origin" };
  return { "access-control-allow-origin": origin, "access-control-expose-headers": "x-request-id, retry-after", vary: "origin" };
}

/** What answers a page that asks before it sends. */
export const preflightHeaders: Readonly<Record<string, string>> = {
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": "authorization, content-type, x-api-key, anthropic-version",
  "access-control-max-age": "600",
};

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

/** 1 when all 32 bytes are equal; always looks at all. */
function equals(a: Uint8Array, b: Uint8Array): number {
  let difference = 0;
  for (let i = 0; i < 32; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0 ? 1 : 0;
}

function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
