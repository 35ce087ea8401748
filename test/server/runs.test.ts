// Run folders over the server: listing, logs by offset while they grow, reports; and what a stranger's names, links and files can do: nothing.

import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { nodeHost } from "../../src/platform/node.ts";
import { isRunName } from "../../src/server/runs.ts";
import { pace, threadTime } from "../pace.ts";
import { afterThis, openApp } from "./harness.ts";

let folder: string;
let get: (path: string) => Promise<Response>;
let json: (path: string) => Promise<Record<string, unknown>>;

beforeEach(async () => {
  const root = mkdtempSync(path.join(tmpdir(), "gradually-runs-"));
  afterThis(() => rmSync(root, { recursive: true, force: true }));
  folder = path.join(root, "runs");
  mkdirSync(folder);
  writeFileSync(path.join(root, "secret.md"), "secret");
  const { app } = await openApp({ runs: { files: nodeHost().files, path: folder }, limits: { logBytes: 4096, runFileBytes: 10_000 } });
  get = (at) => app.fetch(new Request(`http://localhost${at}`));
  json = async (at) => (await (await get(at)).json()) as Record<string, unknown>;
});

function makeRun(name: string, files: Readonly<Record<string, string>> = {}): string {
  const run = path.join(folder, name);
  mkdirSync(run);
  const recipe = { name: "a recipe", stages: [{ kind: "pretrain", name: "pretrain" }, { kind: "grpo" }] };
  for (const [file, text] of Object.entries({ "recipe.json": JSON.stringify(recipe), ...files })) writeFileSync(path.join(run, file), text);
  return run;
}

function checkpoint(run: string, step: number, state: object): void {
  const at = path.join(run, "checkpoints", `checkpoint-${step}`);
  mkdirSync(at, { recursive: true });
  writeFileSync(path.join(at, "trainer_state.json"), JSON.stringify(state));
}

describe("the list", () => {
  test("is empty without a folder and without runs", async () => {
    expect(await json("/runs")).toEqual({ folder: "runs", runs: [], left_out: 0 });
    rmSync(folder, { recursive: true });
    expect(await json("/runs")).toMatchObject({ runs: [] });
    const { app } = await openApp({});
    expect(await (await app.fetch(new Request("http://localhost/runs"))).json()).toEqual({ folder: null, runs: [], left_out: 0 });
  });

  test("says how far each run is: the newest checkpoint knows", async () => {
    const run = makeRun("one", { "cost.json": '{"tokens":12,"flop":3,"seconds":4,"cost_usd":0.5}' });
    checkpoint(run, 9, { step: 9, stage: 0 });
    checkpoint(run, 20, { step: 20, stage: 1 });
    const done = makeRun("two", { "report.md": "# x" });
    checkpoint(done, 30, { step: 30, stage: 2 });
    const { runs } = await json("/runs");
    expect(runs).toEqual([
      {
        id: "one",
        name: "a recipe",
        damaged: false,
        stages: ["pretrain", "grpo"],
        step: 20,
        stage: 1,
        finished: false,
        tokens: 12,
        seconds: 4,
        cost_usd: 0.5,
        has_report: false,
      },
      expect.objectContaining({ id: "two", finished: true, step: 30, has_report: true, tokens: null }),
    ]);
  });

  test("says how far a run is beyond its checkpoints, by the last whole line of its log", async () => {
    const row = (step: number, stage: string) => `${JSON.stringify({ step, stage, filler: "x".repeat(2000) })}\n`;
    const log = Array.from({ length: 60 }, (_, i) => row(i + 1, "pretrain")).join("");
    makeRun("new", { "metrics.jsonl": `${log}{"step":6` });
    checkpoint(makeRun("older", { "metrics.jsonl": log + row(61, "grpo") }), 50, { step: 50, stage: 0 });
    checkpoint(makeRun("resumed", { "metrics.jsonl": log }), 70, { step: 70, stage: 1 });
    checkpoint(makeRun("whole", { "metrics.jsonl": row(99, "grpo") }), 80, { step: 80, stage: 2 });
    makeRun("odd", { "metrics.jsonl": "rubbish\n" });
    makeRun("stranger", { "metrics.jsonl": row(3, "elsewhere") });
    expect((await json("/runs")).runs).toMatchObject([
      { id: "new", step: 60, stage: 0, finished: false },
      { id: "odd", step: 0, stage: 0 },
      { id: "older", step: 61, stage: 1, finished: false },
      { id: "resumed", step: 70, stage: 1 },
      { id: "stranger", step: 3, stage: 0 },
      { id: "whole", step: 80, stage: 2, finished: true },
    ]);
  });

  test("shows a damaged run as damaged, beside the others", async () => {
    makeRun("bad", { "recipe.json": "{", "cost.json": "[1]" });
    makeRun("good");
    makeRun("huge", { "recipe.json": `{"name":"${"x".repeat(20_000)}"}` });
    const { runs } = await json("/runs");
    expect(runs).toMatchObject([
      { id: "bad", damaged: true },
      { id: "good", damaged: false },
      { id: "huge", damaged: true },
    ]);
  });

  test("R41: a thousand runs, every tenth damaged: all are listed, within seconds of the processor, and more than the limit are counted", async () => {
    for (let i = 0; i < 1000; i++) {
      const name = `run-${String(i).padStart(4, "0")}`;
      const run = makeRun(name, i % 10 === 3 ? { "recipe.json": ["", "{", "[1]", "\0"][(i - 3) % 4] as string } : {});
      if (i % 10 === 7) checkpoint(run, i, { step: i, stage: 1 });
    }
    const { app } = await openApp({ runs: { files: nodeHost().files, path: folder }, limits: { runs: 1000 } });
    const begun = threadTime();
    const { runs } = (await (await app.fetch(new Request("http://localhost/runs"))).json()) as {
      runs: { id: string; damaged: boolean; step: number }[];
    };
    expect(threadTime() - begun).toBeLessThan(10_000 * pace());
    expect(runs).toHaveLength(1000);
    expect(runs.filter(({ damaged }) => damaged).map(({ id }) => Number(id.slice(4)) % 10)).toEqual(new Array(100).fill(3));
    expect(runs[17]).toMatchObject({ id: "run-0017", step: 17 });
    const few = await json("/runs");
    expect([(few.runs as object[]).length, few.left_out]).toEqual([500, 500]);
  });

  test("leaves out what is no run: files, folders without a recipe, hidden ones", async () => {
    mkdirSync(path.join(folder, "empty"));
    writeFileSync(path.join(folder, "file"), "");
    makeRun(".hidden");
    makeRun("run");
    expect(((await json("/runs")).runs as { id: string }[]).map(({ id }) => id)).toEqual(["run"]);
  });
});

