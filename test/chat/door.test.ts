import { afterEach, describe, expect, test } from "vitest";
import type { ChatModel, ChatOptions, Message } from "../../src/chat/model.ts";
import { openPlainChat } from "../../src/chat/plain-chat.ts";
import type { Answer, Part } from "../../src/chat/response.ts";
import { s1Tags } from "../../src/chat/think-tags.ts";
import { bestOf, majorityVote, meanLogprob } from "../../src/chat/vote.ts";
import { RequestError } from "../../src/core/errors.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";
import { plainTemplate, promptLengthOf, qwenTemplate, r1Template, type Scripted, scriptedChat, tokenizer } from "./scripted-chat.ts";

const chats: ChatModel[] = [];
afterEach(async () => {
  for (const chat of chats.splice(0)) await chat.close();
});

type Setup = Omit<Scripted, "promptLength"> & { readonly ask?: string | readonly Message[]; readonly options?: ChatOptions };

async function open({ ask = "hi", options = {}, ...script }: Setup): Promise<ChatModel> {
  const chat = scriptedChat({ ...script, promptLength: await promptLengthOf(ask, options, script.template) });
  chats.push(chat);
  return chat;
}

async function run(setup: Setup): Promise<Answer & { readonly parts: Part[] }> {
  const chat = await open(setup);
  const response = chat.respond(setup.ask ?? "hi", setup.options);
  const parts: Part[] = [];
  for await (const part of response) parts.push(part);
  return { ...(await response.answer()), parts };
}

describe("respond", () => {
  test("reasoning and content come apart, statistics last, and the parts are the answer", async () => {
    const { parts, reasoning, content, statistics } = await run({ says: "<think>\nhm hm\n</think>\n\nthe cat" });
    expect([reasoning, content]).toEqual(["hm hm\n", "the cat"]);
    expect(parts.map((part) => part.reasoning).join("")).toBe(reasoning);
    expect(parts.map((part) => part.content).join("")).toBe(content);
    expect(parts.filter((part) => part.statistics)).toEqual([parts.at(-1)]);
    expect(parts.at(-1)?.statistics).toEqual(statistics);
    const think = tokenizer.encode("\nhm hm\n", { addSpecialTokens: false }).length;
    expect(statistics).toMatchObject({ stop: "stop", thinkingTokens: think, cachedTokens: 0, forcedTokens: 0 });
    expect(statistics.promptTokens).toBe(await promptLengthOf("hi"));
    expect(statistics.completionTokens).toBe(tokenizer.encode("<think>\nhm hm\n</think>\n\nthe cat", { addSpecialTokens: false }).length);
    for (const value of [statistics.promptPerSecond, statistics.generatedPerSecond, statistics.timeToFirstToken, statistics.seconds]) {
      expect(value).toBeGreaterThan(0);
      expect(Number.isFinite(value)).toBe(true);
    }
  });

  test("a template that opens thinking (R1): the answer begins inside", async () => {
    const { reasoning, content } = await run({ says: "hm</think>\n\n42", template: r1Template });
    expect([reasoning, content]).toEqual(["hm", "42"]);
  });

  test("a model that does not think: tags are text", async () => {
    const { reasoning, content, statistics } = await run({
      says: "a <b> c",
      template: plainTemplate,
      parts: { thinkTags: undefined },
    });
    expect([reasoning, content, statistics.thinkingTokens]).toEqual(["", "a <b> c", 0]);
  });

  test("enable_thinking false is given to templates that know it, and thinking is closed in those that do not", async () => {
    const qwen = await open({ says: "" });
    const closed = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    expect(await qwen.prepareChat("hi", { thinking: false })).toMatchObject({ prompt: closed, plan: { begin: "after" } });
    const r1 = await open({ says: "", template: r1Template });
    expect((await r1.prepareChat("hi", { thinking: false })).prompt).toBe("user:hi\nAssistant:<think>\n\n</think>\n\n");
    const { reasoning, content } = await run({ says: "42", options: { thinking: false } });
    expect([reasoning, content]).toEqual(["", "42"]);
  });

  test("the system text comes first", async () => {
    const chat = await open({ says: "" });
    expect((await chat.prepareChat("hi", { system: "be brief" })).prompt).toMatch(
      /^<\|im_start\|>system\nbe brief<\|im_end\|>\n<\|im_start\|>user/,
    );
  });

  test("n answers to one prompt differ by seed, and each can be replayed", async () => {
    const chat = await open({ says: "" });
    const options: ChatOptions = { n: 3, temperature: 30, maxTokens: 8, seed: 5, thinking: false };
    const answers = await chat.respond("hi", options).answers();
    expect(new Set(answers.map(({ ids }) => ids.join())).size).toBe(3);
    for (const [i, { ids, statistics }] of answers.entries()) {
      expect(statistics.seed).toBe(5 + i);
      expect((await chat.respond("hi", { ...options, n: 1, seed: 5 + i }).answer()).ids).toEqual(ids);
    }
  });

  test("n answers from the largest seed: the seeds begin again at 0", async () => {
    const chat = await open({ says: "" });
    const answers = await chat.respond("hi", { n: 3, maxTokens: 2, seed: Number.MAX_SAFE_INTEGER - 1, thinking: false }).answers();
    expect(answers.map(({ statistics }) => statistics.seed)).toEqual([Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER, 0]);
  });

  test("log-probabilities with alternatives", async () => {
    const answer = await run({ says: "the cat", options: { topLogprobs: 2, thinking: false } });
    expect(answer.logprobs).toHaveLength(answer.ids.length);
    expect(answer.topLogprobs?.map((list) => list[0]?.id)).toEqual(answer.ids);
  });
});

