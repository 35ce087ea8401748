// Parts of the page that need no browser: conversations as data, events of a stream, rows and series of runs, ballots, words of both languages.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readEvents } from "../../web/src/client/event-reader.ts";
import { ballot, type Cell, resultOf } from "../../web/src/lab/ballot.ts";
import { type Row, type RunRows, readRow } from "../../web/src/runs/log.ts";
import { chartsOf, loadTables, short, smoothed, stagesOf } from "../../web/src/runs/series.ts";
import { budgetAt, budgetSteps } from "../../web/src/state/budget.ts";
import {
  type AssistantMessage,
  changeVersion,
  choose,
  emptyConversation,
  readConversation,
  say,
  titleOf,
  turnsBefore,
  type Version,
  withVersion,
} from "../../web/src/state/conversation.ts";
import { bytes } from "../../web/src/tab/bytes.ts";
import { attempts, judge, problemOf } from "../../web/src/text/solver.ts";
import { en } from "../../web/src/words/en.ts";
import { zhHant } from "../../web/src/words/zh-hant.ts";

const version: Version = { model: "m", seed: 1, extend: 0, reasoning: "r", content: "c", state: "stop" };

describe("conversations", () => {
  test("say, answer, edit: what followed an edited message is gone, what was before stays the same object", () => {
    const first = say(emptyConversation(), "one");
    const answered = withVersion(first.conversation, first.answerId, version);
    const second = say(answered, "two");
    expect(titleOf(second.conversation)).toBe("one");
    expect(turnsBefore(second.conversation, second.answerId, "be brief")).toEqual([
      { role: "system", content: "be brief" },
      { role: "user", content: "one" },
      { role: "assistant", content: "c" },
      { role: "user", content: "two" },
    ]);
    const edited = say(second.conversation, "three", answered.messages[0]?.id);
    expect(edited.conversation.messages.map((message) => (message.role === "user" ? message.text : "answer"))).toEqual(["three", "answer"]);
    const later = say(second.conversation, "again", second.conversation.messages[2]?.id);
    expect(later.conversation.messages[0]).toBe(answered.messages[0]);
  });

  test("another version of an answer drops what followed from the old one", () => {
    const first = say(emptyConversation(), "one");
    const answered = withVersion(first.conversation, first.answerId, version);
    const second = say(answered, "two");
    const retried = withVersion(second.conversation, first.answerId, { ...version, content: "d" });
    expect(retried.messages).toHaveLength(2);
    const answer = retried.messages[1] as AssistantMessage;
    expect([answer.versions.length, answer.chosen]).toEqual([2, 1]);
    expect((choose(retried, answer.id, 0).messages[1] as AssistantMessage).chosen).toBe(0);
    expect((choose(retried, answer.id, 99).messages[1] as AssistantMessage).chosen).toBe(1);
    const changed = changeVersion(retried, answer.id, 0, { content: "x" }).messages[1] as AssistantMessage;
    expect(changed.versions.map(({ content }) => content)).toEqual(["x", "d"]);
  });

  test("what is read back is what was kept, but for an answer that never ended", () => {
    const first = say(emptyConversation(), "one");
    const kept = withVersion(first.conversation, first.answerId, { ...version, state: "running" });
    const back = readConversation(JSON.parse(JSON.stringify(kept)));
    expect(back).toEqual(changeVersion(kept, first.answerId, 0, { state: "left" }));
  });

  test("a file of anything is read as nothing, never as half a conversation", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const read = readConversation(value);
        if (read) expect(Array.isArray(read.messages)).toBe(true);
      }),
      { seed: 1, numRuns: 500 },
    );
    expect(readConversation({ id: "a", messages: [{ role: "user", id: "b", text: 3 }] })).toBeUndefined();
    expect(readConversation({ id: "a", messages: [{ role: "system", id: "b", text: "x" }] })).toBeUndefined();
  });
});

