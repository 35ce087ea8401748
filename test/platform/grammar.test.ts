import * as path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GrammarEngine, Structure } from "../../src/chat/grammar.ts";
import type { ChatModel } from "../../src/chat/model.ts";
import { RequestError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
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
      ['{"name": "Tom \\"é\\" 猫😀", "age": 3}', '{"name":"", "age":0, "kind":"dog"}'],
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

  const bound = (low: number | undefined, high: number | undefined) => ({
    ...(low !== undefined && { minimum: low }),
    ...(high !== undefined && { maximum: high }),
  });
  test.each([
    [0, 150],
    [-150, 20],
    [-7, undefined],
    [undefined, 150],
    [undefined, -7],
    [13, 999],
    [-3, -3],
    [99, 101],
  ])("integers from %s to %s: these and no others", async (low, high) => {
    const structure = { schema: { type: "integer", ...bound(low, high) } };
    const edges = [
      -1000, -160, -151, -150, -149, -100, -20, -10, -9, -8, -7, -6, -4, -3, -2, -1, 0, 1, 9, 10, 12, 13, 14, 19, 20, 21, 98, 99, 100, 101,
      102, 149, 150, 151, 159, 160, 998, 999, 1000, 1500,
    ];
    for (const i of edges)
      expect([i, await accepts(structure, String(i))]).toEqual([i, (low === undefined || i >= low) && (high === undefined || i <= high)]);
    for (const text of ["-0", "01", "1.0", "1e2", ""]) expect([text, await accepts(structure, text)]).toEqual([text, false]);
  });

  test.each([
    [0, 1],
    [-1.5, 2.5],
    [0.25, 0.75],
    [99.9, 1200],
    [undefined, -0.5],
  ])("numbers from %s to %s: none outside", async (low, high) => {
    const structure = { schema: { type: "number", ...bound(low, high) } };
    let inside = 0;
    for (const i of [
      -200, -15, -3, -2, -1.75, -1.5, -1.25, -1, -0.75, -0.5, -0.25, 0, 0.2, 0.25, 0.26, 0.5, 0.75, 0.76, 0.8, 1, 1.01, 1.5, 2.5, 2.51, 3,
      99.8, 99.9, 99.95, 100, 1200, 1200.5, 5000,
    ]) {
      const fits = (low === undefined || i >= low) && (high === undefined || i <= high);
      for (const text of [String(i), i.toFixed(1 + Math.max(...[low, high].map((b) => String(b ?? 0).split(".")[1]?.length ?? 0)))]) {
        const accepted = await accepts(structure, text);
        if (accepted) inside++;
        if (accepted)
          expect([text, (low === undefined || Number(text) >= low) && (high === undefined || Number(text) <= high)]).toEqual([text, true]);
        else if (fits && Number(text) === i) expect(text).toBe(String(i)); // only the shorter spelling may be left out
      }
    }
    expect(inside).toBeGreaterThan(3);
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
    ["A61: a $ref to a URL", { schema: { $ref: "http://127.0.0.1:9/x.json" } }, "begins with #"],
    ["A61: a $ref to a file", { schema: { properties: { a: { $ref: "file:///etc/passwd" } } } }, "begins with #"],
    ["A62: 10^5 alternatives", { schema: { anyOf: Array.from({ length: 1e5 }, (_, i) => ({ const: i })) } }, "alternatives"],
    ["A63: a look-behind", { schema: { type: "string", pattern: "(?<=x)*" } }, "look-around"],
    ["A63: as a regular expression", { regex: "(?<=x)*" }, "look-around"],
    ["a look-ahead", { regex: "(?=a)b" }, "look-around"],
    ["a class beyond ASCII", { regex: "[а-я]+" }, "ASCII"],
    ["a class beyond ASCII, escaped", { regex: "[\\u00e0-\\u00ff]+" }, "ASCII"],
    ["a class beyond ASCII in a grammar", { grammar: "root ::= [é]" }, "ASCII"],
    ["a back reference", { regex: "(a)\\1" }, "back reference"],
    ["A64: 60,000 open groups", { regex: "(".repeat(60_000) }, "characters"],
    ["A64: 3,000 nested groups", { regex: `${"(".repeat(1500)}a${")".repeat(1500)}` }, "nested deeper"],
    ["A65: repetitions of repetitions", { regex: "(a{1,1000}){1,1000}" }, "amount to more"],
    ["A65: in a pattern", { schema: { type: "string", pattern: "(a{1,1000}){1,1000}" } }, "amount to more"],
    ["A66: minLength 10^9", { schema: { type: "string", minLength: 1e9 } }, "minLength"],
    ["A67: an enum of 10^6", { schema: { enum: Array.from({ length: 1e6 }, (_, i) => i) } }, "alternatives"],
    ["A68: unsatisfiable: false inside", { schema: { type: "object", properties: { a: false }, required: ["a"] } }, "is false"],
    [
      "A68: unsatisfiable: no integer between 1.2 and 1.8",
      { schema: { type: "integer", minimum: 1.2, maximum: 1.8 } },
      "no number between",
    ],
    ["A68: unsatisfiable: an enum of another type", { schema: { type: "string", enum: [1, 2] } }, "no value of the type"],
    [
      "A68: unsatisfiable: required and not allowed",
      { schema: { type: "object", required: ["a"], additionalProperties: false } },
      "required",
    ],
    ["A68: minItems above maxItems", { schema: { type: "array", minItems: 3, maxItems: 2 } }, "minItems <= maxItems"],
    ["a keyword that cannot be obeyed: not", { schema: { not: { type: "string" } } }, '"not"'],
    ["a keyword that cannot be obeyed: uniqueItems", { schema: { type: "array", uniqueItems: true } }, '"uniqueItems"'],
    ["a keyword that cannot be obeyed: multipleOf", { schema: { type: "integer", multipleOf: 5 } }, '"multipleOf"'],
    ["a keyword that cannot be obeyed: if", { schema: JSON.parse('{"type":"object","if":{},"then":{}}') }, '"if"'],
    ["keywords beside anyOf", { schema: { type: "object", anyOf: [{ required: ["a"] }] } }, 'beside "anyOf"'],
    ["keywords beside $ref", { schema: { $ref: "#/$defs/a", minLength: 3, $defs: { a: { type: "string" } } } }, 'beside "$ref"'],
    ["allOf of several parts", { schema: { allOf: [{ type: "integer" }, { minimum: 5 }] } }, "join them"],
    ["a pattern that lets a quote into a string", { schema: { type: "string", pattern: "[^a]+" } }, "negated class"],
    ["a pattern with a line break", { schema: { type: "string", pattern: "a\\sb" } }, "no escape"],
    ["a range with a quote in it", { schema: { type: "string", pattern: "[ -~]+" } }, "the range"],
    ["A68: unsatisfiable: minimum above maximum", { schema: { type: "integer", minimum: 5, maximum: 3 } }, "no number between"],
    ["A70: a schema of 8 MB", { schema: { description: "x".repeat(8e6) } }, "characters"],
    [
      "A70: as 10^6 properties",
      { schema: { properties: Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`p${i}`, {}])) } },
      "more than",
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

  test("a compilation beyond its time limit is refused", async () => {
    const strict = await openGrammarThreads(tokenizer, tokenizer.vocabSize + 8, [eos], { compileMilliseconds: 0 });
    await expect(strict.constrain({ schema: person })).rejects.toThrow("takes too long to compile");
    await strict.close();
    await expect(strict.constrain({ json: true })).rejects.toThrow("closed");
  }, 60_000);

  test("a crash of the library costs its thread, not those that are under way", async () => {
    const ids = tokenizer.encode("the cat", { addSpecialTokens: false });
    const going = await grammars.constrain({ choice: ["the cat"] });
    for (const [i, id] of ids.entries()) {
      // The library aborts on this grammar; the thread is replaced while `going` waits for its mask.
      const crash = grammars.constrain({ grammar: `root ::= (((${i}` });
      await going.prepare();
      const row = new Float32Array(tokenizer.vocabSize + 8);
      expect(going.mask(row, 0, row.length)).toBe(true);
      expect(row[id]).toBe(0);
      going.accept(id);
      await expect(crash).rejects.toThrow(RequestError);
    }
    await going.prepare();
    const row = new Float32Array(tokenizer.vocabSize + 8);
    going.mask(row, 0, row.length);
    expect([...row.keys()].filter((id) => row[id] === 0)).toEqual([eos]);
    going.dispose();
  }, 60_000);
});

