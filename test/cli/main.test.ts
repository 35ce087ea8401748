import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import * as path from "node:path";
import { expect, test } from "vitest";
import { cli, expectUsage, root } from "./cli.ts";

/** Verbs that can print one JSON document. */
const documents = [
  "speedrun",
  "run",
  "train",
  "eval",
  "logits",
  "tokenize",
  "inspect",
  "doctor",
  "pull",
  "ls",
  "rm",
  "quantize",
  "convert",
  "perplexity",
];

test("without arguments: the help, exit 0", async () => {
  const ran = await cli([]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  for (const verb of [...documents, "bench", "chat", "serve", "prompt"]) {
    expect(ran.out).toMatch(new RegExp(`^ {2}${verb} +\\S`, "m"));
  }
});

test("--version prints package.json's", async () => {
  expect(await cli(["--version"])).toMatchObject({ code: 0, out: "0.1.0\n" });
});

test.each(documents)("help of %s has examples, in both spellings", async (verb) => {
  const [flag, word] = await Promise.all([cli([verb, "--help"]), cli(["help", verb])]);
  expect(flag.out).not.toMatch(/default:\s(\[\]|\{\}|false)/);
  expect(flag).toMatchObject({ code: 0, err: "" });
  expect(flag.out).toContain(`Usage: gradually ${verb}`);
  expect(flag.out).toContain(`$ gradually ${verb}`);
  expect(flag.out).toContain("--json");
  expect(word.out).toBe(flag.out);
});

test("usage errors: exit 2, one line, nothing on standard output", async () => {
  await Promise.all([
    expectUsage(["fly"], "unknown command 'fly'"),
    expectUsage(["--fly"], "unknown option '--fly'"),
    expectUsage(["run", "x", "y", "--tempature", "1"], "--tempature", "--temperature"),
    expectUsage(["logits", "x"], "--ids"),
    expectUsage(["logits", "x", "--ids", "1,b"], "1,b"),
    expectUsage(["logits", "x", "--ids", ""], "integers"),
    expectUsage(["logits", "x", "--ids", "1,-2"], "integers"),
    expectUsage(["run", "x", "y", "--max-tokens", "0"], "an integer from 1 to 2147483647"),
    expectUsage(["run", "x", "y", "--temperature", "-1"], "a number from 0 to 100"),
    expectUsage(["run", "x", "y", "--top-p", "0"], "above 0"),
    expectUsage(["run", "x", "y", "--threads", "1e3"], "an integer from 1 to 256"),
    expectUsage(["run", "x", "y", "--device", "cuda"], "cpu, webgpu, reference"),
    expectUsage(["run", "x", "y", "z"], "too many arguments"),
    expectUsage(["eval", "x", "--task", "chess"], "countdown, arithmetic"),
  ]);
});

test.skipIf(!existsSync("/dev/full"))("a disk without room for the answer: one line and exit 1; for what is beside it: nothing", () => {
  const run = (where: string) =>
    spawnSync("sh", ["-c", `exec "$0" "$1" run "3 5 7=22" --threads 1 ${where}`, process.execPath, path.join(root, "src/cli/main.ts")], {
      encoding: "utf8",
    });
  const lost = run("> /dev/full");
  expect(lost.status).toBe(1);
  expect(lost.stderr.trimEnd().split("\n").at(-1)).toMatch(/^error: standard output: got ENOSPC/);
  expect(lost.stderr).not.toMatch(/\n {4}at /);
  const quiet = run("2> /dev/full");
  expect(quiet).toMatchObject({ status: 0, stderr: "" });
  expect(quiet.stdout).toContain("</think>");
});

test("bench train --json is one document: the flag belongs to train, not to bench", async () => {
  const ran = await cli([
    "bench",
    "train",
    "--shape",
    "d8,l1,ff8,h1,v8",
    "--batch",
    "1",
    "--seq",
    "4",
    "--steps",
    "1",
    "--threads",
    "1",
    "--json",
  ]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(JSON.parse(ran.out)).toMatchObject({ threads: 1, tok_s: expect.any(Number) });
});

test("run --json --speculate and bench --speculate tell how many drafts came true, and the answer is the same", async () => {
  const run = (...flags: string[]) => cli(["run", "3 5 7=22", "--threads", "1", "--json", ...flags]);
  const [plain, mtp, bench] = await Promise.all([
    run("--speculate", "none"),
    run("--speculate=mtp"),
    cli([
      "bench",
      "--threads",
      "1",
      "--prompt",
      "0",
      "--gen",
      "48",
      "--repeats",
      "1",
      "--speculate",
      "lookup",
      "--draft-tokens",
      "4",
      "--json",
    ]),
  ]);
  expect([plain.code, mtp.code, bench.code]).toEqual([0, 0, 0]);
  const { ids } = JSON.parse(plain.out) as { ids: number[] };
  expect(JSON.parse(plain.out)).toMatchObject({ drafted: 0, accepted: 0 });
  expect(JSON.parse(mtp.out)).toMatchObject({ ids, drafted: expect.any(Number), accepted: expect.any(Number) });
  expect(JSON.parse(bench.out)).toMatchObject({ drafts: { kind: "lookup", n: expect.any(Number), accepted: expect.any(Number) } });
  await expectUsage(["run", "3 5 7=22", "--speculate", "magic"], "lookup, mtp, none");
});