test("events are the same however the bytes are cut", async () => {
  const texts = ["a", "日本\u{1f600}", '{"x":1}', "two\nlines"];
  const wire = texts
    .map(
      (text) =>
        `: a comment\nevent: x\n${text
          .split("\n")
          .map((line) => `data: ${line}\r\n`)
          .join("")}\n`,
    )
    .join("");
  const all = new TextEncoder().encode(wire);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 200 }), async (sizes) => {
      let at = 0;
      let turn = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (at >= all.length) return controller.close();
          const end = at + (sizes[turn++ % sizes.length] as number);
          controller.enqueue(all.slice(at, end));
          at = end;
        },
      });
      const read: string[] = [];
      for await (const data of readEvents(body)) read.push(data);
      expect(read).toEqual(texts);
    }),
    { seed: 2, numRuns: 40 },
  );
});

describe("runs", () => {
  const rows = (...list: readonly object[]) => list.map((row) => ({ stage: "a", ...row }) as unknown as Row);
  const run = (id: string, metrics: readonly Row[], timing: readonly Row[] = []): RunRows => ({
    id,
    isLive: false,
    damaged: 0,
    metrics,
    timing,
    samples: [],
  });

  test("one run: a line for each metric; charts without values are left out", () => {
    const charts = chartsOf([
      run(
        "x",
        rows(
          { step: 1, loss: 3, mtp_loss: 4 },
          { step: 2, loss: 2, grad_norm: null },
          { step: 3, stage: "grpo", loss: 0, reward: 0.5 },
          { step: 4, stage: "grpo", loss: -0.1 },
        ),
      ),
    ]);
    expect(charts.map(({ kind }) => kind.name)).toEqual(["loss", "reward"]);
    expect(charts[0]).toMatchObject({
      x: [1, 2],
      lines: [
        { name: "loss", values: [3, 2] },
        { name: "mtp_loss", values: [4, null] },
      ],
    });
  });

  test("several runs: the main metric of each over all steps", () => {
    const charts = chartsOf([run("x", rows({ step: 1, loss: 3, mtp_loss: 4 })), run("y", rows({ step: 2, loss: 5 }))]);
    expect(charts[0]).toMatchObject({
      x: [1, 2],
      lines: [
        { name: "x", values: [3, null] },
        { name: "y", values: [null, 5] },
      ],
    });
  });

  test("stages begin where their name changes", () => {
    expect(stagesOf(rows({ step: 1 }, { step: 2 }, { step: 3, stage: "b" }))).toEqual([
      { step: 1, name: "a" },
      { step: 3, name: "b" },
    ]);
  });

  test("loads become shares of the even load; nonsense is left out", () => {
    const load = (step: number, expert_load: unknown) => ({ step, expert_load });
    expect(
      loadTables(rows(load(4, { 2: [1, 3], 10: [2, 2] }), load(8, { 2: [2, 2] }), load(9, { 2: ["x", 1] }), load(10, 7), { step: 11 })),
    ).toEqual([
      {
        layer: "2",
        steps: [4, 8],
        shares: [
          [0.5, 1.5],
          [1, 1],
        ],
      },
      { layer: "10", steps: [4], shares: [[1, 1]] },
    ]);
  });

  test("a long run's loads are joined to at most 600 columns, by their mean", () => {
    const [table] = loadTables(Array.from({ length: 1500 }, (_, i) => rows({ step: i, expert_load: { 1: [1, i % 3] } })).flat());
    expect([table?.steps.length, table?.steps[1]]).toEqual([500, 3]);
    // Shares of [1, 0], [1, 1], [1, 2].
    expect(table?.shares[7]?.[0]).toBeCloseTo((2 + 1 + 2 / 3) / 3, 12);
  });

  test("smoothing: an average of all before with weights that fall by a factor; gaps stay; a constant stays one", () => {
    expect(smoothed([1, null, 3], 0)).toEqual([1, null, 3]);
    const [first, gap, second] = smoothed([1, null, 3], 0.5);
    expect([first, gap]).toEqual([1, null]);
    expect(second).toBeCloseTo((0.5 * 1 + 1 * 3) / 1.5, 12);
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true })),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        (values, weight) => {
          smoothed(values, weight).forEach((value, i) => {
            const seen = values.slice(0, i + 1);
            expect(value).toBeGreaterThanOrEqual(Math.min(...seen) - 1e-6);
            expect(value).toBeLessThanOrEqual(Math.max(...seen) + 1e-6);
          });
        },
      ),
      { seed: 3, numRuns: 50 },
    );
  });

  test("a line of a log is a row or nothing", () => {
    expect(readRow('{"step":1,"stage":"a"}')).toEqual({ step: 1, stage: "a" });
    for (const line of ["", "{", "[]", "null", "1", '{"step":"1","stage":"a"}', '{"step":1}', '{"step":null,"stage":"a"}'])
      expect(readRow(line)).toBeUndefined();
  });

  test.each([
    [0, "0"],
    [0.12345, "0.123"],
    [12345, "12,345"],
    [123456, "1.2e+5"],
    [0.0000123, "1.2e-5"],
    [-2.3456, "-2.35"],
  ])("%d is written %s", (value, text) => expect(short(value)).toBe(text));
});

