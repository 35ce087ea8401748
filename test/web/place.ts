// What the end-to-end tests need: a Chromium, the page built from the present sources, and `gradually serve` as a process with the bundled model. In: flags of
// serve. Out: an address, and pages whose every error on the console is kept. Without a Chromium the tests say so and are skipped.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { type Browser, type BrowserContextOptions, type Page, chromium as playwright } from "playwright-core";

export const root = path.join(import.meta.dirname, "../..");
const candidates = [process.env.GRADUALLY_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
export const chromium = candidates.find((candidate) => candidate !== undefined && existsSync(candidate));
if (!chromium) console.warn("SKIPPED: end-to-end tests of the page, because no Chromium is installed (set GRADUALLY_CHROMIUM)");

export async function launch(): Promise<Browser> {
  return await playwright.launch({ executablePath: chromium as string, args: ["--no-sandbox"] });
}

export type Opened = {
  readonly page: Page;
  /** What the console called an error, and scripts that failed. */
  readonly errors: string[];
  /** Addresses outside of the page's own origin that it asked for. */
  readonly strangers: string[];
};

export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US", ...options });
  const page = await context.newPage();
  const errors: string[] = [];
  const strangers: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => {
    const asked = request.url();
    if (!asked.startsWith(new URL(url).origin) && !/^(?:blob|data):/.test(asked)) strangers.push(asked);
  });
  await page.goto(url);
  return { page, errors, strangers };
}

export type Served = { readonly url: string; stop(): Promise<void> };

/** Resolves when the model is ready. */
export async function serve(...flags: string[]): Promise<Served> {
  const args = [path.join(root, "src/cli/main.ts"), "serve", "--port", "0", "--threads", "1", "--quiet", ...flags];
  const child: ChildProcess = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      said += data;
      const found = /ready: (http:\/\/[^ ]+:\d+)\/v1/.exec(said)?.[1];
      if (found) resolve(`${found}/`);
    });
    child.once("exit", () => reject(new Error(said)));
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  return {
    url,
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const folder = mkdtempSync(path.join(tmpdir(), "gradually-page-"));
  return { path: folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
