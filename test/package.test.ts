// What is handed out, and what it stands on: dependencies, their licences and scripts (X01, X02, X14), what the package holds (X04), no code made from text (X10),
// nothing that is fetched when it is imported (X11).

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";

const run = promisify(execFile);
const root = path.join(import.meta.dirname, "..");

type Locked = {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly peer?: boolean;
  readonly hasInstallScript?: boolean;
};
const read = (name: string) => JSON.parse(readFileSync(path.join(root, name), "utf8"));
const manifest = read("package.json") as { dependencies: Record<string, string>; files: string[] };
const locked = Object.entries((read("package-lock.json") as { packages: Record<string, Locked> }).packages).filter(([name]) => name !== "");
const handedOut = locked.filter(([, { dev, devOptional, peer }]) => !dev && !devOptional && !peer);

describe("what is installed with the package", () => {
  test("X01: at most 8 dependencies, 25 in all, none that runs a script when it is installed", () => {
    expect(Object.keys(manifest.dependencies).length).toBeLessThanOrEqual(8);
    expect(handedOut.length).toBeLessThanOrEqual(25);
    expect(handedOut.filter(([, { hasInstallScript }]) => hasInstallScript).map(([name]) => name)).toEqual([]);
  });

  test("X02: every package of the lock file has its hash, and comes from a registry, not from an address", () => {
    for (const [name, { resolved, integrity }] of locked) {
      expect(resolved ?? "https://registry.npmjs.org/", name).toMatch(/^https:\/\/registry\.npmjs\.org\//);
      expect(integrity, name).toMatch(/^sha512-/);
    }
  });

  test("X14: each has a licence that asks for no more than its own text, and the package names its own", () => {
    for (const [name, { license }] of handedOut)
      expect(["MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"], name).toContain(license);
    expect(readFileSync(path.join(root, "LICENSE"), "utf8")).toMatch(/^MIT License/);
  });
});

describe("what the package holds (X04)", () => {
  const allowed = [
    /^(?:package\.json|README(?:\.zh-TW)?\.md|ARCHITECTURE\.md|LICENSE)$/,
    /^models\/[\w-]+\/(?:config|generation_config|tokenizer|tokenizer_config|recipe|results)\.json$/,
    /^models\/[\w-]+\/(?:model\.safetensors|report\.md|[\w-]+\.svg)$/,
    /^dist\/(?:backend|chat|cli|core|cost|data|engine|eval|formats|models|ops|platform|quantize|server|tasks|tensor|text|train)\/[\w./-]+\.(?:js|d\.ts)$/,
    /^dist\/index\.(?:js|d\.ts)$/,
    /^dist\/web\/(?:index\.html|icon\.svg|assets\/[\w.-]+\.(?:js|css|woff2|svg))$/,
  ];

  test("are known kinds of files; no sources, tests, runs or static site, and nothing of this machine", async () => {
    const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, maxBuffer: 1 << 24 });
    const parsed = JSON.parse(stdout) as Packed[] | Record<string, Packed>;
    const [packed] = Object.values(parsed) as [Packed];
    const names = packed.files.map(({ path: name }) => name);
    expect(names).toContain("models/countdown-reasoner/model.safetensors");
    expect(names.filter((name) => !allowed.some((rule) => rule.test(name)))).toEqual([]);
    expect(names.filter((name) => /assets\/(?:worker|grammar-thread)-/.test(name))).toEqual([]);
    expect(packed.size).toBeLessThan(4_000_000);
  }, 60_000);
});
type Packed = { readonly size: number; readonly files: readonly { readonly path: string }[] };

test("X10: the sources make no code from text", () => {
  const sources = readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const made = /\beval\s*\(|\bnew\s+Function\s*\(|\bFunction\s*\(\s*["'`]/;
  expect(sources.length).toBeGreaterThan(100);
  expect(sources.filter((name) => made.test(readFileSync(path.join(root, "src", name), "utf8")))).toEqual([]);
});

test("X11: importing the package fetches nothing, starts no thread, writes nothing and lets the process end", async () => {
  const code = `
    import net from "node:net"; import fs from "node:fs"; import { Worker } from "node:worker_threads"; import { syncBuiltinESMExports } from "node:module";
    const used = [];
    net.Socket.prototype.connect = () => { used.push("network"); };
    globalThis.fetch = async () => { used.push("fetch"); };
    for (const name of ["writeFileSync", "writeFile", "mkdirSync", "mkdir"]) fs[name] = () => { used.push(name); };
    syncBuiltinESMExports();
    for (const name of ["index", "platform/ai-sdk", "server/app", "engine/engine", "formats/hf-folder", "train/index"]) await import(new URL(name + ".ts", process.argv[1]));
    console.log(JSON.stringify(used));`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", code, new URL("../src/", import.meta.url).href]);
  expect(JSON.parse(stdout)).toEqual([]);
}, 60_000);

test.skipIf(!existsSync(path.join(root, "dist/web")))(
  "the page that the package holds is the served one: every file that it names is there",
  () => {
    const web = path.join(root, "dist/web");
    const index = readFileSync(path.join(web, "index.html"), "utf8");
    for (const [, name] of index.matchAll(/(?:src|href)="\.\/([^"]+)"/g))
      expect(existsSync(path.join(web, name as string)), name).toBe(true);
  },
);
