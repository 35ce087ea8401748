// The command of the package, in few files: with one for each source, Node spends longer on finding 140 of them than on running them. In: src/cli/main.ts.
// Out: dist/cli/main.js and its chunks, as deep below the package as the sources are, because they look for package.json, models/ and threads from where
// they lie. Dependencies stay imports; nothing is shortened, so that a stack trace can be read.

import * as path from "node:path";
import { build, type Plugin } from "vite";

const root = path.join(import.meta.dirname, "..");

/** Each takes what its files import, as far as no group before it did; the rest is cut where verbs share it. main.ts itself waits for its verb, so it is in none. */
const groups = [
  { name: "base", test: /\/src\/cli\/(?:output|aliases)\.ts$/, priority: 3 },
  { name: "kernels", test: /\/src\/(?:platform\/early-kernels|backend\/wasm\/compile)\.ts$/, priority: 2 },
  { name: "generation", test: /\/src\/(?:cli\/(?:run|chat)|backend\/wasm\/open|backend\/self-test)\.ts$/, priority: 1 },
];

/** `generated`: where, as seen from the folder, the kernels and the results of the self-test lie. They are large, and the package has them already. */
export async function buildCli(
  folder = path.join(root, "dist/cli"),
  generated = (name: string) => `../backend/wasm/generated/${name}.js`,
): Promise<void> {
  const leaveGenerated: Plugin = {
    name: "leave-generated",
    enforce: "pre",
    resolveId(source) {
      const name = /\/generated\/([\w-]+)\.ts$/.exec(source)?.[1];
      return name === undefined ? undefined : { id: generated(name), external: true };
    },
  };
  await build({
    root,
    configFile: false,
    publicDir: false,
    logLevel: "error",
    plugins: [leaveGenerated],
    build: {
      ssr: path.join(root, "src/cli/main.ts"),
      target: "node22",
      outDir: folder,
      emptyOutDir: true,
      minify: false,
      rolldownOptions: { output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js", codeSplitting: { groups } } },
    },
  });
}
