// Entry file of a kernel thread in a browser: hands the first message to the WebAssembly worker.

import { runWorker, type WorkerStart } from "../../backend/wasm/worker.ts";

addEventListener("message", ({ data }: MessageEvent<WorkerStart>) => runWorker(data, () => postMessage("ready")), { once: true });
