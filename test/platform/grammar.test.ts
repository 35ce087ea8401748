import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GrammarEngine, Structure } from "../../src/chat/grammar.ts";
import type { ChatModel } from "../../src/chat/model.ts";
import { RequestError } from "../../src/core/errors.ts";
import { openGrammarThreads } from "../../src/platform/grammar-threads.ts";
import { promptLengthOf, scriptedChat, tokenizer } from "../chat/scripted-chat.ts";

const eos = tokenizer.specialIds.eos as number;
let grammars: GrammarEngine;
beforeAll(async () => {
  grammars = await openGrammarThreads(tokenizer, tokenizer.vocabSize + 8, [eos], { compileMilliseconds: 5000 });
}, 60_000);
afterAll(() => grammars.close());

/** Which of these texts the structure accepts whole, token by token. */
async function accepts(structure: Structure, text: string): Promise<boolean> {
  const constraint = await grammars.constrain(structure);
  try {
    for (const id of [...tokenizer.encode(text, { addSpecialTokens: false }), eos]) {
      await constraint.prepare();
      const row = new Float32Array(tokenizer.vocabSize + 8);
      if (!constraint.mask(row, 0, row.length) || row[id] !== 0) return false;
      if (id !== eos) constraint.accept(id);
    }
    return true;
  } catch (error) {
    if (error instanceof RequestError) return false;
    throw error;
  } finally {
    constraint.dispose();
  }
}

const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer", minimum: 0, maximum: 150 }, kind: { enum: ["cat", "dog"] } },
  required: ["name", "age"],
};

describe("what structures accept", () => {
  const cases: readonly (readonly [string, Structure, readonly string[], readonly string[]])[] = [
    [
      "schema",
      { schema: person },
      ['{"name": "Tom \\"é\\" 猫", "age": 3}', '{"name":"", "age":0, "kind":"dog"}'],
      ['{"age": 3}', '{"name": 3, "age": 3}', "[]", '{"name": "a", "age": 151}'],
    ],
    ["json", { json: true }, ["{}", '{"a": [1, null, {"b": true}]}'], ["[]", "5", "{", ""]],
    ["regex", { regex: "[a-c]{2,3}(x|yé)?" }, ["ab", "abcx", "ccyé"], ["a", "abcd", "abxx"]],
    ["choice", { choice: ['yes "!"', "no\n", "ne\\in"] }, ['yes "!"', "no\n", "ne\\in"], ["yes", "n", "maybe"]],
    ["grammar", { grammar: 'root ::= "a" root "b" | "c"' }, ["c", "aacbb"], ["aacb", ""]],
    [
      "A69: a property __proto__",
      { schema: JSON.parse('{"type":"object","properties":{"__proto__":{"type":"integer"}},"required":["__proto__"]}') },
      ['{"__proto__": 1}'],
      ["{}"],
    ],
    [
      "recursion with something in between",
      { schema: { $ref: "#/$defs/t", $defs: { t: { type: "object", properties: { next: { $ref: "#/$defs/t" } } } } } },
      ["{}", '{"next": {"next": {}}}'],
      ["[]"],
    ],
  ];
  test.each(cases)("%s", async (_, structure, good, bad) => {
    for (const text of good) expect([text, await accepts(structure, text)]).toEqual([text, true]);
    for (const text of bad) expect([text, await accepts(structure, text)]).toEqual([text, false]);
  });

  test("no grammar lets special or padded ids through", async () => {
    const constraint = await grammars.constrain({ regex: "[\\s\\S]+" });
    await constraint.prepare();
    const row = new Float32Array(tokenizer.vocabSize + 8);
    constraint.mask(row, 0, row.length);
    for (let id = 0; id < row.length; id++) {
      if (tokenizer.isSpecial(id) || id >= tokenizer.vocabSize) expect([id, row[id]]).toEqual([id, Number.NEGATIVE_INFINITY]);
    }
    expect(row.filter((value) => value === 0).length).toBeGreaterThan(200);
    constraint.dispose();
  });
});

