// Messages of a conversation, in the form of OpenAI's chat API, which chat templates know. In: JSON from a user. Out: the same, checked.

import { quote, RequestError } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";

/** `content` is text, null (with tool calls), or parts; other keys (`tool_calls`, `reasoning_content`, `name`) are the template's business. */
export type ChatMessage = JsonObject & { readonly role: string };

const mostMessages = 10_000;
const mostTools = 1_000;

function refuse(source: string, got: string, expected: string): never {
  throw new RequestError({
    operation: `read ${quote(source, 300)}`,
    got,
    expected,
    cure: 'write e.g. [{"role": "user", "content": "Hello"}]',
  });
}

/** A list of messages, or an object that has it under "messages". Throws RequestError. */
export function readMessages(value: JsonValue, source: string): ChatMessage[] {
  const list = isJsonObject(value) ? value.messages : value;
  if (!Array.isArray(list)) refuse(source, "no list of messages", "a list");
  if (list.length === 0 || list.length > mostMessages) refuse(source, `${list.length} messages`, `from 1 to ${mostMessages}`);
  return list.map((message, i) => {
    if (!isJsonObject(message)) refuse(source, `message ${i} that is no object`, "an object with role and content");
    const { role, content } = message;
    if (typeof role !== "string" || role === "" || role.length > 64)
      refuse(source, `message ${i} without a role`, "system, user, assistant or tool");
    const isContent = content === undefined || content === null || typeof content === "string" || Array.isArray(content);
    if (!isContent) refuse(source, `content of message ${i} that is neither text nor parts`, "a text");
    return { ...message, role };
  });
}

/** A list of tools, or an object that has it under "tools". Throws RequestError. */
export function readTools(value: JsonValue, source: string): JsonObject[] {
  const list = isJsonObject(value) ? value.tools : value;
  if (!Array.isArray(list) || list.length > mostTools) refuse(source, "no list of tools", `a list of at most ${mostTools}`);
  return list.map((tool, i) => (isJsonObject(tool) ? tool : refuse(source, `tool ${i} that is no object`, "an object")));
}
