// The bundled model on a device of two threads, as the tests of engine and door want it. In: nothing. Out: the parts, and what frees them.

import * as path from "node:path";
import type { Device } from "../src/backend/backend.ts";
import { openDevice } from "../src/backend/open.ts";
import { openModelFiles } from "../src/models/files.ts";
import { loadModel } from "../src/models/load.ts";
import type { Model } from "../src/models/model.ts";
import { nodeHost } from "../src/platform/node.ts";
import type { Tokenizer } from "../src/text/tokenizer.ts";

export type BundledModel = { readonly device: Device; readonly model: Model; readonly tokenizer: Tokenizer; close(): Promise<void> };

export async function openBundledModel(): Promise<BundledModel> {
  const host = nodeHost();
  const device = await openDevice(host, { threads: 2 });
  const opened = await openModelFiles(host.files, path.join(import.meta.dirname, "../models/countdown-reasoner"));
  const { tokenizer } = await opened.openText();
  const model = await loadModel(device, opened, { weights: "stored" });
  await opened.close();
  return {
    device,
    model,
    tokenizer,
    close: async () => {
      model.dispose();
      await device.close();
    },
  };
}
