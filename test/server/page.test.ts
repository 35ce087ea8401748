// The page over the server: its headers, what is cached, and that no name of a request reaches a disk. Files here are made up; the built page is
// tested in test/web.

import { expect, test } from "vitest";
import { pagePolicy } from "../../src/server/page.ts";
import { openApp } from "./harness.ts";

const bytes = (text: string) => new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
const page = new Map([
  ["index.html", bytes("<!doctype html>")],
  ["assets/a-1.js", bytes("1")],
  ["assets/a-1.css", bytes("a{}")],
  ["assets/a-1.woff2", bytes("w")],
]);

async function get(path: string, options: Parameters<typeof openApp>[0] = { page }): Promise<Response> {
  const { app } = await openApp(options);
  return await app.fetch(new Request(`http://localhost${path}`));
}

test("the page comes fenced in: its own scripts only, nothing inline, no frames, a process of its own", async () => {
  const response = await get("/");
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
  expect(response.headers.get("cache-control")).toBe("no-cache");
  const policy = response.headers.get("content-security-policy") ?? "";
  expect(policy).toBe(pagePolicy);
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toMatch(/unsafe|https?:|\*|data:/);
  expect(response.headers.get("cross-origin-opener-policy")).toBe("same-origin");
  expect(response.headers.get("cross-origin-embedder-policy")).toBe("require-corp");
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
});

test.each([
  ["a-1.js", "text/javascript; charset=utf-8"],
  ["a-1.css", "text/css; charset=utf-8"],
  ["a-1.woff2", "font/woff2"],
])("%s is served as %s and kept", async (name, type) => {
  const response = await get(`/assets/${name}`);
  expect(response.headers.get("content-type")).toBe(type);
  expect(response.headers.get("cache-control")).toContain("immutable");
  expect(await response.text()).not.toBe("");
});

test.each(["nothing.js", "..%2Findex.html", "%2e%2e%2fpackage.json", "..", "a-1.js%00", "__proto__", "constructor"])(
  "/assets/%s is not there",
  async (name) => {
    const response = await get(`/assets/${name}`);
    expect([404, 200]).toContain(response.status);
    // `..` is resolved by the client to /, which is the page itself.
    if (response.status === 200) expect(await response.text()).toBe("<!doctype html>");
    else expect(await response.json()).toHaveProperty("error.message");
  },
);

test("a server without a page says how to get one", async () => {
  const response = await get("/", {});
  expect(response.status).toBe(404);
  expect(((await response.json()) as { error: { message: string } }).error.message).toMatch(/npm run build/);
});

test("the page asks nobody for a key, what it shows does", async () => {
  const options = { page, keys: ["secret"] };
  expect((await get("/", options)).status).toBe(200);
  expect((await get("/assets/a-1.js", options)).status).toBe(200);
  expect((await get("/runs", options)).status).toBe(401);
  expect((await get("/runs/x/logs/metrics", options)).status).toBe(401);
});
