// What generation_config.json says about sampling, as transformers reads it, and what a request changes. Without `do_sample: true` a model is
// greedy; a request that sets a filter or a temperature wants to draw.

import type { JsonObject } from "../core/json.ts";
import type { Sampling } from "../engine/request.ts";

/** Request before generation_config.json before greedy. Values of the file that are no numbers are passed over; ranges are the engine's business. */
export function withDefaults(asked: Sampling, config: JsonObject): Sampling & { temperature: number } {
  const draws = config.do_sample === true;
  const { temperature, topK, topP, minP, typicalP, repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, bannedIds, seed } =
    asked;
  const wants = [temperature, topK, topP, minP, typicalP].some((value) => value !== undefined);
  const configured = (key: string) => (draws ? numberAt(config, key) : undefined);
  const merged: Sampling = {
    topK: topK ?? configured("top_k"),
    topP: topP ?? configured("top_p"),
    minP: minP ?? configured("min_p"),
    typicalP: typicalP ?? configured("typical_p"),
    repetitionPenalty: repetitionPenalty ?? numberAt(config, "repetition_penalty"),
    presencePenalty,
    frequencyPenalty,
    logitBias,
    bannedIds,
    seed,
  };
  return { ...merged, temperature: temperature ?? configured("temperature") ?? (draws || wants ? 1 : 0) };
}

/** max_new_tokens and the like. */
export function numberAt(config: JsonObject, key: string): number | undefined {
  const value = config[key];
  return typeof value === "number" ? value : undefined;
}

/** Ids that end a generation: eos_token_id, one or a list, else the tokenizer's. */
export function stopIdsOf(config: JsonObject, eos: number | undefined, vocabSize: number): number[] {
  const named = config.eos_token_id ?? eos;
  const ids = Array.isArray(named) ? named : [named];
  return ids.filter((id): id is number => typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < vocabSize);
}
