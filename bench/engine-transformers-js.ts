// transformers.js in Node (onnxruntime-node on the CPU) on the ONNX folder that tools/reference/make_onnx_model.py made of the GGUF file: q4 of a q4_0
// file (the same weights; the output head is rounded to 4 bits too), q8 of a q8_0 file (dynamic int8). In and out: protocol.ts.
// Measured through `generate`, as its users call it.

import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AutoModelForCausalLM, BaseStreamer, type DynamicCache, env, Tensor } from "@huggingface/transformers";
import { onnxOf } from "./onnx-model.ts";
import { leave, readCall, say, someIds } from "./protocol.ts";

const { model: path, threads, tests } = readCall();
const onnx = onnxOf(path);
if (!onnx) leave(`${basename(path)} has no counterpart in ONNX: only q4_0 and q8_0 have`);
if (!existsSync(onnx.file)) leave(`no ${onnx.file}: make it with tools/reference/make_onnx_model.py`);

/** Attention's scores lie there for a whole chunk at once. */
const chunk = 512;

class Clock extends BaseStreamer {
  /** When each step's tokens came, after the prompt. */
  readonly times: number[] = [];
  #sawPrompt = false;
  override put(): void {
    if (this.#sawPrompt) this.times.push(performance.now());
    this.#sawPrompt = true;
  }
  override end(): void {}
}

env.allowRemoteModels = false;
env.localModelPath = dirname(onnx.folder);
const model = await AutoModelForCausalLM.from_pretrained(basename(onnx.folder), {
  dtype: onnx.dtype,
  device: "cpu",
  session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
});

/** Continues `rows` by `count` ids each. Whatever the cache holds of them already is not computed again. */
async function generate(rows: readonly number[][], count: number, cache?: DynamicCache): Promise<{ cache: DynamicCache; times: number[] }> {
  const dims = [rows.length, rows[0]?.length ?? 0];
  const tensor = (values: readonly number[]) => new Tensor("int64", BigInt64Array.from(values, BigInt), dims);
  const clock = new Clock();
  const options = {
    input_ids: tensor(rows.flat()),
    attention_mask: tensor(rows.flat().fill(1)),
    max_new_tokens: count,
    do_sample: false,
    return_dict_in_generate: true,
    streamer: clock,
    ...(cache && { past_key_values: cache }),
  };
  // The library's type of options asks for a streamer of text.
  const made = await model.generate(options as unknown as Parameters<typeof model.generate>[0]);
  return { cache: (made as unknown as { past_key_values: DynamicCache }).past_key_values, times: clock.times };
}

const results: Record<string, number> = {};
await generate([someIds(32)], 2); // packs what is packed once
for (const { name, prompt = 0, gen = 0, depth = 1, parallel = 1 } of tests) {
  if (prompt > 0) {
    const start = performance.now();
    await generate([someIds(prompt)], 1);
    results[name] = (prompt / (performance.now() - start)) * 1000;
    continue;
  }
  const rows = Array.from({ length: parallel }, (_, i) => someIds(depth, i));
  let cache: DynamicCache | undefined;
  for (let length = chunk; length < depth; length += chunk) {
    ({ cache } = await generate(
      rows.map((row) => row.slice(0, length)),
      1,
      cache,
    ));
  }
  const { times } = await generate(rows, gen, cache);
  if (times.length !== gen) throw new Error(`${times.length} steps instead of ${gen}`);
  results[name] = (((gen - 1) * parallel) / ((times.at(-1) as number) - (times[0] as number))) * 1000;
}
say(results);
process.exit(0);
