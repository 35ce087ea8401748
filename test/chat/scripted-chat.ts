// Models that say what a test wants, behind the real door: a tokenizer with the special tokens of ChatML and thinking, and a mock model whose
// completion is a given text, whatever the prompt.

import { ChatModel, type ChatModelParts, type ChatOptions, type Message } from "../../src/chat/model.ts";
import { openChat } from "../../src/chat/prompt.ts";
import { r1Tags } from "../../src/chat/think-tags.ts";
import { trainBpe } from "../../src/text/bpe-train.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";
import { scriptedModel } from "../engine/mock-model.ts";

export const special = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"] as const;
const json = trainBpe(["think think answer answer Wait Wait Final Answer: the the cat "], {
  vocabSize: 320,
  specialTokens: [...special, { content: "<think>", special: false }, { content: "</think>", special: false }],
});
export const tokenizer = loadTokenizer(json, JSON.stringify({ bos_token: "<|bos|>", eos_token: "<|im_end|>" }));

/** ChatML as Qwen3 has it: enable_thinking false closes thinking. */
export const qwenTemplate = `{%- for message in messages -%}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}{%- endif -%}`;

/** As DeepSeek-R1: the prompt opens thinking. */
export const r1Template = `{%- for message in messages -%}{{ message.role }}:{{ message.content }}
{% endfor -%}
{%- if add_generation_prompt -%}Assistant:<think>
{% endif -%}`;

export const plainTemplate = `{%- for message in messages -%}{{ message.role }}: {{ message.content }}
{% endfor -%}assistant:`;

export type Scripted = {
  /** The completion, then the end for ever; text, or ids. A forced id takes the place of the one here. */
  readonly says: string | readonly number[];
  readonly promptLength: number;
  readonly template?: string;
  readonly parts?: Partial<ChatModelParts>;
  readonly contextLength?: number;
};

/** After a prompt of that many ids the model says its text; other ids are possible but unlikely. */
export function scriptedChat({ says, promptLength, template = qwenTemplate, parts = {}, contextLength = 600 }: Scripted): ChatModel {
  const eos = tokenizer.specialIds.eos as number;
  const script = [...(typeof says === "string" ? tokenizer.encode(says, { addSpecialTokens: false }) : says), eos];
  const vocabSize = tokenizer.vocabSize + 8;
  const model = scriptedModel(script, promptLength, vocabSize, { contextLength });
  const chat = template === "" ? undefined : openChat(tokenizer, { default: template }, "test");
  const thinkTags = chat?.thinkTags ?? r1Tags;
  return new ChatModel({
    model,
    tokenizer,
    ...(chat && { chat }),
    thinkTags,
    generationConfig: { eos_token_id: eos },
    now: () => performance.now() / 1000,
    close: async () => model.dispose(),
    ...parts,
  });
}

/** How many ids the prompt of these messages has. */
export async function promptLengthOf(
  input: string | readonly Message[],
  options: ChatOptions = {},
  template = qwenTemplate,
): Promise<number> {
  const chat = scriptedChat({ says: "", promptLength: 1, template });
  try {
    return (await chat.prepareChat(input, options)).ids.length;
  } finally {
    await chat.close();
  }
}
