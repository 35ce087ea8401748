// The `ollama` package against the server.

import { Ollama } from "ollama";
import { expect, test } from "vitest";
import { openServer, type Spoken } from "./harness.ts";

async function open(spoken: Spoken) {
  const { url, ...rest } = await openServer({ spoken });
  return { ...rest, url, client: new Ollama({ host: url }) };
}

const messages = [{ role: "user", content: "2+2?" }];

test("chat, whole and streamed, with thinking", async () => {
  const { client } = await open({ says: "<think>\nhm\n</think>\n\nFour." });
  const answer = await client.chat({ model: "test", messages, think: true });
  expect(answer).toMatchObject({ model: "test", done: true, done_reason: "stop", message: { content: "Four.", thinking: "hm" } });
  expect(answer.eval_count).toBe(13);
  let [text, thinking, last] = ["", "", false];
  for await (const part of await client.chat({ model: "test:latest", messages, stream: true })) {
    text += part.message.content;
    thinking += part.message.thinking ?? "";
    last = part.done;
  }
  expect([text, thinking, last]).toEqual(["Four.", "hm", true]);
});

test("tools: arguments are an object, results come back without ids", async () => {
  const { client } = await open({ says: '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>' });
  const tools = [{ type: "function", function: { name: "f", description: "", parameters: { type: "object", properties: {} } } }];
  const { message } = await client.chat({ model: "test", messages, tools });
  expect(message.tool_calls).toEqual([{ function: { name: "f", arguments: { a: 1 } } }]);
  const next = await client.chat({
    model: "test",
    messages: [...messages, message, { role: "tool", content: "2", tool_name: "f" }],
    tools,
  });
  expect(next.done).toBe(true);
});

test("generate, options, load", async () => {
  const { client } = await open({ says: "a long answer" });
  const answer = await client.generate({ model: "test", prompt: "x", options: { num_predict: 6 } });
  expect(answer).toMatchObject({ response: "a long", done_reason: "length" });
  expect(await client.generate({ model: "test", prompt: "" })).toMatchObject({ response: "", done_reason: "load" });
  let text = "";
  for await (const part of await client.generate({ model: "test", prompt: "x", stream: true, raw: true })) text += part.response;
  expect(text).toBe("a long answer");
});

test("what would be forgotten or is another's is refused by name, not dropped", async () => {
  const { client } = await open({ says: "x" });
  for (const [more, name] of [
    [{ context: [1, 2] }, "context"],
    [{ template: "{{ .Prompt }}" }, "template"],
    [{ suffix: "}" }, "suffix"],
    [{ images: ["aGk="] }, "images"],
  ] as const)
    await expect(client.generate({ model: "test", prompt: "x", ...more } as never)).rejects.toThrow(`request: ${name}: got `);
  expect((await client.generate({ model: "test", prompt: "x", context: [], template: "", suffix: "" })).response).toBe("x");
});

test("what there is: list, show, ps, version; what is not there", async () => {
  const { client } = await open({});
  expect((await client.list()).models.map(({ name }) => name)).toEqual(["test"]);
  expect((await client.ps()).models).toHaveLength(1);
  const shown = await client.show({ model: "test" });
  expect(shown.capabilities).toEqual(["completion", "tools", "thinking"]);
  expect(shown.model_info).toMatchObject({ "llama.context_length": 512 });
  expect((await client.version()).version).toBe("0.0.0");
  await expect(client.chat({ model: "none", messages })).rejects.toThrow(/the model "none"/);
  await expect(client.chat({ model: "test", messages: [{ role: "user", content: "x", images: ["aGk="] }] })).rejects.toThrow(/no images/);
  await expect(client.pull({ model: "x" })).rejects.toThrow(/a path that is not there/);
});
