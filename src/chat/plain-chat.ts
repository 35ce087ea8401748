// Conversations with models that have no chat template. In: messages. Out: a prompt, as chat/prompt.ts gives it. A model that thinks is one of ours:
// the last message is a problem of its task, as in training. Any other gets ChatML, written in plain characters, as llama.cpp does it:
// a model that was never taught to chat then at least continues a text that looks like a chat.

import { ConfigError, RequestError } from "../core/errors.ts";
import { readProblem } from "../tasks/problem.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type Chat, openChat } from "./prompt.ts";
import { r1Tags } from "./think-tags.ts";

const chatml =
  "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}" +
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

/** `thinks`: the vocabulary has `</think>`. */
export function openPlainChat(tokenizer: Tokenizer, thinks: boolean, name: string): Chat {
  return thinks ? taskChat(tokenizer) : openChat(tokenizer, { default: chatml }, name);
}

function taskChat(tokenizer: Tokenizer): Chat {
  return {
    thinkTags: r1Tags,
    hasSwitch: () => false,
    prompt({ messages }) {
      const content = messages.findLast(({ role }) => role === "user")?.content;
      if (typeof content !== "string") {
        throw new RequestError({
          operation: "write a prompt from messages",
          got: "no message of a user",
          expected: "one that is a problem",
          cure: 'send e.g. "3 5 7=22"',
        });
      }
      const { bos } = tokenizer.specialIds;
      const text = problemText(content);
      const ids = [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(text, { addSpecialTokens: false })];
      return { text, ids, thinking: true };
    },
  };
}

function problemText(words: string): string {
  try {
    return readProblem(words).text;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new RequestError({ ...error.complaint, operation: "read messages" }, { cause: error });
  }
}