describe("the lab", () => {
  const cell = (content: string, more: Partial<Cell> = {}): Cell => ({ state: "done", reasoning: "", content, ...more });

  test.each([
    ["The answer is:\n\n**42**.", "42"],
    ["So \\boxed{7} it is.\nDone", "7"],
    ["Paris。", "paris"],
    ["", undefined],
  ])("%j votes for %j", (content, vote) => expect(ballot(cell(content))).toBe(vote));

  test("a solver's answers vote by their value, and the first of the most wins", () => {
    const problem = problemOf("3 5 7=22");
    if (!problem) throw new Error("no problem");
    const cells = ["(5*3)+7", "7+5*3", "3+5+7", ")("].map((content) => cell(content, { verdict: judge(problem, content) }));
    expect(cells.map(ballot)).toEqual(["22", "22", "15", undefined]);
    expect(resultOf({ effort: { id: "free" }, cells })).toMatchObject({ value: "22", votes: 2, done: 4, right: 2 });
  });
});

describe("the solver's notes", () => {
  test("a line for each attempt, nothing lost", () => {
    expect(attempts("5+3=8,8*7=56>5*3=15,15+7=22!Wait7+3=10<")).toBe("5+3=8,8*7=56>\n5*3=15,15+7=22!\nWait7+3=10<");
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("1", "+", "=", "<", ">", "!", "Wait", ",") }), (text) => {
        expect(attempts(text).replaceAll("\n", "")).toBe(text);
      }),
      { seed: 4 },
    );
  });

  test("what is no problem has no verdict", () => {
    expect(problemOf("hello")).toBeUndefined();
    expect(problemOf("12+5")).toBeUndefined();
    expect(problemOf("1,2=99999999999")).toBeUndefined();
  });
});

test("the slider ends in no limit, whatever the context", () => {
  for (const length of [undefined, 20, 512, 131_072]) {
    const steps = budgetSteps(length);
    expect(steps[0]).toBe(0);
    expect(steps.at(-1)).toBeUndefined();
    expect(budgetAt(99, length)).toBeUndefined();
    expect(budgetAt(-1, length)).toBe(0);
    for (const step of steps) if (step !== undefined) expect(step).toBeLessThan(length ?? 4096);
  }
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [999_600, "1 MB"],
  [2_631_136, "2.63 MB"],
  [1.17e9, "1.17 GB"],
])("%d bytes are %s", (count, text) => expect(bytes(count)).toBe(text));

test("both languages fill in the same words, and none is left empty or in the other language", () => {
  const braces = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();
  expect(Object.keys(zhHant).sort()).toEqual(Object.keys(en).sort());
  for (const [name, text] of Object.entries(zhHant)) {
    const [one = "", many = one] = en[name as keyof typeof en].split("|");
    expect(braces(text), name).toEqual(braces(many));
    expect(braces(many), name).toEqual(expect.arrayContaining(braces(one)));
    expect(text.trim(), name).not.toBe("");
    // Characters of Simplified Chinese that Taiwan does not write.
    expect(text, name).not.toMatch(/[对话训练设说时间应请这样过个问题数没们学习块载图错误删导显输认为]/u);
  }
});
