// The page: GET / and GET /assets/FILE. In: files that were read when the server started, by name, so that no path of a request reaches a disk. Out:
// those files with the headers that fence a page in: its own scripts and nothing else, no frames around it, a process of its own.

import type { Call } from "./call.ts";
import { Refusal } from "./refusal.ts";

/** Files by their path below the page's folder: `index.html`, `assets/index-1a2b3c.js`. */
export type PageFiles = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
  woff2: "font/woff2",
  wasm: "application/wasm",
  json: "application/json",
};

/** Pictures of reports come as blobs, because an <img> cannot send the key. Nothing is fetched from elsewhere, whatever a model writes. */
export const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self' blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const fence: Readonly<Record<string, string>> = {
  "content-security-policy": pagePolicy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "permissions-policy": "camera=(), microphone=(), geolocation=()",
};

export function indexPage(call: Call): Response {
  return pageFile(call, "index.html");
}

export function assetFile(call: Call): Response {
  return pageFile(call, `assets/${call.params.file ?? ""}`);
}

/** Names of assets hold a hash of their content, so a browser may keep them; the page itself is asked for each time. */
function pageFile({ server }: Call, name: string): Response {
  const bytes = server.page?.get(name);
  if (!bytes) {
    throw server.page
      ? new Refusal("a file that the page does not have", "one that its index names", "reload the page", { status: 404, code: "not_found" })
      : new Refusal("a wish for the page", "a server with a page", "use /v1, or build the page: npm run build", {
          status: 404,
          code: "not_found",
        });
  }
  const type = types[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream";
  const cache = name === "index.html" ? "no-cache" : "public, max-age=31536000, immutable";
  return new Response(bytes, { headers: { ...fence, "content-type": type, "cache-control": cache } });
}
