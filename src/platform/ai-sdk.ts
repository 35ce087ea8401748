// `gradually/ai-sdk` in Node: `const { model, close } = await gradually("hf:Qwen/Qwen3-0.6B")`, and generateText({ model, … }) runs in this process.

import type { LanguageModelV4 } from "@ai-sdk/provider";
import { languageModel } from "../server/ai-sdk.ts";
import { makeApp } from "../server/app.ts";
import { findModelPath } from "./find-model.ts";
import type { LoadOptions } from "./load.ts";
import { nodeHost } from "./node.ts";
import { servedModel } from "./served-models.ts";

export type InProcess = { readonly model: LanguageModelV4; close(): Promise<void> };

/** `reference` as for load: a folder, hf:org/name (fetched when it is not there), the name of a bundled model; left out: the bundled model. Throws what load throws. */
export async function gradually(reference?: string, options: LoadOptions = {}): Promise<InProcess> {
  const host = nodeHost();
  const path = await findModelPath(host.files, reference, async (name) => {
    const [{ findOrPull }, { hubSettings }, { parseHubName }] = await Promise.all([
      import("./hub/pull.ts"),
      import("./hub/settings.ts"),
      import("../formats/hub-names.ts"),
    ]);
    return await findOrPull(await hubSettings(host.env), parseHubName(name), options.pull);
  });
  const entry = await servedModel(host, reference, path, undefined, options);
  const app = await makeApp({ models: [entry], version: "in-process", now: host.now });
  await app.start();
  return { model: languageModel(app, entry.name), close: () => app.close() };
}