describe("a log", () => {
  const line = (step: number) => `${JSON.stringify({ step, stage: "a", loss: 1 / step })}\n`;

  test("comes in whole lines by offset, and goes on where it grew", async () => {
    const run = makeRun("r", { "metrics.jsonl": line(1) + line(2) });
    const first = await json("/runs/r/logs/metrics");
    expect(first).toEqual({ from: 0, next: (line(1) + line(2)).length, size: (line(1) + line(2)).length, text: line(1) + line(2) });
    appendFileSync(path.join(run, "metrics.jsonl"), `${line(3)}{"step":4`);
    const second = await json(`/runs/r/logs/metrics?from=${first.next}`);
    expect(second.text).toBe(line(3));
    appendFileSync(path.join(run, "metrics.jsonl"), ',"stage":"a"}\n');
    expect((await json(`/runs/r/logs/metrics?from=${second.next}`)).text).toBe('{"step":4,"stage":"a"}\n');
  });

  test("that was cut back begins again", async () => {
    const run = makeRun("r", { "metrics.jsonl": line(1) + line(2) });
    const { next } = await json("/runs/r/logs/metrics");
    truncateSync(path.join(run, "metrics.jsonl"), line(1).length);
    expect(await json(`/runs/r/logs/metrics?from=${next}`)).toMatchObject({ from: 0, text: line(1) });
  });

  test("read in pieces is the whole log, whatever its lines", async () => {
    const run = makeRun("r", { "metrics.jsonl": "" });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "grapheme", maxLength: 900 }), { maxLength: 40 }), async (texts) => {
        const lines = texts.map((text) => `${JSON.stringify({ step: 1, stage: text })}\n`);
        writeFileSync(path.join(run, "metrics.jsonl"), lines.join(""));
        let [from, all] = [0, ""];
        for (;;) {
          const piece = await json(`/runs/r/logs/metrics?from=${from}`);
          all += piece.text as string;
          if (piece.next === piece.size) break;
          expect(piece.next as number).toBeGreaterThan(from);
          from = piece.next as number;
        }
        expect(all).toBe(lines.join(""));
      }),
      { numRuns: 30, seed: 5 },
    );
  });

  test("with a line longer than a piece is not a trap", async () => {
    makeRun("r", { "metrics.jsonl": `${"x".repeat(10_000)}\n${line(2)}` });
    let [from, all] = [0, ""];
    for (let i = 0; i < 10; i++) {
      const piece = await json(`/runs/r/logs/metrics?from=${from}`);
      from = piece.next as number;
      all += piece.text as string;
      if (piece.next === piece.size) break;
    }
    expect(all).toContain(line(2));
  });

  test("of another name, or from nowhere, is refused", async () => {
    makeRun("r", { "metrics.jsonl": line(1) });
    expect((await get("/runs/r/logs/secret")).status).toBe(404);
    expect((await get("/runs/r/logs/metrics?from=-1")).status).toBe(400);
    expect((await get("/runs/r/logs/metrics?from=1e9")).status).toBe(400);
    expect(await json("/runs/r/logs/timing")).toEqual({ from: 0, next: 0, size: 0, text: "" });
  });
});

