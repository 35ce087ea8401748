// The command of the package, in few files: with one for each source, Node spends longer on finding 140 of them than on running them. In: src/cli/main.ts.
// Out: dist/cli/main.js and its chunks, as deep below the package as the sources are, because they look for package.json, models/ and threads from where
// they lie. Dependencies stay imports; nothing is shortened, so that a stack trace can be read.

import * as path from "node:path";
import { build } from "vite";

const root = path.join(import.meta.dirname, "..");

export async function buildCli(folder = path.join(root, "dist/cli")): Promise<void> {
  await build({
    root,
    configFile: false,
    publicDir: false,
    logLevel: "error",
    build: {
      ssr: path.join(root, "src/cli/main.ts"),
      target: "node22",
      outDir: folder,
      emptyOutDir: true,
      minify: false,
      rolldownOptions: { output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" } },
    },
  });
}
