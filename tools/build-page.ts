// The page: `buildPage` makes dist/web, which `gradually serve` shows; `buildSite` makes a folder for any web server of static files, in which everything
// runs in the tab: the page with the bundled model beside it, and the headers that give it threads where a host reads `_headers`.

import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { build } from "vite";
import { pageConfig } from "../web/vite.config.ts";

const root = path.join(import.meta.dirname, "..");
const modelFiles = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

export async function buildPage(folder = path.join(root, "dist/web")): Promise<void> {
  await build({ ...pageConfig, logLevel: "error", build: { ...pageConfig.build, outDir: folder } });
}

export async function buildSite(folder = path.join(root, "dist/site")): Promise<void> {
  await buildPage(folder);
  mkdirSync(path.join(folder, "countdown-reasoner"), { recursive: true });
  for (const name of modelFiles) {
    const from = path.join(root, "models/countdown-reasoner", name);
    if (existsSync(from)) copyFileSync(from, path.join(folder, "countdown-reasoner", name));
  }
  writeFileSync(
    path.join(folder, "_headers"),
    "/*\n  Cross-Origin-Opener-Policy: same-origin\n  Cross-Origin-Embedder-Policy: require-corp\n",
  );
}
