// Entry file of a worker thread in Node: hands the first message to the WebAssembly worker.

import { parentPort } from "node:worker_threads";
import { runWorker, type WorkerStart } from "../backend/wasm/worker.ts";

parentPort?.once("message", (start: WorkerStart) => {
  runWorker(start, () => parentPort?.postMessage("ready"));
});
