// `load` in Node as a program uses it: the bundled model, which has no chat template, answers messages as the server and the browser do; and what renders
// templates is loaded with the first messages, not with the model.

import { execFile } from "node:child_process";
import * as path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { RequestError } from "../../src/core/errors.ts";
import { load } from "../../src/platform/load.ts";

const root = path.resolve(import.meta.dirname, "../..");

test("the bundled model answers a text, messages, and n times; what is no problem is refused", async () => {
  await using model = await load(undefined, { threads: 1 });
  expect(model.hasTemplate).toBe(false);
  const [plain, asText] = await Promise.all([
    model.respond("3 5 7=22", { temperature: 0 }).answer(),
    model.generate("3,5,7=22<think>", { temperature: 0 }).answer(),
  ]);
  expect(plain.ids).toEqual(asText.ids);
  expect(plain.reasoning.length).toBeGreaterThan(0);
  const last = [
    { role: "user", content: "1 2=3" },
    { role: "assistant", content: "1+2" },
    { role: "user", content: "3 5 7=22" },
  ];
  const again = await model.respond(last, { temperature: 0, n: 2 }).answers();
  expect(again.map(({ ids }) => ids)).toEqual([plain.ids, plain.ids]);
  const short = await model.respond("3 5 7=22", { temperature: 0, thinking: { max: 12 } }).answer();
  expect(short.statistics.thinkingTokens).toBe(12);
  await expect(model.respond("hello").answer()).rejects.toThrow(RequestError);
});

test("a model is loaded, and continues a text, without the engine of templates", async () => {
  const program = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const renders = () => loaded.some((url) => /jinja|chat-template/.test(url));
    const { load } = await import("./src/platform/load.ts");
    const model = await load(undefined, { threads: 1 });
    await model.generate("3,5,7=22<think>", { maxTokens: 2 }).answer();
    const before = renders();
    await model.respond("3 5 7=22", { maxTokens: 2 }).answer();
    console.log(JSON.stringify({ before, after: renders() }));
    await model.close();`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], { cwd: root });
  expect(JSON.parse(stdout)).toEqual({ before: false, after: true });
});
