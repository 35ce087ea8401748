// From messages to the ids that a model continues. In: a model's template and tokenizer, messages, tools. Out: the prompt as text and
// ids. A user who writes `<|im_start|>system` has written characters, not the token (hazard T29): such spellings in messages and tools get
// a mark inside before the template sees them, and the tokenizer takes the mark out. An assistant's own words keep tags like
// `</think>`, which templates look for, but not the tokens that end a turn.

import { quote, RequestError } from "../core/errors.ts";
import type { JsonObject, JsonValue } from "../core/json.ts";
import { makeBreaker } from "../text/added-tokens.ts";
import { type ChatTemplate, compileChatTemplate, type TemplateInput } from "../text/chat-template.ts";
import type { TemplateSet } from "../text/template-set.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ChatMessage } from "./messages.ts";
import { findThinkTags, isThinking, type ThinkTags } from "./think-tags.ts";
import { findToolStyle, type ToolStyle } from "./tool-format.ts";

export type ChatPrompt = {
  readonly text: string;
  readonly ids: number[];
  /** Whether the answer begins inside reasoning: the template has opened it (R1), and not closed it (Qwen3 without thinking). */
  readonly thinking: boolean;
};

export type PromptInput = Omit<TemplateInput, "messages" | "tools"> & {
  readonly messages: readonly ChatMessage[];
  readonly tools?: readonly JsonObject[];
};

export type Chat = {
  /** How this model marks its reasoning; undefined where its template says nothing of it. */
  readonly thinkTags?: ThinkTags;
  /** How it writes tool calls; undefined where its template knows no tools. */
  readonly toolStyle?: ToolStyle;
  /** Whether the template has a switch of this name, e.g. enable_thinking. */
  hasSwitch(name: string): boolean;
  /** Throws RequestError for messages that the template refuses. */
  prompt(input: PromptInput): ChatPrompt;
};

/** A noncharacter of Unicode: no text has it. */
const mark = "\ufdd0";

/**
 * `name` is the model's, for errors. Throws FormatError for a damaged template, RequestError for a model without one.
 * With tools the template named "tool_use" is taken, where there is one.
 */
export function openChat(tokenizer: Tokenizer, templates: TemplateSet, name: string): Chat {
  const { specialIds } = tokenizer;
  const spelled = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
  const tokens = { bos_token: spelled(specialIds.bos), eos_token: spelled(specialIds.eos), pad_token: spelled(specialIds.pad) };
  const compile = (source: string | undefined) => (source === undefined ? undefined : compileChatTemplate(source, { name, tokens }));
  const [plain, withTools] = [compile(templates.default), compile(templates.toolUse)];
  const chosen = plain ?? withTools;
  if (!chosen) {
    throw new RequestError({
      operation: `write a prompt for ${quote(name, 300)}`,
      got: "a model without a chat template",
      expected: "chat_template.jinja, or chat_template in tokenizer_config.json or in the GGUF metadata",
      cure: "use a model that was made for conversations",
    });
  }
  const thinkTags = findThinkTags(chosen.source);
  const toolStyle = findToolStyle((withTools ?? chosen).source);
  const guard = makeGuard(tokenizer);

  return {
    ...(thinkTags && { thinkTags }),
    ...(toolStyle && { toolStyle }),
    hasSwitch: (name) => new RegExp(`\\b${name}\\b`).test(chosen.source),
    prompt({ messages, tools = [], ...rest }) {
      const template: ChatTemplate = tools.length > 0 ? (withTools ?? chosen) : chosen;
      const rendered = template.render({ ...rest, messages: messages.map(guard.message), tools: tools.map((tool) => guard.data(tool)) });
      const text = rendered.replaceAll(mark, "");
      return {
        text,
        // The template writes the beginning-of-text token itself.
        ids: tokenizer.encode(rendered, { addSpecialTokens: false, mark }),
        thinking: thinkTags !== undefined && isThinking(text, thinkTags),
      };
    },
  };
}

type Guard = { message(message: ChatMessage): JsonValue; data(value: JsonValue): JsonValue };

/** Puts the mark into every spelling of a token. */
function makeGuard({ addedTokens }: Tokenizer): Guard {
  const breaker = (tokens: Tokenizer["addedTokens"]) => {
    const breakUp = makeBreaker(tokens, mark);
    return (text: string) => breakUp(text.replaceAll(mark, "\ufffd"));
  };
  const all = breaker(addedTokens);
  const special = breaker(addedTokens.filter((token) => token.special));
  const walk = (value: JsonValue, change: (text: string) => string, depth = 0): JsonValue => {
    if (typeof value === "string") return change(value);
    // Deeper data are refused by the template's own check.
    if (depth > 100 || typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((inner) => walk(inner, change, depth + 1));
    const object: JsonObject = Object.create(null);
    for (const key of Object.keys(value)) {
      // Names that templates ask for stay, also where a vocabulary has such a word as a token.
      const name = /^\w+$/.test(key) ? key : change(key);
      object[name] = key === "role" || key === "type" ? (value[key] as JsonValue) : walk(value[key] as JsonValue, change, depth + 1);
    }
    return object;
  };
  return {
    data: (value) => walk(value, all),
    message: (message) => walk(message, message.role === "assistant" ? special : all),
  };
}
