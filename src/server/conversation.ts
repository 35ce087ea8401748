// From the messages of OpenAI's API to those that chat templates know. In: validated messages and tools. Out: messages with text content, calls in
// the template's own form, or a Refusal that names the message. Only text: an address of an image is refused, never fetched.

import type { ChatMessage } from "../chat/messages.ts";
import type { ToolStyle } from "../chat/tool-format.ts";
import { FormatError, quote, show } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from "../core/json.ts";
import type { Limits } from "./limits.ts";
import { badField } from "./refusal.ts";
import type { MessageBody, ToolBody } from "./schemas.ts";

export function readConversation(messages: readonly MessageBody[], style: ToolStyle | undefined, limits: Limits): ChatMessage[] {
  const open = new Set<string>();
  let hasCalls = false;
  return messages.map((message, i) => {
    const field = `messages[${i}]`;
    const { role } = message;
    const text = readContent(message.content, `${field}.content`, limits);
    if (role === "tool") {
      const { tool_call_id: id } = message;
      if (!hasCalls || (id !== null && id !== undefined && !open.has(id))) {
        const got = id === null || id === undefined ? "a result without tool_call_id" : `a result of the call ${quote(id, 60)}`;
        throw badField(`${field}.tool_call_id`, got, "the id of a call in an assistant message before", "send that message too");
      }
      return { role, content: text ?? "", ...(message.name && { name: message.name }), ...(id && { tool_call_id: id }) };
    }
    if (role !== "assistant") {
      if (text === undefined) throw badField(`${field}.content`, "nothing", "a text", "write the message");
      return { role: role === "developer" ? "system" : role, content: text, ...(message.name && { name: message.name }) };
    }
    const reasoning = message.reasoning_content ?? message.reasoning ?? undefined;
    const calls = message.tool_calls ?? [];
    if (text === undefined && calls.length === 0)
      throw badField(`${field}.content`, "nothing", "a text or tool_calls", "write the message");
    for (const call of calls) if (call.id) open.add(call.id);
    hasCalls ||= calls.length > 0;
    return {
      role,
      // DeepSeek's templates write content that is there, the others ask what is in it.
      content: text ?? (style?.format === "deepseek" ? null : ""),
      ...(reasoning !== undefined && { reasoning_content: reasoning }),
      ...(calls.length > 0 && { tool_calls: calls.map((call, at) => readCall(call, style, `${field}.tool_calls[${at}]`)) }),
    };
  });
}

function readContent(content: MessageBody["content"], field: string, limits: Limits): string | undefined {
  if (content === undefined || content === null) return undefined;
  if (typeof content === "string") return content;
  if (content.length > limits.parts) throw badField(field, `${content.length} parts`, `at most ${limits.parts}`, "join them");
  const texts = content.map((part, i) => {
    if ((part.type === "text" || part.type === "input_text" || part.type === "output_text") && typeof part.text === "string")
      return part.text;
    if (part.type === "text") throw badField(`${field}[${i}].text`, show(part.text), "a text", "write it, or leave the part out");
    if (part.type === "refusal") return "";
    const expected = "text: this server reads no images, sounds or files, and fetches no addresses";
    throw badField(`${field}[${i}].type`, `a part of type ${quote(part.type, 40)}`, expected, "leave the part out");
  });
  return texts.join("\n");
}

type CallBody = NonNullable<MessageBody["tool_calls"]>[number];

function readCall({ id, function: { name, arguments: given } }: CallBody, style: ToolStyle | undefined, field: string): JsonObject {
  const text = typeof given === "string" ? given : JSON.stringify(given ?? {});
  return {
    ...(id && { id }),
    type: "function",
    function: { name, arguments: style?.argumentsAsText ? text : parseArguments(text, field) },
  };
}

/** What a model once wrote as arguments may be no JSON; then it stays a text. */
function parseArguments(text: string, field: string): JsonValue {
  try {
    const value = parseJson(text.trim() === "" ? "{}" : text, { source: field, unsafeIntegers: "round" });
    return isJsonObject(value) ? value : text;
  } catch (error) {
    if (error instanceof FormatError) return text;
    throw error;
  }
}

export function readTools(tools: readonly ToolBody[], limits: Limits): JsonObject[] {
  const names = new Set<string>();
  const list = tools.map(({ function: { name, description, parameters } }, i): JsonObject => {
    if (names.has(name)) throw badField(`tools[${i}].function.name`, `${quote(name)} a second time`, "each name once");
    names.add(name);
    return {
      type: "function",
      function: { name, description: description ?? "", parameters: parameters ?? { type: "object", properties: {} } },
    };
  });
  const size = JSON.stringify(list).length;
  if (size > limits.toolBytes)
    throw badField("tools", `${size} characters`, `at most ${limits.toolBytes} as JSON`, "send fewer or shorter tools");
  return list;
}