describe("valid by construction", () => {
  type Schema = Record<string, unknown>;
  const small = fc.integer({ min: -200, max: 200 });
  const leaf: fc.Arbitrary<Schema> = fc.oneof(
    fc.constant({ type: "boolean" }),
    fc.constant({ type: "null" }),
    fc.tuple(fc.nat(3), fc.nat(3)).map(([a, b]) => ({ type: "string", minLength: a, maxLength: a + b })),
    fc.constantFrom("[a-z]{2,4}", "\\d+-\\d+", "(yes|no)\\.").map((pattern) => ({ type: "string", pattern })),
    fc.tuple(small, fc.nat(300)).map(([low, more]) => ({ type: "integer", minimum: low, maximum: low + more })),
    fc.tuple(small, fc.nat(300)).map(([low, more]) => ({ type: "number", minimum: low / 8, exclusiveMaximum: (low + more + 1) / 8 })),
    fc.constant({ enum: ["a", 1, null, { b: [] }], type: ["string", "object"] }),
    fc.constant({ type: ["integer", "null"], minimum: 3 }),
  );
  const { schema } = fc.letrec<{ schema: Schema }>((tie) => ({
    schema: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      leaf,
      fc.tuple(tie("schema"), fc.nat(2), fc.nat(2)).map(([items, a, b]) => ({ type: "array", items, minItems: a, maxItems: a + b })),
      fc.tuple(tie("schema"), tie("schema")).map((anyOf) => ({ anyOf })),
      fc
        .tuple(tie("schema"), tie("schema"), fc.subarray(["x", "y z", "w"]))
        .map(([x, y, required]) => ({ type: "object", properties: { x, "y z": y }, required, additionalProperties: { type: "integer" } })),
    ),
  }));

  /** An independent reading of the specification, for the keywords above. */
  function isValid(value: unknown, { type, enum: values, anyOf, ...rest }: Schema): boolean {
    if (anyOf) return (anyOf as Schema[]).some((each) => isValid(value, each));
    if (values && !(values as unknown[]).some((each) => JSON.stringify(each) === JSON.stringify(value))) return false;
    const kind = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
    const types = [type].flat() as string[];
    if (!types.some((each) => each === kind || (kind === "number" && (each === "number" || Number.isInteger(value))))) return false;
    const {
      minimum = -1e99,
      maximum = 1e99,
      exclusiveMaximum = 1e99,
      minLength = 0,
      maxLength = 1e9,
      pattern = "",
    } = rest as Record<string, never>;
    if (typeof value === "number") return value >= minimum && value <= maximum && value < exclusiveMaximum;
    if (typeof value === "string")
      return (
        [...value].length >= minLength &&
        [...value].length <= maxLength &&
        new RegExp(`^(?:${pattern}${pattern === "" ? "[^]*" : ""})$`, "u").test(value)
      );
    if (Array.isArray(value)) {
      const { items, minItems = 0, maxItems = 1e9 } = rest as { items: Schema; minItems: number; maxItems: number };
      return value.length >= minItems && value.length <= maxItems && value.every((item) => isValid(item, items));
    }
    if (kind !== "object" || values) return true;
    const { properties, required, additionalProperties } = rest as {
      properties: Record<string, Schema>;
      required: string[];
      additionalProperties: Schema;
    };
    const object = value as Record<string, unknown>;
    return (
      required.every((key) => Object.hasOwn(object, key)) &&
      Object.entries(object).every(([key, each]) => isValid(each, properties[key] ?? additionalProperties))
    );
  }

  test("random walks through the masks of random schemas end in JSON that the schema accepts", async () => {
    let finished = 0;
    await fc.assert(
      fc.asyncProperty(schema, fc.integer(), async (each, seed) => {
        const random = new Random(seed);
        const constraint = await grammars.constrain({ schema: each });
        const ids: number[] = [];
        for (let step = 0; step < 150; step++) {
          await constraint.prepare();
          const row = new Float32Array(tokenizer.vocabSize + 8);
          if (!constraint.mask(row, 0, row.length)) break;
          const allowed = [...row.keys()].filter((id) => row[id] === 0);
          expect(allowed.length).toBeGreaterThan(0);
          const id = allowed.includes(eos) ? eos : random.pick(allowed);
          if (id === eos) {
            finished++;
            const text = tokenizer.decode(ids);
            expect([text, isValid(JSON.parse(text), each)]).toEqual([text, true]);
            break;
          }
          ids.push(id);
          constraint.accept(id);
        }
        constraint.dispose();
      }),
      { seed: 7, numRuns: 150 },
    );
    expect(finished).toBeGreaterThan(60);
  }, 120_000);
});

