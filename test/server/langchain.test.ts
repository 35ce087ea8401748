// LangChain.js: ChatOpenAI with our base URL.

import { ChatOpenAI } from "@langchain/openai";
import { expect, test } from "vitest";
import { openServer, type Spoken } from "./harness.ts";

async function open(spoken: Spoken): Promise<ChatOpenAI> {
  const { url } = await openServer({ spoken });
  return new ChatOpenAI({ model: "test", apiKey: "none", maxRetries: 0, configuration: { baseURL: `${url}/v1` } });
}

test("invoke and stream", async () => {
  const chat = await open({ says: "Four." });
  const answer = await chat.invoke([
    ["system", "Count."],
    ["human", "2+2?"],
  ]);
  expect(answer.content).toBe("Four.");
  expect(answer.usage_metadata?.output_tokens).toBe(5);
  let text = "";
  for await (const chunk of await chat.stream("2+2?")) text += chunk.content as string;
  expect(text).toBe("Four.");
});

test("tools", async () => {
  const chat = await open({ says: '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>' });
  const add = {
    type: "function" as const,
    function: {
      name: "add",
      description: "adds",
      parameters: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } },
    },
  };
  const answer = await chat.bindTools([add]).invoke("1+2?");
  expect(answer.tool_calls).toMatchObject([{ name: "add", args: { a: 1, b: 2 } }]);
});
