import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { r1Tags } from "../../src/chat/think-tags.ts";
import { Conversation } from "../../src/cli/conversation.ts";
import { wordWrap } from "../../src/cli/word-wrap.ts";
import { GraduallyError } from "../../src/core/errors.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { cli, root, temporaryFolder } from "./cli.ts";

const temporary = temporaryFolder();
afterAll(() => temporary.remove());

const model = {
  contextLength: 100,
  hasTemplate: true,
  thinkTags: r1Tags,
  prepareChat: async (input: unknown) => ({
    prompt: "",
    ids: new Array<number>((input as unknown[]).length * 10).fill(1),
    plan: { suffix: "", begin: "after" as const },
  }),
};

function open(): Conversation {
  return new Conversation(model, "toy", nodeFiles, { options: {}, verbose: false, hideThinking: false });
}

async function said(conversation: Conversation, line: string): Promise<string> {
  const outcome = await conversation.command(line);
  return outcome.kind === "say" ? outcome.text : outcome.kind;
}

describe("commands", () => {
  test("settings change what the next answer is asked with", async () => {
    const conversation = open();
    await said(conversation, "/set nothink");
    expect(conversation.settings.options.thinking).toBe(false);
    await said(conversation, "/set think");
    await said(conversation, "/set parameter temperature 0.5");
    await said(conversation, "/set parameter top_k 40");
    await said(conversation, "/set parameter thinking_budget 12");
    await said(conversation, '/set parameter stop "\\n\\n"');
    await said(conversation, "/set parameter stop END");
    await said(conversation, "/set parameter wait 2");
    await said(conversation, "/set system Be brief.");
    await said(conversation, "/set verbose");
    expect(conversation.settings).toEqual({
      options: { thinking: { max: 12, extend: { times: 2 } }, temperature: 0.5, topK: 40, stop: ["\n\n", "END"], system: "Be brief." },
      verbose: true,
      hideThinking: false,
    });
    conversation.messages = [{ role: "user", content: "hi" }];
    const shown = await said(conversation, "/show");
    for (const part of ["toy", "10 of 100 tokens, 1 messages", "Be brief.", "temperature", "0.5", "thinking_budget", "wait"])
      expect(shown).toContain(part);
    await said(conversation, "/set system");
    expect(conversation.settings.options).not.toHaveProperty("system");
    await said(conversation, "/clear");
    expect(conversation.messages).toEqual([]);
    expect(await said(conversation, "/bye")).toBe("bye");
    expect(await said(conversation, "/help")).toContain("/set think");
  });

  test("what is saved is loaded", async () => {
    const file = path.join(temporary.path, "talk one.json");
    const conversation = open();
    conversation.messages = [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
    ];
    for (const line of ["/set parameter seed 7", '/set parameter stop "x y"', "/set system S", "/set nothink", `/save ${file}`])
      await said(conversation, line);
    const other = open();
    expect(await said(other, `/load ${file}`)).toContain("2 messages");
    expect(other.messages).toEqual(conversation.messages);
    expect(other.settings.options).toEqual(conversation.settings.options);
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ model: "toy", system: "S" });
  });

  test("what a thinking budget needs is not set for a model that does not think", async () => {
    const { thinkTags: _, ...plain } = model;
    const conversation = new Conversation({ ...plain, thinkTags: undefined }, "toy", nodeFiles, {
      options: {},
      verbose: false,
      hideThinking: false,
    });
    for (const line of ["/set think", "/set parameter thinking_budget 5", "/set parameter wait 1"])
      expect(await said(conversation, line)).toBe("This model does not think.");
    expect(conversation.settings.options).toEqual({});
  });

  test.each([
    "/foo",
    "/set",
    "/set fire",
    "/set parameter",
    "/set parameter heat 1",
    "/set parameter __proto__ 1",
    "/set parameter temperature -1",
    "/set parameter temperature NaN",
    "/set parameter top_k 1.5",
    "/set parameter top_p 0",
    "/set parameter num_predict 0",
    '/set parameter stop ""',
    "/save",
    "/load",
    "/load /nowhere/at/all.json",
  ])("%s is refused with the cure, and the conversation goes on", async (line) => {
    const conversation = open();
    await expect(conversation.command(line)).rejects.toThrow(GraduallyError);
    expect(conversation.settings.options).toEqual({});
  });

  test.each([
    ["[]"],
    ["{}"],
    ['{"messages":[{"role":1}]}'],
    ['{"messages":[],"parameters":[["temperature",99999]]}'],
    ["{"],
    ['{"messages":[{"role":"user"}]}'],
  ])("a file that is no conversation: %s", async (text) => {
    const file = path.join(temporary.path, "bad.json");
    writeFileSync(file, text);
    const conversation = open();
    await expect(conversation.command(`/load ${file}`)).rejects.toThrow(GraduallyError);
    expect(conversation.messages).toEqual([]);
  });
});

