// What each quantised type costs a model: perplexity, divergence from the original and size, as a table for LOG.md. In: a model and a text, or for
// a model of the countdown task a number of held-out problems, whose traces the task writes. Out: Markdown.
//
// Run: node tools/type-table.ts MODEL (TEXT | --countdown N) [--lines] [--chunk 512] [--types q8_0,q4_0,…]

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openDevice } from "../src/backend/open.ts";
import { Random } from "../src/core/random.ts";
import { chunkText, type Document, perplexity } from "../src/eval/perplexity.ts";
import { openModelFiles } from "../src/models/files.ts";
import { loadModel } from "../src/models/load.ts";
import { nodeHost } from "../src/platform/node.ts";
import { isMix, mixes } from "../src/quantize/mix.ts";
import { writeGgufModel } from "../src/quantize/write-gguf-model.ts";
import { createCountdown } from "../src/tasks/countdown.ts";
import { sampleFrom } from "../src/tasks/split.ts";
import type { Tokenizer } from "../src/text/tokenizer.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    countdown: { type: "string" },
    lines: { type: "boolean", default: false },
    chunk: { type: "string", default: "512" },
    types: { type: "string", default: mixes.filter((mix) => mix !== "f32").join(",") },
  },
});
const [path, text] = positionals;
if (path === undefined) throw new Error("usage: node tools/type-table.ts MODEL (TEXT | --countdown N)");

const host = nodeHost();
const device = await openDevice(host, {});
const folder = mkdtempSync(join(tmpdir(), "gradually-types-"));
const original = await openModelFiles(host.files, path);
const base = await loadModel(device, original, { weights: "f32" });
const { tokenizer } = await original.openText();
const documents = makeDocuments(tokenizer);
try {
  const first = await perplexity(base, documents);
  console.log("| type | bits a weight | perplexity | KL from f32, nats a token | 99 % below | same choice |");
  console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
  console.log(`| f32 | 32 | ${first.perplexity.toFixed(4)} ± ${first.error.toFixed(4)} | | | |`);
  for (const type of values.types.split(",")) {
    if (!isMix(type)) throw new Error(`no type ${type}`);
    const file = join(folder, `${type}.gguf`);
    const { bytes, parameters } = await writeGgufModel(host.files, file, original, { mix: type, name: type });
    const opened = await openModelFiles(host.files, file);
    const model = await loadModel(device, opened, { weights: "stored" });
    const { perplexity: ppl, error, kl } = await perplexity(model, documents, { base });
    model.dispose();
    await opened.close();
    const rest = kl ? [kl.mean.toExponential(1), kl.p99.toExponential(1), `${(100 * kl.same_top).toFixed(2)} %`] : [];
    console.log(`| ${[type, ((8 * bytes) / parameters).toFixed(1), `${ppl.toFixed(4)} ± ${error.toFixed(4)}`, ...rest].join(" | ")} |`);
  }
  console.log(`\n${first.tokens} tokens of ${documents.length} texts; ${device.info.name} ${device.info.build}`);
} finally {
  await original.close();
  await device.close();
  rmSync(folder, { recursive: true, force: true });
}

function makeDocuments(tokens: Tokenizer): Document[] {
  const { bos } = tokens.specialIds;
  const whole = (line: string): Document => {
    const ids = tokens.encode(line, { addSpecialTokens: false });
    return { ids: bos === undefined ? ids : [bos, ...ids], from: 1 };
  };
  if (values.countdown !== undefined) return traces(Number(values.countdown)).map(whole);
  const content = readFileSync(text as string, "utf8");
  if (values.lines)
    return content
      .split("\n")
      .filter((line) => line !== "")
      .map(whole);
  return chunkText(tokens.encode(content), Number(values.chunk), bos);
}

/** Problems of the bundled model's kind and their worked solutions. */
function traces(count: number): string[] {
  const task = createCountdown({ count: 3, min: 1, max: 12, targetMin: 1, targetMax: 99 });
  const random = new Random(5);
  const made: string[] = [];
  while (made.length < count) {
    const row = sampleFrom(task, "test", random);
    const trace = task.trace(row, random);
    if (trace !== undefined) made.push(task.prompt(row) + trace);
  }
  return made;
}
