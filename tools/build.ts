// Builds the WebAssembly kernels (and, where asked, dist/). In: src/backend/wasm/assembly. Out: src/backend/wasm/generated.
import { buildKernels } from "./build-kernels.ts";

await buildKernels();