describe("files", () => {
  test("are the report and its plots; a plot may run nothing", async () => {
    makeRun("r", { "report.md": "# x", "loss.svg": "<svg onload='alert(1)'/>", "samples.jsonl": "{}" });
    expect(await (await get("/runs/r/files/report.md")).text()).toBe("# x");
    const plot = await get("/runs/r/files/loss.svg");
    expect(plot.headers.get("content-type")).toBe("image/svg+xml");
    expect(plot.headers.get("content-security-policy")).toMatch(/default-src 'none'.*sandbox/);
    expect(plot.headers.get("x-content-type-options")).toBe("nosniff");
    for (const name of ["samples.jsonl", "run.lock", "reward.svg", "checkpoints", "..%2f..%2fsecret.md", "__proto__"])
      expect((await get(`/runs/r/files/${name}`)).status).toBe(404);
  });

  test("beyond the limit are refused", async () => {
    makeRun("r", { "report.md": "x".repeat(20_000) });
    expect((await get("/runs/r/files/report.md")).status).toBeGreaterThanOrEqual(400);
  });
});

describe("names and links", () => {
  const hostile = [
    "..",
    ".",
    "../runs",
    "..%2f..",
    "%2e%2e",
    "a%2f..%2fr",
    "r%00",
    "c:",
    "r%5c..",
    ".hidden",
    "%0a",
    "x".repeat(300),
    "__proto__",
  ];

  test.each(hostile)("/runs/%s finds nothing", async (name) => {
    makeRun("r", { "report.md": "# x" });
    for (const rest of ["", "/logs/metrics", "/files/report.md"]) {
      const response = await get(`/runs/${name}${rest}`);
      expect(await response.text()).not.toMatch(/secret|# x/);
      // A client resolves `.` and `..` by itself: /runs/.. is /, /runs/. is the list.
      if (!/^\.{1,2}$|^%2e/.test(name) && !name.includes("../")) expect(response.status).toBe(404);
    }
  });

  test("any name is refused or is one plain name", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (name) => {
        if (!isRunName(name)) return;
        expect(path.posix.basename(path.posix.join("/runs", name))).toBe(name);
        expect(path.win32.dirname(path.win32.join("C:\\runs", name))).toBe("C:\\runs");
      }),
      { numRuns: 2000, seed: 3 },
    );
  });

  test("links that lead out are not followed, neither runs nor files", async () => {
    const outside = mkdtempSync(path.join(tmpdir(), "gradually-outside-"));
    afterThis(() => rmSync(outside, { recursive: true, force: true }));
    for (const [name, text] of [
      ["recipe.json", '{"name":"secret","stages":[]}'],
      ["report.md", "secret"],
      ["metrics.jsonl", "secret\n"],
    ] as const)
      writeFileSync(path.join(outside, name), text);
    symlinkSync(outside, path.join(folder, "linked"));
    const run = makeRun("run");
    symlinkSync(path.join(outside, "report.md"), path.join(run, "report.md"));
    symlinkSync(path.join(outside, "metrics.jsonl"), path.join(run, "metrics.jsonl"));
    const { runs } = await json("/runs");
    expect(runs).toMatchObject([{ id: "run", has_report: false }]);
    expect((await get("/runs/linked")).status).toBe(404);
    expect((await get("/runs/run/files/report.md")).status).toBe(404);
    expect((await json("/runs/run/logs/metrics")).text).toBe("");
    expect(JSON.stringify(await json("/runs/run"))).not.toContain("secret");
  });

  test("a folder beside the runs whose name begins like theirs is outside", async () => {
    mkdirSync(`${folder}-other`);
    writeFileSync(path.join(`${folder}-other`, "recipe.json"), '{"name":"secret"}');
    symlinkSync(`${folder}-other`, path.join(folder, "other"));
    expect((await get("/runs/other")).status).toBe(404);
  });
});
