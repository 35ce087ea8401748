// The architecture as data: the rank table of DESIGN.md section 4 and the rules of the house, checked over all files of src/ by reading
// them as text. Imports go down only. Each rule is a function from a path and its text to complaints, so the last part can show on
// made-up files that every rule complains when it should.

import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { describe, expect, test } from "vitest";

/** Rank -> folders (with a slash) and single files. An import must lead to a lower rank, or stay in its unit. */
const ranks: readonly (readonly string[])[] = [
  ["core/"],
  ["formats/", "text/", "backend/backend.ts", "backend/checks.ts", "backend/packed-samples.ts"],
  ["backend/reference/", "backend/wasm/", "backend/webgpu/", "backend/self-test-trials.ts", "backend/self-test-results.ts", "tensor/"],
  ["backend/open.ts", "backend/self-test.ts", "ops/"],
  ["models/", "tasks/"],
  ["data/", "engine/"],
  ["chat/", "quantize/"],
  ["eval/", "server/", "cost/"],
  ["train/", "platform/"],
  ["cli/", "web/", "index.ts"],
];

/** Folders that may touch the system or the page. */
const systemFolders = ["platform/", "cli/", "web/"];

/** Who but backend/open.ts and backend/self-test.ts may name a concrete backend, and why. */
const backendUsers: Readonly<Record<string, string>> = {
  "platform/node-worker.ts": "the entry of a thread, which runs the wasm device's worker loop",
  "platform/browser/thread.ts": "the same in a browser",
  "platform/browser/host.ts": "bundlers make one file of a worker, which then can import nothing dynamically, as backend/open.ts does",
};

/** Kernels whose file in one backend does not have their own name, and why. */
const sharedKernelFiles: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  // Grouped products run the same packing and register blocks as plain ones, for equal bits.
  "backend/wasm/assembly/": { groupedMatmul: "matmul", groupedMatmulWeightGrad: "matmul", packedGroupedMatmul: "packed-matmul" },
  // It takes as many lines as the forward pass.
  "backend/webgpu/": { attentionBackward: "attention-backward" },
};

type Files = ReadonlyMap<string, string>;
type Import = { readonly target: string; readonly typeOnly: boolean };

/**
 * The code of a file: comments become spaces; what stands in strings, templates and regular expressions becomes empty, unless `strings`.
 * Expressions inside templates stay.
 */