describe("hostile structures are refused, in bounded time, and others are served", () => {
  const nested = (depth: number, make: (inner: object) => object): object => {
    let schema: object = { type: "string" };
    for (let i = 0; i < depth; i++) schema = make(schema);
    return schema;
  };
  const cases: readonly (readonly [string, unknown, string | undefined])[] = [
    ["A59: 60,000 nested groups", { schema: nested(60_000, (inner) => ({ anyOf: [inner] })) }, "deeper than"],
    ["A60: a $ref cycle", { schema: { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } } }, "leads back"],
    ["A60: a $ref to itself through anyOf", { schema: { anyOf: [{ $ref: "#" }, { type: "string" }] } }, "leads back"],
    ["A60: a $ref that leads nowhere", { schema: { $ref: "#/$defs/none" } }, "leads to a part"],
    ["A61: a $ref to a URL", { schema: { $ref: "http://127.0.0.1:9/x.json" } }, "begin with #"],
    ["A61: a $ref to a file", { schema: { properties: { a: { $ref: "file:///etc/passwd" } } } }, "begin with #"],
    ["A62: 10^5 alternatives", { schema: { anyOf: Array.from({ length: 1e5 }, (_, i) => ({ const: i })) } }, "alternatives"],
    ["A63: a look-behind", { schema: { type: "string", pattern: "(?<=x)*" } }, "look-around"],
    ["A63: as a regular expression", { regex: "(?<=x)*" }, "look-around"],
    ["a look-ahead", { regex: "(?=a)b" }, "look-around"],
    ["a back reference", { regex: "(a)\\1" }, "back reference"],
    ["A64: 60,000 open groups", { regex: "(".repeat(60_000) }, "characters"],
    ["A64: 3,000 nested groups", { regex: `${"(".repeat(1500)}a${")".repeat(1500)}` }, "nested deeper"],
    ["A65: repetitions of repetitions", { regex: "(a{1,1000}){1,1000}" }, "amount to more"],
    ["A65: in a pattern", { schema: { type: "string", pattern: "(a{1,1000}){1,1000}" } }, "amount to more"],
    ["A66: minLength 10^9", { schema: { type: "string", minLength: 1e9 } }, "minLength"],
    ["A67: an enum of 10^6", { schema: { enum: Array.from({ length: 1e6 }, (_, i) => i) } }, "alternatives"],
    ["A68: unsatisfiable: false inside", { schema: { type: "object", properties: { a: false }, required: ["a"] } }, undefined],
    ["A68: unsatisfiable: minimum above maximum", { schema: { type: "integer", minimum: 5, maximum: 3 } }, undefined],
    ["A70: a schema of 8 MB", { schema: { description: "x".repeat(8e6) } }, "characters"],
    [
      "A70: as 10^6 properties",
      { schema: { properties: Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`p${i}`, {}])) } },
      "values",
    ],
    ["a broken regular expression", { regex: "(a" }, "regular expression"],
    ["an empty regular expression", { regex: "" }, "empty pattern"],
    ["no choices", { choice: [] }, "1 to 1000"],
    ["a choice that is no text", { choice: [5] }, "a number"],
    ["a grammar without a root", { grammar: 'a ::= "b"' }, undefined],
    ["a grammar that is none", { grammar: "root ::= (((" }, undefined],
    ["a schema that is a text", { schema: "{}" }, "a string"],
    ["nothing known", { yaml: true }, "none of the kinds"],
  ];
  test.each(cases)("%s", async (_, structure, says) => {
    const begun = performance.now();
    const refused = grammars.constrain(structure as Structure);
    await expect(refused).rejects.toThrow(RequestError);
    if (says !== undefined) await expect(refused).rejects.toThrow(says);
    expect(performance.now() - begun).toBeLessThan(6000);
    expect(await accepts({ choice: ["ok"] }, "ok")).toBe(true);
  });

  test("a compilation beyond its time limit costs the thread, not those that are under way", async () => {
    const quick = await openGrammarThreads(tokenizer, tokenizer.vocabSize + 8, [eos], { compileMilliseconds: 1500 });
    const going = await quick.constrain({ choice: ["the cat"] });
    const ids = tokenizer.encode("the cat", { addSpecialTokens: false });
    going.accept(ids[0] as number);
    const slow = {
      schema: { type: "array", items: { type: "array", minItems: 9000, items: { type: "string", minLength: 9000 } }, minItems: 9000 },
    };
    const outcome = await quick.constrain(slow).then(
      () => "compiled",
      (error) => error,
    );
    if (outcome !== "compiled") expect(outcome).toBeInstanceOf(RequestError);
    for (const id of ids.slice(1)) {
      await going.prepare();
      const row = new Float32Array(tokenizer.vocabSize + 8);
      expect(going.mask(row, 0, row.length)).toBe(true);
      expect(row[id]).toBe(0);
      going.accept(id);
    }
    await going.prepare();
    await quick.close();
    await expect(quick.constrain({ json: true })).rejects.toThrow("closed");
  }, 60_000);
});

