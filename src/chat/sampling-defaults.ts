// What generation_config.json says about sampling, as transformers reads it, and what a request changes. Without `do_sample: true` a model is
// greedy; a request that sets a filter or a temperature wants to draw. The file is a stranger's: what no request may ask for, the file may not either.

import { quote, RequestError } from "../core/errors.ts";
import type { JsonObject, JsonValue } from "../core/json.ts";
import { checkRequest, type GenerationRequest, type Sampling } from "../engine/request.ts";

/** Request before generation_config.json before greedy. Values of the file that are no numbers are passed over. */
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
  return ids.filter((id): id is number => isId(id, vocabSize));
}

function isId(id: JsonValue | undefined, vocabSize: number): boolean {
  return typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < vocabSize;
}

/** What a key of the file becomes in a request, for the engine to judge. */
const requested: Readonly<Record<string, (value: number) => Partial<GenerationRequest>>> = {
  temperature: (temperature) => ({ sampling: { temperature } }),
  top_k: (topK) => ({ sampling: { topK } }),
  top_p: (topP) => ({ sampling: { topP } }),
  min_p: (minP) => ({ sampling: { minP } }),
  typical_p: (typicalP) => ({ sampling: { typicalP } }),
  repetition_penalty: (repetitionPenalty) => ({ sampling: { repetitionPenalty } }),
  max_new_tokens: (maxTokens) => ({ maxTokens }),
};

/**
 * The file without what no request may ask for, and a line for each value that was left out: else every request would be refused for what it
 * did not say (hazard T39). null stands for nothing, as transformers writes it.
 */
export function soundDefaults(
  config: JsonObject,
  vocabSize: number,
): { readonly config: JsonObject; readonly warnings: readonly string[] } {
  const sound: JsonObject = Object.assign(Object.create(null), config);
  const warnings: string[] = [];
  const leaveOut = (key: string, value: JsonValue, expected: string) => {
    const shown =
      typeof value === "string" ? quote(value, 60) : Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : value;
    warnings.push(`generation_config.json: ${key}: ${shown} is passed over; expected ${expected}`);
    delete sound[key];
  };
  for (const [key, asked] of Object.entries(requested)) {
    const value = config[key];
    if (value === undefined || value === null) continue;
    if (typeof value !== "number") leaveOut(key, value, "a number");
    else {
      try {
        checkRequest({ ids: [0], maxTokens: 1, ...asked(value) }, { vocabSize, contextLength: 2 });
      } catch (thrown) {
        if (!(thrown instanceof RequestError)) throw thrown;
        leaveOut(key, value, thrown.complaint.expected);
      }
    }
  }
  const { eos_token_id: eos, do_sample: draws } = config;
  if (draws !== undefined && draws !== null && typeof draws !== "boolean") leaveOut("do_sample", draws, "true or false");
  if (eos === undefined || eos === null) return { config: sound, warnings };
  const ids = Array.isArray(eos) ? eos : [eos];
  const known = ids.filter((id) => isId(id, vocabSize));
  if (known.length < ids.length) {
    leaveOut("eos_token_id", ids.find((id) => !isId(id, vocabSize)) as JsonValue, `ids from 0 to ${vocabSize - 1}`);
    if (known.length > 0) sound.eos_token_id = known;
  }
  return { config: sound, warnings };
}
