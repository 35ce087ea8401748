// Begins to compile the kernels before the rest of a program that is about to load a model is loaded itself: both take about as long, on two cores.
// Unusual: few imports.

import { prepareDevice } from "../backend/open.ts";
import { nodeHost } from "./node.ts";

/** Returns when the kernels are being compiled on other threads: V8 begins there only after two turns of this thread's event loop. */
export async function compileEarly(): Promise<void> {
  await prepareDevice(nodeHost());
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}
