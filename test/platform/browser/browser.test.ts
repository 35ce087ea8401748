// The browser door in headless Chromium, through the package as Vite bundles it without a plug-in: the same tokens as in Node, with threads and without; models
// fetched over bad connections, kept, found again, deleted, refused for want of room; files of the user; the AI SDK's model.

import { symlinkSync } from "node:fs";
import * as path from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type * as Door from "../../../src/platform/browser.ts";
import type * as Sdk from "../../../src/platform/browser-ai-sdk.ts";
import { load } from "../../../src/platform/load.ts";
import { sharedData } from "../../shared-data.ts";
import { type Built, buildPages, chromium, launch, PageServer } from "./place.ts";

declare const door: typeof Door;
declare const sdk: typeof Sdk;

const models = path.join(import.meta.dirname, "../../../models");
const reasoner = path.join(models, "countdown-reasoner");
const problem = "3,5,7=22<think>";
const greedy = { temperature: 0, maxTokens: 120 };

describe.skipIf(!chromium)("in Chromium", { timeout: 120_000 }, () => {
  let built: Built;
  let server: PageServer;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    built = await buildPages();
    symlinkSync(reasoner, path.join(built.folder, "example/dist/countdown-reasoner"));
    server = await new PageServer({
      example: path.join(built.folder, "example/dist"),
      driven: path.join(built.folder, "driven/dist"),
      models,
      ...(sharedData && { stories: path.join(sharedData, "models/stories260K") }),
    }).start();
    browser = await launch();
  }, 300_000);

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    built?.remove();
  });

  beforeEach(async () => {
    Object.assign(server, { isolated: true, ranges: true, cuts: [] });
    server.asked.length = 0;
    page = await (await browser.newContext()).newPage();
  });

  afterEach(async () => {
    await page.context().close();
  });

  async function open(): Promise<void> {
    await page.goto(`${server.url}/driven/`);
    await page.waitForFunction(() => "sdk" in globalThis);
  }

  /** What Node answers; one model at a time. */
  async function inNode(reference: string, text: string, maxTokens = 120): Promise<readonly number[]> {
    const model = await load(reference);
    try {
      return (await model.generate(text, { temperature: 0, maxTokens }).answer()).ids;
    } finally {
      await model.close();
    }
  }

  /** Loads and answers in the page. */
  async function inPage(source: string, text: string, options: Door.BrowserLoadOptions = {}, maxTokens = greedy.maxTokens) {
    return await page.evaluate(
      async ({ source, text, options, greedy }) => {
        const model = await door.load(source, options);
        const { ids } = await model.generate(text, greedy).answer();
        const { threads, build, name, isStored } = model;
        await model.close();
        return { ids, threads, build, name, isStored, isolated: crossOriginIsolated };
      },
      { source, text, options, greedy: { ...greedy, maxTokens } },
    );
  }

  /** The error of a load, taken apart by the page's own classes. */
  async function refusal(source: string, options: Door.BrowserLoadOptions = {}) {
    return await page.evaluate(
      async ({ source, options }) => {
        const error: unknown = await door.load(source, options).then(
          () => new Error("it loaded"),
          (thrown) => thrown,
        );
        const kind = (["ConfigError", "DeviceError", "FormatError", "RequestError"] as const).find((name) => error instanceof door[name]);
        return { kind, message: (error as Error).message };
      },
      { source, options },
    );
  }

  test("the ten lines of the README answer, and a second question too", async () => {
    await page.goto(`${server.url}/example/`);
    const answer = page.locator("#answer");
    await expect.poll(() => answer.textContent(), { timeout: 60_000 }).toMatch(/\(5\*3\)\+7$/);
    await page.fill("#question", "2 4 6=12");
    await page.press("#question", "Enter");
    await expect.poll(() => answer.textContent(), { timeout: 60_000 }).toMatch(/2|4|6/);
  });

  describe.each([
    ["with threads", true, undefined],
    ["without", false, undefined],
    ["without relaxed SIMD", true, "simd128"],
  ] as const)("%s", (_, isolated, build) => {
    test("the bundled model gives Node's tokens", async () => {
      server.isolated = isolated;
      await open();
      const got = await inPage("/models/countdown-reasoner", problem, { threads: 2, ...(build && { build }) });
      expect(got).toMatchObject({
        isolated,
        threads: isolated ? 2 : 1,
        build: build ?? "relaxed",
        isStored: true,
        name: "countdown-reasoner",
      });
      expect(got.ids).toEqual(await inNode(reasoner, problem));
    });

    test.skipIf(!sharedData)("stories260K gives Node's tokens, as GGUF and as a folder", async () => {
      server.isolated = isolated;
      await open();
      const expected = await inNode(path.join(sharedData as string, "models/stories260K/hf"), "Once upon a time");
      expect(expected.length).toBe(120);
      for (const source of ["/stories/stories260K-f32.gguf", "/stories/hf/"]) {
        expect((await inPage(source, "Once upon a time", { threads: 2, ...(build && { build }) })).ids).toEqual(expected);
      }
    });
  });

  test("on webgpu: Node's tokens where the browser has a GPU, and why not where it has none", async () => {
    await open();
    const refused = await refusal("/models/countdown-reasoner", { device: "webgpu" });
    expect(refused).toMatchObject({
      kind: "DeviceError",
      message: expect.stringMatching(/open the webgpu device: got (?:no adapter|a browser without)/),
    });
    const withGpu = await launch(["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
    try {
      page = await withGpu.newPage();
      await open();
      const got = await inPage("/models/countdown-reasoner", problem, { device: "webgpu" }, 12);
      expect(got.build).toBe("webgpu google swiftshader (software)");
      expect(got.ids).toEqual(await inNode(reasoner, problem, 12));
    } finally {
      await withGpu.close();
    }
  });

  test("answers stream, side by side; leaving the loop and a signal stop them", async () => {
    await open();
    const got = await page.evaluate(async (problem) => {
      const model = await door.load("/models/countdown-reasoner");
      const kinds: string[] = [];
      for await (const part of model.respond("3 5 7=22", { temperature: 0 }))
        kinds.push(part.statistics ? "end" : part.reasoning ? "think" : "say");
      const [a, b] = await Promise.all([1, 2].map((seed) => model.generate(problem, { temperature: 0.5, seed }).answer()));
      const alone = await model.generate(problem, { temperature: 0.5, seed: 2 }).answer();
      let read = 0;
      for await (const part of model.generate(problem, { temperature: 2, maxTokens: 400 })) {
        read += part.reasoning.length;
        if (read > 0) break;
      }
      const stop = new AbortController();
      const response = model.generate(problem, { temperature: 2, maxTokens: 400, signal: stop.signal });
      setTimeout(() => stop.abort(new Error("enough")), 5);
      const reason = await response.answer().then(
        () => "finished",
        (error: Error) => error.message,
      );
      const after = await model.generate(problem, { temperature: 0.5, seed: 2 }).answer();
      const wrong = await model
        .respond("no numbers")
        .answer()
        .catch((error) => error instanceof door.RequestError && error.complaint.operation);
      await model.close();
      const closed = await model
        .respond("3 5 7=22")
        .answer()
        .catch((error) => error instanceof door.RequestError && error.complaint.got);
      return { kinds, a: a?.ids, b: b?.ids, alone: alone.ids, after: after.ids, reason, wrong, closed };
    }, problem);
    expect(got.kinds.slice(0, 2)).toEqual(["think", "think"]);
    expect(got.kinds.slice(-2)).toEqual(["say", "end"]);
    expect(got.b).toEqual(got.alone);
    expect(got.after).toEqual(got.alone);
    expect(got.reason).toBe("enough");
    expect(got.wrong).toBe("read messages");
    expect(got.closed).toBe("one that was closed");
  });

  test("a structure holds, and one that cannot be compiled is refused", async () => {
    await open();
    const got = await page.evaluate(async () => {
      const model = await door.load("/models/countdown-reasoner");
      const { content } = await model
        .respond("3 5 7=22", { temperature: 0, thinking: { max: 20 }, structure: { regex: "[0-9]{3}" } })
        .answer();
      const refused = await model
        .respond("3 5 7=22", { structure: { regex: "(" } })
        .answer()
        .catch((error) => error instanceof door.RequestError);
      return { content, refused };
    });
    expect(got.content).toMatch(/^[0-9]{3}$/);
    expect(got.refused).toBe(true);
  });

  test("a connection that breaks is taken up where it was", async () => {
    server.cuts = [300_000, 700_000];
    await open();
    const got = await inPage("/models/countdown-reasoner", problem);
    expect(got.ids).toEqual(await inNode(reasoner, problem));
    const asked = server.of("model.safetensors");
    expect(asked.map(({ range }) => range)).toEqual(["bytes=0-", "bytes=300000-", "bytes=1000000-"]);
  });

  test("a download that ended with its page goes on in the next, and tells how far it is", async () => {
    server.cuts = [1_000_000, 0, 0, 0, 0, 0, 0];
    await open();
    expect(await refusal("/models/countdown-reasoner")).toMatchObject({
      kind: "RequestError",
      message: expect.stringMatching(/what has come stays/),
    });
    server.cuts = [];
    await open();
    const [half] = await page.evaluate(() => door.storedModels());
    expect(half).toMatchObject({ name: "countdown-reasoner", isComplete: false });
    expect(half?.bytes).toBeGreaterThan(1_000_000);
    server.asked.length = 0;
    const lasts = await page.evaluate(async () => {
      const heard: Door.LoadProgress[] = [];
      const model = await door.load("countdown-reasoner", { onProgress: (progress) => heard.push(progress) });
      await model.close();
      return (["fetch", "load"] as const).map((wanted) => heard.filter(({ step }) => step === wanted).at(-1));
    });
    const [last, loaded] = lasts;
    expect(loaded?.bytes).toBe(loaded?.total);
    expect(server.of("model.safetensors").map(({ range }) => range)).toEqual(["bytes=1000000-"]);
    expect(last).toMatchObject({ file: "model.safetensors", bytes: last?.total, fetched: 2_631_136 - 1_000_000 });
  });

  test("a server without ranges sends all again, and what is there is passed over", async () => {
    server.ranges = false;
    server.cuts = [500_000];
    await open();
    expect((await inPage("/models/countdown-reasoner", problem)).ids).toEqual(await inNode(reasoner, problem));
    expect(server.of("model.safetensors")).toHaveLength(2);
  });

  test("an abort ends a load; the next goes on", async () => {
    await open();
    const reason = await page.evaluate(async () => {
      const stop = new AbortController();
      const loading = door.load("/models/countdown-reasoner", {
        signal: stop.signal,
        onProgress: ({ bytes }) => bytes > 0 && stop.abort(new Error("changed my mind")),
      });
      return await loading.then(
        () => "loaded",
        (error: Error) => error.message,
      );
    });
    expect(reason).toBe("changed my mind");
    expect((await inPage("/models/countdown-reasoner", problem)).isStored).toBe(true);
  });

  test("a stored model needs no network, by URL and by name, until it is deleted", async () => {
    await open();
    const { ids } = await inPage("/models/countdown-reasoner", problem, { name: "mine" });
    await open();
    server.asked.length = 0;
    expect(await page.evaluate(() => door.storedModels())).toEqual([
      { name: "mine", source: `${server.url}/models/countdown-reasoner`, bytes: expect.any(Number), isComplete: true },
    ]);
    expect((await inPage("mine", problem)).ids).toEqual(ids);
    expect((await inPage("/models/countdown-reasoner", problem)).ids).toEqual(ids);
    expect(server.asked.filter(({ path: asked }) => asked.startsWith("/models"))).toEqual([]);
    expect(
      await page.evaluate(async () => [await door.deleteModel("mine"), await door.deleteModel("mine"), await door.storedModels()]),
    ).toEqual([true, false, []]);
    expect(await refusal("mine")).toMatchObject({ kind: "ConfigError", message: expect.stringMatching(/nothing stored/) });
  });

  test("with keep: false nothing stays", async () => {
    await open();
    expect(await inPage("/models/countdown-reasoner", problem, { keep: false })).toMatchObject({ isStored: false });
    expect(await page.evaluate(() => door.storedModels())).toEqual([]);
  });

  test("W17: a page without a private file system holds the model in memory and says so; asked to keep it, it refuses", async () => {
    // Over plain http from another name than localhost: no file system, no locks, no shared memory.
    const plain = await launch(["--host-resolver-rules=MAP plain.test 127.0.0.1"]);
    try {
      page = await plain.newPage();
      await page.goto(`http://plain.test:${server.port}/driven/`);
      await page.waitForFunction(() => "sdk" in globalThis);
      const got = await page.evaluate(
        async ({ problem, greedy }) => {
          const warnings: string[] = [];
          const model = await door.load("/models/countdown-reasoner", { onWarning: (text) => warnings.push(text) });
          const { ids } = await model.generate(problem, greedy).answer();
          const { isStored, threads } = model;
          await model.close();
          return { warnings, ids, isStored, threads, isSecureContext };
        },
        { problem, greedy },
      );
      expect(got).toMatchObject({ isSecureContext: false, isStored: false, threads: 1, warnings: [expect.stringMatching(/not kept/)] });
      expect(got.ids).toEqual(await inNode("countdown-reasoner", problem));
      expect(await refusal("/models/countdown-reasoner", { keep: true })).toMatchObject({
        kind: "ConfigError",
        message: expect.stringMatching(/without a private file system.*load without keep: true/),
      });
    } finally {
      await plain.close();
    }
  });

  test("a quota that is too small is told with what would fit and what takes the room", async () => {
    await open();
    const session = await page.context().newCDPSession(page);
    await inPage("/models/countdown-reasoner", problem, { name: "first" });
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 4_000_000 });
    const refused = await refusal("/models/countdown-reasoner/?v=2", { name: "second" });
    expect(refused).toMatchObject({ kind: "DeviceError" });
    expect(refused.message).toMatch(
      /store the model "second": got 3 MB to be stored; expected at most \d+ (?:MB|kB), which is what the browser gives now/,
    );
    expect(refused.message).toMatch(/delete stored models: "first" \(3 MB\), or choose a smaller model/);
    expect((await inPage("first", problem)).isStored).toBe(true);
  });

  test.skipIf(!sharedData)("a file of the user's is copied into the store, or read in place", async () => {
    await open();
    const file = path.join(sharedData as string, "models/stories260K/stories260K-f32.gguf");
    await page.evaluate(() =>
      Reflect.get(globalThis, "document").body.append(
        Object.assign(Reflect.get(globalThis, "document").createElement("input"), { type: "file" }),
      ),
    );
    await page.setInputFiles("input", file);
    const got = await page.evaluate(async () => {
      const [chosen] = Reflect.get(globalThis, "document").querySelector("input").files as FileList;
      const answers: unknown[] = [];
      for (const keep of [false, true]) {
        const model = await door.load(chosen as File, { keep });
        const { content } = await model.generate("Once upon a time", { temperature: 0, maxTokens: 20 }).answer();
        answers.push({ content, isStored: model.isStored, stored: (await door.storedModels()).map(({ name }) => name) });
        await model.close();
      }
      return answers;
    });
    const content = expect.stringMatching(/^, there was a/);
    expect(got).toEqual([
      { content, isStored: false, stored: [] },
      { content, isStored: true, stored: ["stories260K-f32"] },
    ]);
  });

  test("a handle of a folder is read in place; a bias is sent along", async () => {
    await open();
    const got = await page.evaluate(async (problem) => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("a folder", { create: true });
      for (const name of ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]) {
        const writer = await (await folder.getFileHandle(name, { create: true })).createWritable();
        await writer.write(await (await fetch(`/models/countdown-reasoner/${name}`)).blob());
        await writer.close();
      }
      const model = await door.load(folder, { keep: false });
      const plain = await model.generate(problem, { temperature: 0, maxTokens: 5 }).answer();
      const first = plain.ids[0] as number;
      const biased = await model.generate(problem, { temperature: 0, maxTokens: 5, logitBias: new Map([[first, -100]]) }).answer();
      return { first, biased: biased.ids[0], name: model.name, stored: await door.storedModels() };
    }, problem);
    expect(got.biased).not.toBe(got.first);
    expect(got).toMatchObject({ name: "a folder", stored: [] });
  });

  test("what cannot be loaded is refused by the right class, with its cure", async () => {
    await open();
    expect(await refusal("/models/nothing/")).toMatchObject({
      kind: "ConfigError",
      message: expect.stringMatching(/nothing there.*check the URL/),
    });
    expect(await refusal("/driven/")).toMatchObject({ kind: "ConfigError" });
    expect(await refusal("/models/countdown-reasoner/report.gguf")).toMatchObject({ kind: "ConfigError" });
    server.json.set("/fake/model.gguf", { no: "model" });
    expect(await refusal("/fake/model.gguf")).toMatchObject({ kind: "FormatError", message: expect.stringMatching(/GGUF/) });
    expect(await refusal("unknown")).toMatchObject({ kind: "ConfigError", message: expect.stringMatching(/the name of a stored model/) });
    expect(await refusal("/models/countdown-reasoner", { threads: 0.5 })).toMatchObject({
      kind: "ConfigError",
      message: expect.stringMatching(/threads/),
    });
  });

  test("memory that the browser does not give is told with the context that would fit", async () => {
    await open();
    const refused = await refusal("/models/countdown-reasoner", { parallel: 16384, contextLength: 512 });
    expect(refused).toMatchObject({ kind: "DeviceError" });
    expect(refused.message).toMatch(
      /[GM]B of cache \(contextLength 512, parallel 16384\); expected what fits a browser that gave .* parallel: \d+ with contextLength: 512 would fit/,
    );
  });

  test("names of the Hub: one commit's files, with the token for the Hub alone", async () => {
    await open();
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const files = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    const { statSync } = await import("node:fs");
    const siblings = files.map((name) => ({ rfilename: name, size: statSync(path.join(reasoner, name)).size }));
    server.json.set("/hub/api/models/org/tiny/revision/main", { sha: commit, siblings });
    server.mount(`hub/org/tiny/resolve/${commit}`, reasoner);
    const got = await inPage("hf:org/tiny", problem, { hub: { endpoint: `${server.url}/hub`, token: "secret" } });
    const tokens = (isHub: boolean) =>
      new Set(server.asked.filter((asked) => asked.path.startsWith("/hub/") === isHub).map(({ token }) => token));
    expect(tokens(true)).toEqual(new Set(["Bearer secret"]));
    expect(tokens(false)).toEqual(new Set([undefined]));
    expect(got).toMatchObject({ name: "hf:org/tiny", isStored: true });
    expect(got.ids).toEqual(await inNode(reasoner, problem));
    server.json.set("/hub/api/models/org/bad/revision/main", { sha: commit, siblings: [{ rfilename: "config.json", size: "many" }] });
    expect(await refusal("hf:org/bad", { hub: { endpoint: `${server.url}/hub` } })).toMatchObject({ kind: "FormatError" });
    expect(await refusal("hf:org/none", { hub: { endpoint: `${server.url}/hub` } })).toMatchObject({
      kind: "ConfigError",
      message: expect.stringMatching(/no such repository/),
    });
  });

  test("the AI SDK's model and the server's API, without a server", async () => {
    await open();
    const got = await page.evaluate(async () => {
      const { model, fetch, direct, close } = await sdk.gradually("/models/countdown-reasoner");
      const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "3 5 7=22" }] }];
      const { content, finishReason } = await model.doGenerate({ prompt, temperature: 0 });
      const list = await (await fetch(new Request("http://localhost/v1/models"))).json();
      const bad = await fetch(
        new Request("http://localhost/v1/chat/completions", { method: "POST", body: "{", headers: { "content-type": "application/json" } }),
      );
      const parts: string[] = [];
      const { stream } = await model.doStream({ prompt, temperature: 0 });
      for await (const part of stream as unknown as AsyncIterable<{ type: string }>) parts.push(part.type);
      const name = direct.name;
      await close();
      return { content, finishReason, list, bad: bad.status, name, parts: [...new Set(parts)] };
    });
    expect(got.content).toMatchObject([
      { type: "reasoning", text: expect.stringMatching(/22!$/) },
      { type: "text", text: "(5*3)+7" },
    ]);
    expect(got.finishReason.unified).toBe("stop");
    expect(got.list).toMatchObject({ data: [{ id: "countdown-reasoner" }] });
    expect(got.bad).toBe(400);
    expect(got.parts).toEqual(expect.arrayContaining(["reasoning-delta", "text-delta", "finish"]));
  });
});