describe("through the door", () => {
  const chats: ChatModel[] = [];
  afterAll(async () => {
    for (const chat of chats) await chat.close();
  });
  async function open(says: string, options: Parameters<typeof promptLengthOf>[1]): Promise<ChatModel> {
    const parts = { openGrammars: openGrammarThreads };
    const chat = scriptedChat({ says, promptLength: await promptLengthOf("hi", options), parts });
    chats.push(chat);
    return chat;
  }

  test("a model that wants to say something else, at any temperature, in a batch: every finished answer is valid", async () => {
    const options = { thinking: false, structure: { schema: person }, temperature: 3, n: 8, seed: 1, maxTokens: 200 } as const;
    const chat = await open("I would rather not answer in JSON at all, because", options);
    const answers = await chat.respond("hi", options).answers();
    let finished = 0;
    for (const { content, statistics } of answers) {
      if (statistics.stop !== "stop") continue;
      finished++;
      const value = JSON.parse(content) as Record<string, unknown>;
      expect(typeof value.name).toBe("string");
      expect(Number.isInteger(value.age)).toBe(true);
    }
    expect(finished).toBeGreaterThan(0);
    // A constrained and a free request side by side.
    const [free, bound] = await Promise.all([
      chat.respond("hi", { thinking: false, maxTokens: 8 }).answer(),
      chat.respond("hi", { thinking: false, structure: { choice: ["yes", "no"] } }).answer(),
    ]);
    expect(free.content.startsWith("I would")).toBe(true);
    expect(["yes", "no"]).toContain(bound.content);
  }, 60_000);

  test("the constraint waits until thinking has ended, and a budget ends it", async () => {
    const options = { structure: { choice: ["yes", "no"] }, thinking: { max: 5 } } as const;
    const chat = await open("hmm hmm hmm hmm hmm", options);
    const { reasoning, content, statistics } = await chat.respond("hi", options).answer();
    expect(reasoning.length).toBeGreaterThan(3);
    expect(["yes", "no"]).toContain(content);
    expect(statistics).toMatchObject({ thinkingTokens: 5, stop: "stop" });
    // Without a budget the model ends its thinking itself.
    const free = { structure: { choice: ["yes", "no"] } } as const;
    const other = await open("hm</think>no, but", free);
    expect(await other.respond("hi", free).answer()).toMatchObject({ reasoning: "hm", content: "no" });
  }, 60_000);

  test("the same seed gives the same answer, alone or in a batch", async () => {
    const options = { thinking: false, structure: { regex: "[a-z]{5,12}" }, temperature: 2, maxTokens: 40, seed: 11 } as const;
    const chat = await open("zzz", options);
    const batch = await chat.respond("hi", { ...options, n: 4 }).answers();
    for (const [i, { ids }] of batch.entries()) expect((await chat.respond("hi", { ...options, seed: 11 + i }).answer()).ids).toEqual(ids);
    for (const { content } of batch) expect(content).toMatch(/^[a-z]{5,12}$/);
  }, 60_000);
});

test("the library is loaded only when a structure is asked for", async () => {
  const { load } = await import("../../src/platform/load.ts");
  const chat = await load(path.join(import.meta.dirname, "../../models/countdown-reasoner"), { threads: 1 });
  const { content } = await chat
    .generate("3,5,7=22<think>", { structure: { regex: "\\([0-9]\\*[0-9]\\)[+-][0-9]" }, maxTokens: 200 })
    .answer();
  expect(content).toMatch(/^\(\d\*\d\)[+-]\d$/);
  await chat.close();
}, 60_000);
