// The input items of /v1/responses as messages of a chat: turns, reasoning, calls of functions and their outputs. In: items as a client sends them, its own from
// before and those of an earlier response as they came. Out: messages, or a Refusal that names the item. Unusual: items in a row of one turn become one message.

import { z } from "zod";
import { show } from "../core/errors.ts";
import { badField } from "./refusal.ts";
import { anyObject } from "./schema-parts.ts";
import type { MessageBody } from "./schemas.ts";

const part = z.looseObject({ type: z.string(), text: z.string().nullish() });
const content = z.union([z.string(), z.array(part)]);
export const responseItem = z.looseObject({
  type: z.string().nullish(),
  role: z.enum(["system", "developer", "user", "assistant"]).nullish(),
  content: content.nullish(),
  output: z.union([z.string(), z.array(part), anyObject]).nullish(),
});
type ResponseItem = z.output<typeof responseItem>;

/** Throws a Refusal for an item of a kind that this server does not know. */
export function readItems(items: readonly ResponseItem[]): MessageBody[] {
  const messages: MessageBody[] = [];
  let turn: MessageBody | undefined;
  const assistant = (): MessageBody => {
    if (!turn) {
      turn = { role: "assistant" };
      messages.push(turn);
    }
    return turn;
  };
  for (const [i, one] of items.entries()) {
    if (one.type === "function_call") {
      const made = assistant();
      const call = {
        id: textIn(one, "call_id", i),
        type: "function" as const,
        function: { name: textIn(one, "name", i), arguments: textIn({ ...one, arguments: one.arguments ?? "{}" }, "arguments", i) },
      };
      made.tool_calls = [...(made.tool_calls ?? []), call];
    } else if (one.type === "reasoning") {
      if (turn) turn = undefined;
      const text = Array.isArray(one.content) ? one.content.map(({ text: words }) => words ?? "").join("") : "";
      assistant().reasoning_content = text;
    } else if (one.type === "function_call_output") {
      turn = undefined;
      messages.push({
        role: "tool",
        content: typeof one.output === "string" || Array.isArray(one.output) ? one.output : JSON.stringify(one.output ?? ""),
        tool_call_id: textIn(one, "call_id", i),
      });
    } else if (one.type === undefined || one.type === null || one.type === "message") {
      if (!one.role) throw badField(`input[${i}].role`, "nothing", "user, assistant, system or developer");
      if (one.role === "assistant") {
        if (turn?.content) turn = undefined;
        assistant().content = one.content;
      } else {
        turn = undefined;
        messages.push({ role: one.role, content: one.content });
      }
    } else
      throw badField(
        `input[${i}].type`,
        JSON.stringify(one.type.slice(0, 60)),
        "message, reasoning, function_call or function_call_output",
      );
  }
  return messages;
}

/** A text that an item must have. */
function textIn(item: ResponseItem, key: "call_id" | "name" | "arguments", i: number): string {
  const value = item[key];
  if (typeof value !== "string" || (value === "" && key !== "arguments")) throw badField(`input[${i}].${key}`, show(value), "a text");
  return value;
}
