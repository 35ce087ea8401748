// The bodies of OpenAI's chat and completion requests. Unknown fields are dropped, as clients send extras; known ones have ranges.

import { z } from "zod";
import { anyObject, integer, maxTokens, samplingFields, thinkingFields } from "./schema-parts.ts";
import { responseFormat, structuredOutputs } from "./structures.ts";

const textPart = z.looseObject({ type: z.string(), text: z.string().nullish() });
const content = z.union([z.string(), z.array(textPart)]);

const functionCall = z.object({
  id: z.string().max(256).nullish(),
  type: z.literal("function").nullish(),
  function: z.object({ name: z.string().min(1).max(256), arguments: z.union([z.string(), anyObject]).nullish() }),
});

export const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content: content.nullish(),
  name: z.string().max(256).nullish(),
  reasoning_content: z.string().nullish().describe("What the assistant thought, as this server sent it."),
  reasoning: z.string().nullish(),
  tool_calls: z.array(functionCall).nullish(),
  tool_call_id: z.string().max(256).nullish(),
});
export type MessageBody = z.output<typeof message>;

export const tool = z.object({
  type: z.literal("function"),
  function: z.object({
    name: z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, "letters, digits, _ and -, at most 64"),
    description: z.string().nullish(),
    parameters: anyObject.nullish(),
    strict: z.boolean().nullish(),
  }),
});
export type ToolBody = z.output<typeof tool>;

export const toolChoice = z.union([
  z.enum(["none", "auto", "required"]),
  z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
]);

export const streamOptions = z.object({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() });

/** What this server has no way to do. Such a field changes the answer, so it is refused where others are dropped; null is nothing. */
const refused = (cure: string) => z.null(`Invalid input: expected nothing: ${cure}`).optional();

const common = {
  model: z.string().max(256).nullish().describe("A name of /v1/models; left out: the server's first."),
  stream: z.boolean().nullish(),
  stream_options: streamOptions.nullish(),
  n: integer(1, 128).nullish(),
  user: z.string().max(1024).nullish().describe("Taken note of by nobody."),
  ignore_eos: z.boolean().nullish(),
  stop_token_ids: z.array(integer(0, 2_147_483_647)).max(1024).nullish().describe("vLLM: these end the answer too."),
  response_format: responseFormat.nullish(),
  structured_outputs: structuredOutputs.nullish().describe("vLLM: one of json, json_object, regex, choice, grammar."),
  ...samplingFields,
};

export const chatRequest = z.object({
  messages: z.array(message).min(1),
  max_tokens: maxTokens.nullish(),
  max_completion_tokens: maxTokens.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: integer(0, 20).nullish(),
  tools: z.array(tool).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: refused("send tools"),
  function_call: refused("send tool_choice"),
  audio: refused("this server writes text"),
  modalities: z.array(z.literal("text", "Invalid input: expected text alone")).nullish(),
  web_search_options: refused("this server asks no other"),
  ...common,
  ...thinkingFields,
});
export type ChatRequest = z.output<typeof chatRequest>;

const ids = z.custom<number[]>((value) => Array.isArray(value) && value.length > 0 && value.every((id) => Number.isSafeInteger(id)), {
  error: "a list of token ids",
});

export const completionRequest = z.object({
  prompt: z.union([z.string(), z.array(z.string()).min(1), ids, z.array(ids).min(1)]),
  max_tokens: maxTokens.nullish().describe("Default 16."),
  logprobs: integer(0, 20).nullish(),
  best_of: integer(1, 128).nullish().describe("Only n itself."),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish().describe("Not supported."),
  add_special_tokens: z.boolean().nullish().describe("Default true: the beginning-of-text token comes first, where the tokenizer has one."),
  ...common,
});
export type CompletionRequest = z.output<typeof completionRequest>;

export const tokenizeRequest = z.object({
  model: z.string().max(256).nullish(),
  content: z.string().nullish().describe("llama.cpp's name of the text."),
  prompt: z.string().nullish().describe("vLLM's name of the text."),
  messages: z.array(message).min(1).nullish(),
  add_special: z.boolean().nullish(),
  add_special_tokens: z.boolean().nullish(),
  with_pieces: z.boolean().nullish(),
  ...{ chat_template_kwargs: thinkingFields.chat_template_kwargs },
});

export const detokenizeRequest = z.object({
  model: z.string().max(256).nullish(),
  tokens: z.custom<number[]>((value) => Array.isArray(value) && value.every((id) => Number.isSafeInteger(id)), {
    error: "a list of token ids",
  }),
});
