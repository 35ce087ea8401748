// Builds what the sources are not: the WebAssembly kernels and the page. In: src/backend/wasm/assembly, web/. Out: src/backend/wasm/generated,
// dist/web.   node tools/build.ts [kernels|page]

import { build } from "vite";
import { pageConfig } from "../web/vite.config.ts";
import { buildKernels } from "./build-kernels.ts";

const [part] = process.argv.slice(2);
if (part !== "page") await buildKernels();
if (part !== "kernels") await build({ ...pageConfig, logLevel: "warn" });