function codeOf(text: string, strings: "keep" | "drop" = "drop"): string {
  let out = "";
  let i = 0;
  const put = (piece: string) => {
    out += strings === "keep" ? piece : "";
  };
  const template = () => {
    out += "`";
    for (i++; i < text.length && text[i] !== "`"; i++) {
      if (text[i] === "\\") {
        put(text.slice(i, i + 2));
        i++;
      } else if (text.startsWith("${", i)) {
        i += 2;
        code("}");
      } else put(text[i] as string);
    }
    out += "`";
    i++;
  };
  const quoted = (end: string) => {
    const start = i + 1;
    let inClass = false;
    for (i++; i < text.length && text[i] !== "\n" && (text[i] !== end || inClass); i++) {
      if (text[i] === "\\") i++;
      else if (end === "/" && text[i] === "[") inClass = true;
      else if (text[i] === "]") inClass = false;
    }
    out += end;
    put(text.slice(start, i));
    out += end;
    i++;
  };
  const code = (end: string | undefined) => {
    let depth = 0;
    while (i < text.length) {
      const char = text[i] as string;
      if (char === end && depth === 0) return;
      if (text.startsWith("//", i)) {
        while (i < text.length && text[i] !== "\n") i++;
      } else if (text.startsWith("/*", i)) {
        const close = text.indexOf("*/", i + 2);
        i = close < 0 ? text.length : close + 2;
        out += " ";
      } else if (char === '"' || char === "'") quoted(char);
      else if (char === "`") template();
      else if (char === "/" && /(?:^|[(,=:[!&|?{};]|=>|\breturn)\s*$/.test(out.slice(-40))) quoted("/");
      else {
        if (char === "{") depth++;
        if (char === "}") depth--;
        out += char;
        i++;
      }
    }
  };
  code(undefined);
  return out;
}

/** Everything that a file imports or re-exports, statically, dynamically or as a type; relative targets as paths below src/. */
function importsOf(path: string, text: string): Import[] {
  const code = codeOf(text, "keep");
  const found: Import[] = [];
  const add = (target: string, typeOnly: boolean) => {
    let resolved = target.startsWith(".") ? posix.join(posix.dirname(path), target) : target;
    if (target.startsWith(".") && !posix.extname(target)) resolved += ".ts";
    found.push({ target: resolved, typeOnly });
  };
  for (const [, type, target] of code.matchAll(/^\s*(?:import|export)\s+(type\s)?[^;"'()]*?\bfrom\s*["']([^"']+)["']/gm))
    add(target as string, type !== undefined);
  for (const [, target] of code.matchAll(/^\s*import\s*["']([^"']+)["']/gm)) add(target as string, false);
  for (const [, target] of code.matchAll(/\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g)) add(target as string, false);
  return found;
}

function rankOf(path: string): number {
  return ranks.findIndex((units) => units.some((unit) => (unit.endsWith("/") ? path.startsWith(unit) : path === unit)));
}

/** The folder within which files of one rank may import one another. */
function unitOf(path: string): string {
  const [first = "", second = ""] = path.split("/");
  return first === "backend" && !second.endsWith(".ts") ? `${first}/${second}` : first;
}

function importComplaints(path: string, text: string): string[] {
  const rank = rankOf(path);
  if (rank < 0) return [`${path} has no rank: add its folder to the table here and in DESIGN.md`];
  const complaints: string[] = [];
  for (const { target } of importsOf(path, text)) {
    if (!target.endsWith(".ts")) continue;
    const below = rankOf(target);
    const allowed = below < rank || (below === rank && unitOf(target) === unitOf(path));
    if (below < 0 || !allowed) complaints.push(`${path} (rank ${rank}) imports ${target} (rank ${below})`);
    const concrete = ["backend/reference", "backend/wasm", "backend/webgpu"].includes(unitOf(target)) && unitOf(target) !== unitOf(path);
    if (concrete && unitOf(path) !== "backend" && !backendUsers[path])
      complaints.push(`${path} names the backend ${target}: use backend/open.ts`);
  }
  return complaints;
}

/** One cycle of run-time imports as a list of paths, or undefined. */
function findCycle(files: Files): string[] | undefined {
  const state = new Map<string, "open" | "done">();
  const trail: string[] = [];
  const visit = (path: string): string[] | undefined => {
    if (state.get(path) === "done") return undefined;
    if (state.get(path) === "open") return [...trail.slice(trail.indexOf(path)), path];
    state.set(path, "open");
    trail.push(path);
    for (const { target, typeOnly } of importsOf(path, files.get(path) ?? "")) {
      if (typeOnly || !files.has(target)) continue;
      const cycle = visit(target);
      if (cycle) return cycle;
    }
    trail.pop();
    state.set(path, "done");
    return undefined;
  };
  for (const path of files.keys()) {
    const cycle = visit(path);
    if (cycle) return cycle;
  }
  return undefined;
}

/** True when the code uses `name` without declaring it: the global of that name. */
function usesGlobal(code: string, name: string): boolean {
  if (new RegExp(`\\b(?:globalThis|window|self)\\s*(?:\\?\\.|\\.|\\[)\\s*${name}\\b`).test(code)) return true;
  const declared = new RegExp(
    `\\b(?:const|let|var)\\s+(?:[{[][^=;]*\\b)?${name}\\b|[(,]\\s*${name}\\??\\s*:|\\(\\s*(?:\\w+\\s*,\\s*)*${name}\\s*(?:,[^()]*)?\\)\\s*=>|\\b${name}\\s*=>`,
  );
  const used = new RegExp(`(?<![.\\w$#])${name}\\s*(?:\\?\\.|\\.|\\[)|\\btypeof\\s+${name}\\b|=\\s*${name}\\s*;`);
  return used.test(code) && !declared.test(code);
}

function systemComplaints(path: string, text: string): string[] {
  if (systemFolders.some((folder) => path.startsWith(folder))) return [];
  const complaints = importsOf(path, text)
    .filter(
      ({ target }) =>
        target.startsWith("node:") ||
        /^(?:fs|os|path|process|crypto|worker_threads|child_process|url|util|v8|http|net|stream|buffer)(?:\/|$)/.test(target),
    )
    .map(({ target }) => `${path} imports ${target}: only ${systemFolders.join(", ")} may`);
  const code = codeOf(text);
  for (const name of ["document", "navigator", "process", "window"]) {
    if (usesGlobal(code, name)) complaints.push(`${path} uses ${name}: only ${systemFolders.join(", ")} may`);
  }
  return complaints;
}

function styleComplaints(path: string, text: string): string[] {
  const code = codeOf(text);
  const complaints: string[] = [];
  if (
    /(?:[:<,|&(=]\s*|\b(?:as|extends|keyof|satisfies)\s+)any\b(?!\s*[(:.,)?=])|\bany\[\]|:\s*any\b(?=\s*[,)=])|<any\b|,\s*any>/.test(code)
  )
    complaints.push(`${path} uses the type any`);
  if (/^\s*export\s+default\b/m.test(code) || /\bas\s+default\b/.test(code)) complaints.push(`${path} has a default export`);
  return complaints;
}

/** Names of the methods of `interface Kernels` in the text of backend.ts. */
function kernelNames(contract: string): string[] {
  const body = /interface Kernels \{([\s\S]*?)\n\}/.exec(codeOf(contract))?.[1] ?? "";
  return [...body.matchAll(/^ {2}(\w+)\(a: /gm)].map(([, name]) => name as string);
}

/** rmsNormBackward -> rms-norm: a kernel's gradients live in its own file. */
function fileNameOf(kernel: string): string {
  return kernel.replace(/(?:Backward|WeightGrad)$/, "").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function kernelComplaints(files: Files, cases: string): string[] {
  const complaints: string[] = [];
  for (const kernel of kernelNames(files.get("backend/backend.ts") ?? "")) {
    for (const folder of ["backend/reference/", "backend/wasm/assembly/", "backend/webgpu/"]) {
      const path = `${folder}${sharedKernelFiles[folder]?.[kernel] ?? fileNameOf(kernel)}.ts`;
      const defined = new RegExp(`^export (?:const|function) ${kernel}\\b`, "m").test(files.get(path) ?? "");
      if (!defined) complaints.push(`${kernel} is not exported by ${path}`);
    }
    if (!new RegExp(`^\\s*${kernel}\\s*:`, "m").test(codeOf(cases)))
      complaints.push(`${kernel} has no cases in test/backend/kernel-cases.ts`);
  }
  return complaints;
}

const root = new URL("../src/", import.meta.url);
const paths = readdirSync(root, { recursive: true, encoding: "utf8" }).map((path) => path.replaceAll("\\", "/"));
const sources: Files = new Map(
  paths
    .filter((path) => path.endsWith(".ts") && !path.startsWith("backend/wasm/generated/"))
    .map((path) => [path, readFileSync(new URL(path, root), "utf8")]),
);
const cases = readFileSync(new URL("backend/kernel-cases.ts", import.meta.url), "utf8");
const all = (rule: (path: string, text: string) => string[]) => [...sources].flatMap(([path, text]) => rule(path, text));

describe("src", () => {
  test("imports go down the ranks, and only backend/open.ts names a backend", () => expect(all(importComplaints)).toEqual([]));
  test("has no run-time import cycle", () => expect(findCycle(sources)).toBeUndefined());
  test("touches node and the page only in platform, cli and web", () => expect(all(systemComplaints)).toEqual([]));
  test("has no any and no default export", () => expect(all(styleComplaints)).toEqual([]));
  test("has every kernel of the contract in reference, in wasm, in webgpu and in the cases", () => {
    expect(kernelNames(sources.get("backend/backend.ts") ?? "").length).toBeGreaterThan(30);
    expect(kernelComplaints(sources, cases)).toEqual([]);
  });
  test("is found at all, imports included", () => {
    expect(sources.size).toBeGreaterThan(100);
    // A string or regular expression that was not recognised would swallow code, and with it a brace.
    const swallowed = [...sources].filter(([, text]) => codeOf(text).split("{").length !== codeOf(text).split("}").length);
    expect(swallowed.map(([path]) => path)).toEqual([]);
    expect(importsOf("backend/open.ts", sources.get("backend/open.ts") as string).map(({ target }) => target)).toEqual(
      expect.arrayContaining(["core/errors.ts", "core/host.ts", "backend/backend.ts", "backend/wasm/open.ts", "backend/reference/open.ts"]),
    );
  });
});

describe("the rules complain about", () => {
  test.each([
    ["an upward import", "core/a.ts", 'import { b } from "../ops/b.ts";'],
    ["an upward import of a type", "formats/a.ts", 'import type { B } from "../tensor/b.ts";'],
    ["an upward import over several lines", "ops/a.ts", 'import {\n  b,\n  c,\n} from "../models/b.ts";'],
    ["an upward re-export", "tensor/a.ts", 'export { b } from "../ops/b.ts";'],
    ["an upward dynamic import", "engine/a.ts", 'const b = await import("../train/b.ts");'],
    ["an upward import for its effect", "core/a.ts", 'import "../text/b.ts";'],
    ["an upward type in passing", "core/a.ts", 'let b: import("../text/b.ts").B;'],
    ["a neighbour of the same rank", "models/a.ts", 'import { b } from "../tasks/b.ts";'],
    ["one backend in another", "backend/wasm/a.ts", 'import { b } from "../reference/b.ts";'],
    ["the contract importing a device", "backend/backend.ts", 'import type { B } from "./open.ts";'],
    ["a concrete backend by name", "engine/a.ts", 'import { openReference } from "../backend/reference/open.ts";'],
    ["a folder without a rank", "misc/a.ts", ""],
    ["an import from a folder without a rank", "cli/a.ts", 'import { b } from "../misc/b.ts";'],
  ])("%s", (_, path, text) => expect(importComplaints(path, text)).not.toEqual([]));

  test.each([
    ["node modules", "train/a.ts", 'import { readFile } from "node:fs/promises";'],
    ["node modules by their short name", "core/a.ts", 'import { readFile } from "fs/promises";'],
    ["node modules asked for dynamically", "engine/a.ts", 'const fs = await import("node:fs");'],
    ["the page", "data/a.ts", 'document.querySelector("p");'],
    ["the page by way of globalThis", "data/a.ts", "const page = globalThis.document;"],
    ["the page inside a template", "data/a.ts", `const x = \`\${document.title}\`;`],
    ["the navigator", "engine/a.ts", "const cores = navigator.hardwareConcurrency;"],
    ["the process", "train/a.ts", "const home = process.env.HOME;"],
  ])("%s", (_, path, text) => expect(systemComplaints(path, text)).not.toEqual([]));

  test.each([
    ["any as an annotation", "let a: any;"],
    ["any as a parameter", "function f(a: any, b: number): void {}"],
    ["any in angle brackets", "const a = new Map<string, any>();"],
    ["any as an array", "let a: readonly any[] = [];"],
    ["any as a cast", "const a = b as any;"],
    ["any as a return type", "function f(): any {\n}"],
    ["a default export", "export default function f() {}"],
    ["a renamed default export", "export { f as default };"],
  ])("%s", (_, text) => expect(styleComplaints("core/a.ts", text)).not.toEqual([]));

  test("a cycle of three files", () => {
    const files = new Map([
      ["core/a.ts", 'import { b } from "./b.ts";'],
      ["core/b.ts", 'import { c } from "./c.ts";'],
      ["core/c.ts", 'import { a } from "./a.ts";'],
    ]);
    expect(findCycle(files)).toEqual(["core/a.ts", "core/b.ts", "core/c.ts", "core/a.ts"]);
  });

  test("a kernel without file or cases", () => {
    const contract = "export interface Kernels {\n  newKernel(a: { out: View }): void;\n}\n";
    const empty = kernelComplaints(new Map([["backend/backend.ts", contract]]), "// newKernel: not a mention\n");
    expect(empty).toEqual([
      "newKernel is not exported by backend/reference/new-kernel.ts",
      "newKernel is not exported by backend/wasm/assembly/new-kernel.ts",
      "newKernel is not exported by backend/webgpu/new-kernel.ts",
      "newKernel has no cases in test/backend/kernel-cases.ts",
    ]);
    const text = "export const newKernel = 1;";
    const complete = new Map([
      ["backend/backend.ts", contract],
      ["backend/reference/new-kernel.ts", text],
      ["backend/wasm/assembly/new-kernel.ts", text],
      ["backend/webgpu/new-kernel.ts", text],
    ]);
    expect(kernelComplaints(complete, "const cases = {\n  newKernel: f,\n};")).toEqual([]);
  });
});

describe("the rules leave in peace", () => {
  test.each([
    ["a downward import", "ops/a.ts", 'import { b } from "../tensor/b.ts";'],
    ["its own folder", "engine/a.ts", 'import { b } from "./b.ts";'],
    ["open.ts loading a backend", "backend/open.ts", 'const b = await import("./wasm/open.ts");'],
    ["imports in comments and strings", "core/a.ts", '// import { b } from "../ops/b.ts";\nconst s = "document.title as any";'],
    [
      "a variable that is called document",
      "data/a.ts",
      "function f(document: D) {\n  return document.ids;\n}\nlist.map((document, i) => document.ids[i]);",
    ],
    [
      "a property that is called process or any",
      "data/a.ts",
      "task.process.start();\nconst x = Promise.any(list);\nconst y = { any: 1 };\nlet any = true;",
    ],
    ["a regular expression with quotes", "text/a.ts", 'const r = /["\'`/]/;\nconst s = "any";\nconst half = a / b; // "document.title'],
  ])("%s", (_, path, text) =>
    expect([...importComplaints(path, text), ...systemComplaints(path, text), ...styleComplaints(path, text)]).toEqual([]),
  );

  test("a cycle of types only", () => {
    const files = new Map([
      ["core/a.ts", 'import type { B } from "./b.ts";'],
      ["core/b.ts", 'import { a } from "./a.ts";'],
    ]);
    expect(findCycle(files)).toBeUndefined();
  });
});
