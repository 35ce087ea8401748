// Makes the model that ships in models/ from a run of `gradually speedrun`: the last checkpoint, matrices quantised to FP8 as DeepSeek-V3 stores them
// (e4m3 codes, one scale for each 128×128 block), everything else as bfloat16, with the run's recipe, report and plots beside it.
//   node tools/bundle-model.ts runs/long models/countdown-reasoner

import { copyFileSync, readdirSync } from "node:fs";
import { openDevice } from "../src/backend/open.ts";
import { isJsonObject, parseJson } from "../src/core/json.ts";
import { openHfFolder } from "../src/formats/hf-folder.ts";
import { writeHfFolder } from "../src/formats/hf-folder-writer.ts";
import { loadModel, saveModel } from "../src/models/load.ts";
import { nodeHost } from "../src/platform/node.ts";

const [run, target] = process.argv.slice(2);
if (run === undefined || target === undefined) throw new Error("usage: node tools/bundle-model.ts RUN-FOLDER TARGET-FOLDER");
const host = nodeHost();
const { files } = host;
const object = async (path: string) => {
  const value = parseJson(await files.readText(path), { source: path });
  if (!isJsonObject(value)) throw new Error(`${path} is no JSON object`);
  return value;
};
const checkpoint = String((await object(files.join(run, "results.json"))).checkpoint);
const device = await openDevice(host);
const folder = await openHfFolder(files, checkpoint);
const model = await loadModel(device, folder);
const saved = saveModel(model);
await writeHfFolder(files, target, {
  config: saved.config,
  tensors: saved.tensors,
  dtype: "BF16",
  // As in DeepSeek-V3: not the embedding, the head, the gate or the norms.
  fp8: (name, shape) => shape.length === 2 && !/embed_tokens|lm_head|shared_head|mlp\.gate\.|norm/.test(name),
  tokenizerJson: await files.readText(files.join(checkpoint, "tokenizer.json")),
  tokenizerConfig: await object(files.join(checkpoint, "tokenizer_config.json")),
  generationConfig: await object(files.join(checkpoint, "generation_config.json")),
});
await folder.close();
await device.close();
for (const name of readdirSync(run)) {
  if (/^(report\.md|results\.json|recipe\.json|.*\.svg)$/.test(name)) copyFileSync(files.join(run, name), files.join(target, name));
}
process.stderr.write(`wrote ${target}\n`);