describe("through the door", () => {
  const chats: ChatModel[] = [];
  afterAll(async () => {
    for (const chat of chats) await chat.close();
  });
  async function open(says: string, options: Parameters<typeof promptLengthOf>[1], engine: EngineOptions = {}): Promise<ChatModel> {
    const parts = { openGrammars: openGrammarThreads, engine };
    const chat = scriptedChat({ says, promptLength: await promptLengthOf("hi", options), parts });
    chats.push(chat);
    return chat;
  }

  test("drafts are verified under the masks: the same answers with speculation as without", async () => {
    const options = {
      thinking: false,
      structure: { regex: "((yes|no|maybe) ){6}end" },
      n: 6,
      seed: 3,
      temperature: 2,
      maxTokens: 80,
    } as const;
    const run = async (engine?: EngineOptions) =>
      (await (await open("yes no yes no yes no yes no", options, engine)).respond("hi", options).answers()).map(
        ({ ids, content, statistics }) => ({
          ids,
          content,
          stop: statistics.stop,
          accepted: statistics.acceptedTokens,
        }),
      );
    const plain = await run();
    const speculated = await run({ speculation: { kind: "lookup", adapt: false } });
    for (const { content, stop } of plain) if (stop === "stop") expect(content).toMatch(/^((yes|no|maybe) ){6}end$/);
    expect(plain.some(({ stop }) => stop === "stop")).toBe(true);
    expect(speculated.map((answer) => ({ ...answer, accepted: 0 }))).toEqual(plain);
    expect(speculated.reduce((sum, { accepted }) => sum + accepted, 0)).toBeGreaterThan(0);
  });

  // Else a string that any character may continue ends late.
  const quoteId = tokenizer.encode('"', { addSpecialTokens: false })[0] as number;
  test("a model that wants to say something else, at any temperature, in a batch: every finished answer is valid", async () => {
    const options = {
      thinking: false,
      structure: { schema: person },
      temperature: 3,
      logitBias: [[quoteId, 15]] as const,
      n: 8,
      seed: 1,
      maxTokens: 200,
    } as const;
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

  test("a model that ends while it thinks ends its thinking, not the answer that is still owed", async () => {
    const owed = { structure: { choice: ["yes", "no"] } } as const;
    const chat = await open("hm", owed);
    const answer = await chat.respond("hi", owed).answer();
    expect(answer).toMatchObject({ reasoning: "hm", statistics: { stop: "stop" } });
    expect(["yes", "no"]).toContain(answer.content);
    // Without a structure nothing is owed.
    const free = await open("hm", { thinking: { max: 50 } });
    expect(await free.respond("hi", { thinking: { max: 50 } }).answer()).toMatchObject({ reasoning: "hm", content: "" });
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
