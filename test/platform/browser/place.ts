// What tests of the browser door need: a Chromium, the package as a user's Vite builds it without configuration, and a server of files that can be made to
// misbehave. In: nothing. Out: URLs and pages. Where there is no Chromium the tests say so and are skipped.

import { execFileSync } from "node:child_process";
import {
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { pipeline } from "node:stream";
import { type Browser, chromium as playwright } from "playwright-core";
import { build } from "vite";

const root = path.join(import.meta.dirname, "../../..");
const candidates = [process.env.GRADUALLY_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export const chromium = candidates.find((candidate) => candidate !== undefined && existsSync(candidate));

if (!chromium) console.warn("SKIPPED: tests of the browser door, because no Chromium is installed (set GRADUALLY_CHROMIUM)");

export async function launch(flags: readonly string[] = []): Promise<Browser> {
  return await playwright.launch({ executablePath: chromium as string, args: ["--no-sandbox", ...flags] });
}

/** The ten lines of the README. */
export const example = {
  html: `<!doctype html>
<input id="question" value="3 5 7=22" size="40" /> <pre id="answer"></pre>
<script type="module" src="./main.js"></script>
`,
  script: `import { load } from "gradually/browser";

const [question, answer] = ["question", "answer"].map((id) => document.getElementById(id));
const model = await load("./countdown-reasoner/", { onProgress: ({ bytes, total }) => (answer.textContent = \`\${bytes} of \${total}\`) });
const ask = async () => {
  answer.textContent = "";
  for await (const part of model.respond(question.value, { temperature: 0 })) answer.textContent += part.reasoning || part.content;
};
question.onchange = ask;
await ask();
`,
};

/** A page that tests drive: both doors lie in \`window\`. */
const driven = {
  html: `<!doctype html><script type="module" src="./main.js"></script>`,
  script: `import * as door from "gradually/browser";
import * as sdk from "gradually/browser/ai-sdk";
Object.assign(window, { door, sdk });
`,
};

export type Built = { readonly folder: string; remove(): void };

/** Compiles the package as it is published, installs it beside a page, and builds both pages with Vite as it comes. */
export async function buildPages(): Promise<Built> {
  const folder = mkdtempSync(path.join(tmpdir(), "gradually-browser-"));
  const modules = path.join(folder, "node_modules");
  const installed = path.join(modules, "gradually");
  mkdirSync(installed, { recursive: true });
  cpSync(path.join(root, "package.json"), path.join(installed, "package.json"));
  execFileSync(process.execPath, [
    path.join(root, "node_modules/typescript/bin/tsc"),
    "-p",
    path.join(root, "tsconfig.build.json"),
    "--outDir",
    path.join(installed, "dist"),
  ]);
  const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { dependencies: Record<string, string> };
  for (const name of new Set(Object.keys(dependencies).map((dependency) => dependency.split("/")[0] as string)))
    symlinkSync(path.join(root, "node_modules", name), path.join(modules, name));
  for (const [name, { html, script }] of Object.entries({ example, driven })) {
    const page = path.join(folder, name);
    mkdirSync(page);
    writeFileSync(path.join(page, "index.html"), html);
    writeFileSync(path.join(page, "main.js"), script);
    await build({ root: page, logLevel: "error", configFile: false, base: "./" });
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export type Asked = { readonly path: string; readonly range: string | undefined; readonly token: string | undefined };

/** Serves folders under their names, on one port of 127.0.0.1. */
export class PageServer {
  readonly asked: Asked[] = [];
  /** Send COOP and COEP, so that pages are cross-origin isolated. */
  isolated = true;
  /** Whether the server knows Range. */
  ranges = true;
  /** Cuts the connection of the next so many requests for large files after so many bytes each. */
  cuts: number[] = [];
  /** Answers of an API, by path. */
  readonly json = new Map<string, unknown>();
  readonly #mounts: Map<string, string>;
  readonly #server = http.createServer((request, response) => this.#answer(request, response));

  constructor(mounts: Readonly<Record<string, string>>) {
    this.#mounts = new Map(Object.entries(mounts));
  }

  /** Serves a folder under a path of any depth. */
  mount(name: string, folder: string): void {
    this.#mounts.set(name, folder);
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  of(name: string): Asked[] {
    return this.asked.filter((asked) => asked.path.endsWith(name));
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const asked = decodeURIComponent(new URL(request.url ?? "/", this.url).pathname);
    const mount = [...this.#mounts.keys()].find((name) => asked.startsWith(`/${name}/`));
    const folder = mount === undefined ? undefined : this.#mounts.get(mount);
    let file = path.join(folder ?? "/nowhere", asked.slice((mount ?? "").length + 1));
    if (existsSync(file) && statSync(file).isDirectory()) file = path.join(file, "index.html");
    const range = request.headers.range;
    this.asked.push({ path: asked, range, token: request.headers.authorization });
    if (this.isolated) {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
    }
    const answer = this.json.get(asked);
    if (answer !== undefined) {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
      return;
    }
    if (!folder || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const { size, mtimeMs } = statSync(file);
    const types: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json" };
    response.setHeader("content-type", types[path.extname(file)] ?? "application/octet-stream");
    response.setHeader("etag", `"${size}-${mtimeMs}"`);
    const from = this.ranges ? Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? -1) : -1;
    if (from >= size) {
      response.writeHead(416, { "content-range": `bytes */${size}` }).end();
      return;
    }
    const start = Math.max(0, from);
    response.writeHead(from < 0 ? 200 : 206, {
      "content-length": size - start,
      ...(from >= 0 && { "content-range": `bytes ${from}-${size - 1}/${size}` }),
    });
    const cut = size > 100_000 && !asked.endsWith(".js") ? this.cuts.shift() : undefined;
    if (cut === undefined)
      pipeline(createReadStream(file, { start, highWaterMark: 2 ** 20 }), response, () => {}); // whoever left has what came
    else response.write(readFileSync(file).subarray(start, start + cut), () => setTimeout(() => response.destroy(), 300));
  }
}
