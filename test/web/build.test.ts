// The built page: how large it is, what it loads at first, and that nothing in it needs what its policy forbids.

import { readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildPage } from "../../tools/build-page.ts";
import { temporaryFolder } from "./place.ts";

const folder = temporaryFolder();
const assets = path.join(folder.path, "assets");
beforeAll(async () => await buildPage(folder.path), 120_000);
afterAll(() => folder.remove());

const read = (name: string) => readFileSync(path.join(folder.path, name));
const zipped = (name: string) => gzipSync(read(path.join("assets", name))).length;
/** The engine for models in the tab, fetched only by a page without a server: the workers that Vite made of src/platform/browser. */
const isEngine = (name: string) => /^(?:worker|thread|grammar-thread)-/.test(name);

test("the whole page, formulas and charts included, is under 250 kB gzipped without fonts", () => {
  const names = readdirSync(assets).filter((name) => !name.endsWith(".woff2") && !isEngine(name));
  expect(names.length).toBeGreaterThan(5);
  const total = gzipSync(read("index.html")).length + names.reduce((sum, name) => sum + zipped(name), 0);
  console.info(`page ${Math.round(total / 1000)} kB gzipped, ${names.length} files`);
  expect(total).toBeLessThan(250_000);
});

test("what is loaded at first has neither formulas nor charts nor the engine in it, and is under 80 kB", () => {
  const html = read("index.html").toString();
  const first = [...html.matchAll(/(?:src|href)="\.\/assets\/([^"]+)"/g)].map(([, name]) => name as string);
  const queue = [...first];
  for (const name of queue) {
    if (!name.endsWith(".js")) continue;
    for (const [, more] of read(path.join("assets", name))
      .toString()
      .matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g))
      if (more && !queue.includes(more)) queue.push(more);
  }
  expect(queue.some((name) => /katex|runs|lab|tab|worker/.test(name))).toBe(false);
  const total = queue.reduce((sum, name) => sum + zipped(name), 0);
  expect(total).toBeGreaterThan(10_000);
  expect(total).toBeLessThan(80_000);
});

test("the index has no inline script or style, and addresses that work under any path", () => {
  const html = read("index.html").toString();
  expect([...html.matchAll(/<script\b[^>]*>([^<]*)<\/script>/g)].map(([, body]) => body)).toEqual([""]);
  expect(html).not.toMatch(/<style|\sstyle=|\son\w+=/);
  for (const [, address] of html.matchAll(/(?:src|href)="([^"]+)"/g)) expect(address).toMatch(/^\.\/assets\//);
});

test("of each font there is one file, in the format that all browsers read", () => {
  const fonts = readdirSync(assets).filter((name) => /\.(?:woff2?|ttf)$/.test(name));
  expect(fonts.length).toBeGreaterThan(10);
  expect(fonts.every((name) => name.endsWith(".woff2"))).toBe(true);
  for (const name of readdirSync(assets).filter((one) => one.endsWith(".css")))
    expect(read(path.join("assets", name)).toString()).not.toMatch(/url\(data:|\.ttf|\.woff\)/);
});