describe("stop strings", () => {
  test.each([
    ["the cat sat on the mat", " sat", "the cat"],
    ["one\n\nUser: two", "\n\nUser:", "one"],
  ])("%j stops before %j, and the engine stops too", async (says, stop, expected) => {
    const { content, statistics, ids } = await run({ says, options: { stop, thinking: false } });
    expect([content, statistics.stop, statistics.stopText]).toEqual([expected, "stop", stop]);
    expect(ids.length).toBeLessThan(tokenizer.encode(says, { addSpecialTokens: false }).length);
  });

  test("they are not looked for in the reasoning", async () => {
    const { reasoning, content } = await run({ says: "<think>a STOP b</think>c STOP d", options: { stop: ["STOP"] } });
    expect([reasoning, content]).toEqual(["a STOP b", "c "]);
  });
});

describe("the thinking budget", () => {
  const tokens = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

  test("max: the end is forced, and the prompt opens thinking where the template leaves it to the model", async () => {
    const options: ChatOptions = { thinking: { max: 3 } };
    const chat = await open({ says: "", options });
    expect((await chat.prepareChat("hi", options)).prompt).toMatch(/assistant\n<think>\n$/);
    const { reasoning, content, statistics, ids } = await run({ says: "abcdef ghi", options });
    expect(reasoning).toBe("abc");
    expect(statistics).toMatchObject({ thinkingTokens: 3, forcedTokens: 1 });
    expect(ids[3]).toBe(tokenizer.idOf("</think>"));
    expect(content).toBe("ef ghi");
  });

  test("max 0: closed at once", async () => {
    const { reasoning, content, statistics } = await run({ says: "_42", options: { thinking: { max: 0 } } });
    expect([reasoning, content, statistics.thinkingTokens]).toEqual(["", "42", 0]);
  });

  test("extend: the first ends become Wait", async () => {
    const { reasoning, content } = await run({
      // "Wait" begins in the place of the first end, and takes the places of the ids after it.
      says: [...tokens("ab"), ...tokens("</think>"), ...tokens("Wait").slice(1), ...tokens("cd"), ...tokens("</think>"), ...tokens("ef")],
      options: { thinking: { extend: { times: 1 } } },
    });
    expect(reasoning).toBe("abWaitcd");
    expect(content).toBe("ef");
  });

  test("s1's delimiters, with the final answer's cue at the cap", async () => {
    const parts = { thinkTags: s1Tags };
    const options: ChatOptions = { thinking: { max: 4 } };
    const make = (promptLength: number, says: string) => {
      const chat = scriptedChat({ says, promptLength, template: plainTemplate, parts });
      chats.push(chat);
      return chat;
    };
    const prepared = await make(1, "").prepareChat("hi", options);
    expect(prepared.prompt.endsWith("assistant:<|im_start|>think\n")).toBe(true);
    const { reasoning, content, statistics } = await make(prepared.ids.length, "abcdefghijklmnopqrstuvwxyz")
      .respond("hi", options)
      .answer();
    expect(reasoning).toBe("abcd");
    expect(content.startsWith("Final Answer:")).toBe(true);
    expect(statistics.thinkingTokens).toBe(4);
    // Without a cap the model ends its thinking itself, and nothing is forced.
    const free = await make(prepared.ids.length, "hm\n<|im_start|>answer\n42")
      .respond("hi", { thinking: { max: 100 } })
      .answer();
    expect(free).toMatchObject({ reasoning: "hm\n", content: "42", statistics: { forcedTokens: 0 } });
  });

  test("a budget for a model that does not think is refused", async () => {
    const chat = await open({ says: "", template: plainTemplate, parts: { thinkTags: undefined } });
    await expect(chat.respond("hi", { thinking: { max: 3 } }).answer()).rejects.toThrow("does not think");
  });
});

