// The AI SDK through @ai-sdk/openai-compatible: text, streams, tools, objects. The models say what the test wants, so that what is tested is the wire.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { expect, test } from "vitest";
import { z } from "zod";
import { openServer, type Spoken } from "./harness.ts";

async function open(spoken: Spoken) {
  const { url } = await openServer({ spoken });
  const provider = createOpenAICompatible({ name: "gradually", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true });
  return { model: provider("test"), maxRetries: 0 };
}

test("generateText: text, reasoning, usage", async () => {
  const { text, reasoningText, usage, finishReason } = await generateText({
    ...(await open({ says: "<think>\nhm\n</think>\n\nFour." })),
    prompt: "2+2?",
  });
  expect({ text, reasoningText, finishReason }).toEqual({ text: "Four.", reasoningText: "hm", finishReason: "stop" });
  expect(usage).toMatchObject({ outputTokens: 13, outputTokenDetails: { reasoningTokens: 4 } });
});

test("streamText: reasoning before text, usage at the end", async () => {
  const result = streamText({ ...(await open({ says: "<think>\nhm\n</think>\n\nFour." })), prompt: "2+2?" });
  const kinds: string[] = [];
  let text = "";
  for await (const part of result.stream) {
    if (kinds.at(-1) !== part.type) kinds.push(part.type);
    if (part.type === "text-delta") text += part.text;
  }
  expect(text).toBe("Four.");
  expect(kinds.filter((kind) => /^(reasoning|text)-/.test(kind))).toEqual([
    "reasoning-start",
    "reasoning-delta",
    "reasoning-end",
    "text-start",
    "text-delta",
    "text-end",
  ]);
  expect((await result.usage).outputTokens).toBe(13);
});

test.each(["generate", "stream"])("a tool is called with its arguments, and its result goes back (%s)", async (how) => {
  const given: string[] = [];
  const tools = {
    weather: tool({
      description: "of a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        given.push(city);
        return "sunny";
      },
    }),
  };
  const options = {
    ...(await open({ says: '<tool_call>\n{"name": "weather", "arguments": {"city": "Taipei"}}\n</tool_call>' })),
    prompt: "Weather?",
    tools,
    stopWhen: stepCountIs(2),
  };
  if (how === "generate") {
    const { steps, finishReason } = await generateText(options);
    expect([steps.length, finishReason]).toEqual([2, "tool-calls"]);
  } else {
    const result = streamText(options);
    await result.consumeStream();
    expect([(await result.steps).length, await result.finishReason]).toEqual([2, "tool-calls"]);
  }
  expect(given).toEqual(["Taipei", "Taipei"]);
});

test("a refusal reaches the program with its status and message", async () => {
  const asked = generateText({ ...(await open({})), prompt: "x".repeat(600) });
  await expect(asked).rejects.toMatchObject({ statusCode: 400, message: expect.stringContaining("tokens; expected at most 511") });
});
