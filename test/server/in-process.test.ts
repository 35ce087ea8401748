// The AI SDK without a socket: a LanguageModelV4 over the app in this process, and the bundled model behind it.

import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { expect, test } from "vitest";
import { z } from "zod";
import { gradually } from "../../src/platform/ai-sdk.ts";
import { languageModel } from "../../src/server/ai-sdk.ts";
import { afterThis, openApp, plainTemplate, type Spoken } from "./harness.ts";

const open = async (spoken: Spoken) => {
  const { app } = await openApp({ spoken });
  return { app, model: languageModel(app, "test"), maxRetries: 0 };
};

test("text, reasoning, usage; whole and streamed", async () => {
  const { app: _, ...options } = await open({ says: "<think>\nhm\n</think>\n\nFour." });
  const whole = await generateText({ ...options, prompt: "2+2?" });
  expect(whole).toMatchObject({ text: "Four.", reasoningText: "hm", finishReason: "stop" });
  expect(whole.usage).toMatchObject({ outputTokens: 13, outputTokenDetails: { reasoningTokens: 4, textTokens: 9 } });
  const stream = streamText({ ...options, prompt: "2+2?" });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  expect([text, await stream.reasoningText]).toEqual(["Four.", "hm"]);
});

test("tools, in two steps", async () => {
  const { app: _, ...options } = await open({ says: 'See. <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>' });
  const tools = { f: tool({ inputSchema: z.object({ a: z.number() }), execute: async ({ a }) => a + 1 }) };
  const { steps } = await generateText({ ...options, prompt: "x", tools, stopWhen: stepCountIs(2) });
  expect(steps.map(({ toolResults, text }) => [text, toolResults[0]?.output])).toEqual([
    ["See.", 2],
    ["See.", 2],
  ]);
});

test("objects by schema", async () => {
  const { app: _, ...options } = await open({ grammars: true, template: plainTemplate });
  const schema = z.object({ kind: z.enum(["cat", "dog"]) });
  const { output } = await generateText({ ...options, prompt: "x", output: Output.object({ schema }) });
  expect(["cat", "dog"]).toContain(output.kind);
}, 60_000);

test("errors, and a signal that stops the computing", async () => {
  const { app, ...options } = await open({ stepMs: 5 });
  await expect(generateText({ ...options, prompt: "x".repeat(600) })).rejects.toThrow(/at most 511/);
  const stop = AbortSignal.timeout(60);
  await expect(generateText({ ...options, prompt: "x", abortSignal: stop })).rejects.toThrow();
  for (let i = 0; i < 50 && app.server.live.size > 0; i++) await new Promise((next) => setTimeout(next, 10));
  expect(app.server.shelf.loaded[0]?.engine.counts).toMatchObject({ running: 0, waiting: 0 });
});

test("the bundled model, by the door for Node", async () => {
  const { model, close } = await gradually(undefined, { threads: 1 });
  afterThis(close);
  const { text, reasoningText } = await generateText({ model, prompt: "3 5 7=22", temperature: 0 });
  expect(text.match(/\d/g)?.sort()).toEqual(["3", "5", "7"]);
  expect(reasoningText).toContain("=22");
}, 60_000);