describe("word wrap", () => {
  const show = (columns: number, pieces: readonly string[]) => {
    const wrap = wordWrap(() => columns);
    return pieces.map((piece) => wrap.push(piece)).join("") + wrap.end();
  };
  test("breaks between words, however the text is cut", () => {
    const text = "the quick brown fox jumps over the lazy dog\nand  more";
    const expected = "the quick\nbrown fox\njumps over\nthe lazy\ndog\nand  more";
    expect(show(11, [text])).toBe(expected);
    expect(show(11, [...text])).toBe(expected);
  });
  test("a word longer than the line, wide characters, indentation", () => {
    expect(show(8, ["a ", "verylongword", " b"])).toBe("a\nverylongword\nb");
    expect(show(8, ["汉字汉字汉字"])).toBe("汉字汉\n字汉字");
    expect(show(20, ["  x\n    y"])).toBe("  x\n    y");
  });
});

describe("gradually chat", () => {
  test("works through a pipe: answers on standard output, the rest on standard error", async () => {
    const input = '3 5 7=22\n\n/set nothink\n1 2 3=6\nhello\n/nonsense\n"""1 2\n3=6"""\n';
    const ran = await cli(["chat"], { input });
    expect(ran.code, ran.err).toBe(0);
    const lines = ran.out.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^<think>.*<\/think>$/);
    expect(lines.slice(1)).toHaveLength(3);
    expect(lines[1]).toMatch(/^[\d+*()/-]+$/);
    // Without thinking: what `run` says to the same problem; the last one came in two lines, the "hello" before it was refused.
    const answer = (await cli(["run", "1 2 3=6", "--think=false"])).out.trimEnd();
    expect(answer).toMatch(/^\S+$/);
    expect(lines.slice(2)).toEqual([answer, answer]);
    expect(ran.err).toContain("The model will answer at once.");
    expect(ran.err).toMatch(/error: the prompt: got "hello"/);
    expect(ran.err).toContain('"/nonsense"');
  });

  test("a conversation that fills its context says so, and what to type", async () => {
    const template = path.join(temporary.path, "plain.jinja");
    writeFileSync(template, "{% for message in messages %}{{ message.content }}<think>{% endfor %}");
    const input = "3,5,7=22\n3,5,7=22\n/clear\n3,5,7=22\n";
    const ran = await cli(["chat", "--chat-template", template, "--ctx-size", "16"], { input });
    expect(ran.code, ran.err).toBe(0);
    const notes = ran.err.trimEnd().split("\n");
    expect(notes[0]).toBe("(stopped: the context of 16 tokens is full; /clear forgets the conversation)");
    expect(notes[1]).toMatch(/^error: chat: got \d+ prompt ids; .* \/clear forgets the conversation; --ctx-size N makes more room/);
    expect(notes.slice(2)).toEqual(["The conversation is forgotten.", notes[0]]);
  });

  test("in a terminal: dim reasoning, Ctrl-C stops the answer and not the program", async (context) => {
    const command = `${process.execPath} ${path.join(root, "src/cli/main.ts")} chat -n 400 --temperature 3 --seed 1 --threads 1`;
    const child = spawn("script", ["-qefc", command, "/dev/null"], { cwd: root, env: { ...process.env, NO_COLOR: "", TERM: "xterm" } });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    const isMissing = await new Promise<boolean>((resolve) => {
      child.on("error", () => resolve(true));
      child.on("spawn", () => resolve(false));
    });
    if (isMissing) return context.skip();
    const until = async (text: string | RegExp) => {
      for (let i = 0; i < 600 && !(typeof text === "string" ? out.includes(text) : text.test(out)); i++)
        await new Promise((r) => setTimeout(r, 50));
      expect(out).toMatch(text);
    };
    const done = new Promise<number | null>((resolve) => child.on("close", resolve));
    await until(">>> ");
    child.stdin.write("3 5 7=22\r");
    await until("\u001b[2m");
    child.stdin.write("\u0003");
    await until(/(…|\+|\d)[\s\S]*>>> /);
    child.stdin.write("/show\r");
    await until("countdown-reasoner");
    // A text of several lines is dropped by Ctrl-C, and so is a line; the program goes on.
    child.stdin.write('"""one\r');
    await until("... ");
    child.stdin.write("two\u0003");
    await until(/two[\s\S]*>>> /);
    child.stdin.write("/what\u0003");
    await until(/\/what[\s\S]*>>> /);
    child.stdin.write("/set verbose\r");
    await until("Speed is shown.");
    expect(out).not.toContain("error:");
    child.stdin.write("/bye\r");
    expect(await done).toBe(0);
  });
});
