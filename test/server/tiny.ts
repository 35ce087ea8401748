// A model of a few kilobytes with a chat: 256 bytes are its vocabulary, beside the tokens of its template. For servers in tests, in Node and in a browser.

import { openReference } from "../../src/backend/reference/open.ts";
import { openChat } from "../../src/chat/prompt.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { Model } from "../../src/models/model.ts";
import type { LoadedModel } from "../../src/server/shelf.ts";
import { loadTokenizer, type Tokenizer } from "../../src/text/tokenizer.ts";
import { tinyLlama } from "../engine/mock-model.ts";
import { tinyTokenizer } from "../text/tiny-tokenizer.ts";

/** Qwen's way of writing chats, thinking and tools, as short as it can be. */
export const template = `{%- if tools %}{{- '<|im_start|>system\\n<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools> answer in <tool_call></tool_call><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- if message.tool_calls %}{%- for call in message.tool_calls %}{{- '<tool_call>' + call.function.name + (call.function.arguments | tojson) + '</tool_call>' }}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}`;

/** The same without a word of thinking. */
export const plainTemplate = template.replace(/\{%- if enable_thinking.*?endif %\}/, "");

/** 256 bytes and the tokens of the template: every text has ids, one for each byte. */
export function byteTokenizer(): Tokenizer {
  return loadTokenizer(
    tinyTokenizer({
      patch: (json) => {
        json.added_tokens = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"].map((content, i) => ({
          id: 256 + i,
          content,
          special: i < 2,
          normalized: false,
        }));
      },
    }),
    JSON.stringify({ eos_token: "<|im_end|>" }),
  );
}

export const vocabSize = 262;
export const endId = 257;

/** A random Llama over the byte vocabulary: its answers depend on the whole prompt. */
export function tinyModel(contextLength = 512, device = openReference()): Model {
  return tinyLlama(device, { vocab_size: vocabSize, max_position_embeddings: contextLength });
}

/** The random model with everything that a server asks of one. */
export function tinyServed(): LoadedModel {
  const tokenizer = byteTokenizer();
  const model = tinyModel();
  const engine = new Engine(model, { slots: 4, contextLength: 512 });
  const chat = openChat(tokenizer, { default: template }, "tiny");
  return {
    engine,
    tokenizer,
    chat,
    ...(chat.thinkTags && { thinkTags: chat.thinkTags }),
    generationConfig: { eos_token_id: endId },
    slots: 4,
    close: async () => {
      await engine.dispose();
      model.dispose();
    },
  };
}