describe("bad input", () => {
  const cases: readonly (readonly [string, string | readonly Message[], object, string])[] = [
    ["A38: no messages", [], {}, "0 messages"],
    ["messages that are none", [5] as unknown as Message[], {}, "message 0 that is no object"],
    ["a role that is no text", [{ role: 5 }] as unknown as Message[], {}, "message 0 without a role"],
    ["A32: n 0", "hi", { n: 0 }, "1 to 16"],
    ["A32: n -1", "hi", { n: -1 }, "1 to 16"],
    ["A32: n 1.5", "hi", { n: 1.5 }, "1 to 16"],
    ["A32: n 17", "hi", { n: 17 }, "1 to 16"],
    ["A32: n 10^9", "hi", { n: 1e9 }, "1 to 16"],
    ["A34: maxTokens 0", "hi", { maxTokens: 0 }, "maxTokens"],
    ["A34: maxTokens as text", "hi", { maxTokens: "5" }, "maxTokens"],
    ["A36: a prompt longer than the context", "word ".repeat(2000), {}, "contextLength"],
    ["A40: temperature NaN", "hi", { temperature: Number.NaN }, "temperature"],
    ["A41: topP -1", "hi", { topP: -1 }, "topP"],
    ["A55: an empty stop string", "hi", { stop: "" }, "empty"],
    ["A58: topLogprobs 21", "hi", { topLogprobs: 21 }, "topLogprobs"],
    ["thinking.max -1", "hi", { thinking: { max: -1 } }, "budget.max"],
    ["thinking.extend as text", "hi", { thinking: { extend: "2" } }, "extend"],
    ["thinking.extend.text as a number", "hi", { thinking: { extend: { times: 1, text: 5 } } }, "thinking.extend.text"],
    ["thinking.cue as an object", "hi", { thinking: { cue: {} } }, "thinking.cue"],
    ["thinking as a number", "hi", { thinking: 5 }, "true, false, or an object"],
    ["thinking as null", "hi", { thinking: null }, "true, false, or an object"],
    ["a bias without its id", "hi", { logitBias: [1] }, "pairs [id, bias]"],
    ["no bias at all", "hi", { logitBias: [null] }, "pairs [id, bias]"],
    ["a seed beyond doubles", "hi", { seed: 10n }, "seed"],
    ["a structure of null", "hi", { structure: null }, "cannot compile"],
    ["a structure of 0", "hi", { structure: 0 }, "cannot compile"],
    ["a switch that is none", "hi", { templateSwitches: { messages: 1 } }, "messages"],
    ["a structure without a compiler", "hi", { structure: { json: true } }, "cannot compile"],
  ];
  test.each(cases)("%s: a RequestError, while others are served", async (_, ask, options, says) => {
    const chat = await open({ says: "the cat", options: { thinking: false } });
    const good = chat.respond("hi", { thinking: false }).answer();
    const bad = chat.respond(ask, options as ChatOptions);
    await expect(bad.answer()).rejects.toThrow(RequestError);
    await expect(bad.answer()).rejects.toThrow(says);
    await expect(
      (async () => {
        for await (const part of chat.respond(ask, options as ChatOptions)) void part;
      })(),
    ).rejects.toThrow(says);
    expect((await good).content).toBe("the cat");
    expect(chat.engine.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test("without a template respond says what to use", async () => {
    const chat = scriptedChat({ says: "x", promptLength: 2, template: "" });
    chats.push(chat);
    await expect(chat.respond("hi").answer()).rejects.toThrow("generate(text)");
  });

  test("what stands in a template's place is opened at the first messages, once", async () => {
    let opened = 0;
    const openChatml = () => {
      opened++;
      return openPlainChat(tokenizer, false, "test");
    };
    const chat = scriptedChat({ says: "x", promptLength: 2, template: "", parts: { thinkTags: undefined, openPlainChat: openChatml } });
    chats.push(chat);
    expect([chat.hasTemplate, opened]).toEqual([false, 0]);
    const prompts = await Promise.all([chat.prepareChat("hi"), chat.prepareChat("hi", { system: "be brief" })]);
    expect(prompts.map(({ prompt }) => prompt)).toEqual([
      "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
      "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    ]);
    expect([chat.hasTemplate, opened]).toEqual([false, 1]);
  });

  test("leaving the loop, or a signal, stops the work and frees the slot", async () => {
    const chat = await open({ says: "x".repeat(300), options: { thinking: false } });
    for await (const part of chat.respond("hi", { thinking: false })) {
      if (part.content !== "") break;
    }
    expect(chat.engine.counts).toMatchObject({ running: 0, waiting: 0 });
    const stop = new AbortController();
    const response = chat.respond("hi", { thinking: false, signal: stop.signal, n: 3 });
    for await (const part of response) {
      if (part.content === "") continue;
      stop.abort(new Error("enough"));
      break;
    }
    await expect(response.answers()).rejects.toThrow("enough");
    expect(chat.engine.counts).toMatchObject({ running: 0, waiting: 0 });
    const gone = AbortSignal.abort(new Error("before"));
    await expect(chat.respond("hi", { signal: gone }).answer()).rejects.toThrow("before");
  });

  test("a thousand responses at once wait in order and are all served; memory returns", async () => {
    const chat = await open({ says: "ok", options: { thinking: false } });
    await chat.respond("hi", { thinking: false }).answer();
    const before = liveStorageCount();
    const answers = await Promise.all(Array.from({ length: 1000 }, () => chat.respond("hi", { thinking: false, maxTokens: 4 }).answer()));
    expect(new Set(answers.map(({ content }) => content))).toEqual(new Set(["ok"]));
    expect(liveStorageCount()).toBe(before);
  });

  test("close rejects what is under way; a second reader is refused", async () => {
    const chat = await open({ says: "x".repeat(300), options: { thinking: false } });
    const response = chat.respond("hi", { thinking: false });
    await chat.close();
    await expect(response.answer()).rejects.toThrow("disposed");
    const other = await open({ says: "ok", options: { thinking: false } });
    const read = other.respond("hi", { thinking: false });
    for await (const part of read) void part;
    await expect(read[Symbol.asyncIterator]().next()).rejects.toThrow("second reader");
  });
});

describe("generate", () => {
  test("continues a text as it is", async () => {
    const promptLength = tokenizer.encode("the").length;
    const chat = scriptedChat({ says: " cat", promptLength, template: qwenTemplate });
    chats.push(chat);
    const { content, statistics } = await chat.generate("the").answer();
    expect([content, statistics.promptTokens]).toEqual([" cat", promptLength]);
  });

  test("a text that ends with the opening delimiter begins inside thinking", async () => {
    const promptLength = tokenizer.encode("q<think>").length;
    const chat = scriptedChat({ says: "hm</think>42", promptLength });
    chats.push(chat);
    expect(await chat.generate("q<think>").answer()).toMatchObject({ reasoning: "hm", content: "42", statistics: { thinkingTokens: 2 } });
  });
});

describe("one out of several", () => {
  test("majority: most votes, the first among equals; nobody votes, nobody wins", () => {
    const read = (text: string) => /=(\d+)/.exec(text)?.[1];
    expect(majorityVote(["a=1", "b=2", "c", "d=2"], read)).toEqual({ answer: "b=2", value: "2", votes: 2 });
    expect(majorityVote(["a=1", "b=2"], read)?.value).toBe("1");
    expect(majorityVote(["a", "b"], read)).toBeUndefined();
  });

  test("best of: by score, NaN never", () => {
    expect(bestOf([1, 3, 2], (x) => x)).toBe(3);
    expect(bestOf([Number.NaN, 1], (x) => x)).toBe(1);
    expect(bestOf([{ logprobs: [-1, -3] }, { logprobs: [-1.5] }, {}], meanLogprob)).toEqual({ logprobs: [-1.5] });
    expect(() => bestOf([], () => 0)).toThrow(RequestError);
  });
});
