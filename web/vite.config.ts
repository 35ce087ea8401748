// How the page is built: into dist/web, with relative addresses, so that it works under any path. No file is put into another, because the page's
// policy allows neither inline scripts nor data: fonts; of KaTeX's fonts only the small format is kept.

import type { InlineConfig, Plugin } from "vite";

/** Every browser that can run the page reads woff2. */
const onlyWoff2: Plugin = {
  name: "only-woff2",
  enforce: "pre",
  transform(code, id) {
    if (!/katex.*\.css/.test(id)) return undefined;
    return { code: code.replace(/,url\([^)]+\.(?:woff|ttf)\) ?format\("[a-z]+"\)/g, ""), map: null };
  },
};

export const pageConfig: InlineConfig = {
  root: import.meta.dirname,
  base: "./",
  configFile: false,
  publicDir: false,
  plugins: [onlyWoff2],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  build: {
    outDir: "../dist/web",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
};
