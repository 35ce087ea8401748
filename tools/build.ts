// Builds what the sources are not: the WebAssembly kernels and the page. In: src/backend/wasm/assembly, web/. Out: src/backend/wasm/generated, dist/web;
// for `site` dist/site, a page for static hosts; for `cli` dist/cli, the command of the package.   node tools/build.ts [kernels|page|site|cli]

import { buildCli } from "./build-cli.ts";
import { buildKernels } from "./build-kernels.ts";
import { buildPage, buildSite } from "./build-page.ts";

const [part] = process.argv.slice(2);
if (part === undefined || part === "kernels") await buildKernels();
if (part === undefined || part === "page") await buildPage();
if (part === "site") await buildSite();
if (part === "cli") await buildCli();
