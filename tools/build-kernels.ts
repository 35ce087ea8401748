// Compiles the AssemblyScript kernels. In: src/backend/wasm/assembly and the command table. Out: src/backend/wasm/generated/ with the dispatcher
// (entry.ts), modules.ts, which holds both builds (relaxed, simd128) as base64, and reference-results.ts for the self-test. Fails when a module has a data segment: every thread
// instantiates it on the same memory.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";
import { openReference } from "../src/backend/reference/open.ts";
import { recordResults } from "../src/backend/self-test-results.ts";
import { claimed, commands, keptApart } from "../src/backend/wasm/commands.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = "src/backend/wasm/generated";

function entryText(): string {
  const imports = new Map<string, string[]>();
  for (const { name, file } of commands) {
    imports.set(file, [...(imports.get(file) ?? []), name]);
  }
  const lines = ["// Made by tools/build-kernels.ts from the command table. The dispatcher of all threads.", ""];
  lines.push(
    'import { awaitCall, awaitList, barrier, CALLED, DONE, join, openBarrier, QUEUE, STOP, setPatience } from "../assembly/control";',
  );
  for (const [file, names] of imports) lines.push(`import { ${names.join(", ")} } from "../assembly/${file}";`);
  for (const file of keptApart) lines.push(`export * from "../assembly/${file}";`);
  lines.push("", 'export { prepare } from "../assembly/math";');
  lines.push("", "function mayComeInto(command: i32): bool {", "  switch (command) {");
  for (const [i, { name }] of commands.entries()) if (claimed.has(name)) lines.push(`    case ${i}:`);
  lines.push("      return true;", "    default:", "      return false;", "  }", "}");
  // `list`: the number of one that began without the last of its threads; below 0 for that one, which came into the command at `at`; 0 where all are there.
  lines.push(
    "",
    "function run(at: usize, end: usize, thread: i32, threads: i32, list: i32): void {",
    "  let team = list == 0 ? threads : threads - 1;",
  );
  lines.push("  while (at < end) {", "    const p = at + 8;", "    switch (load<i32>(at)) {");
  for (const [i, { name }] of commands.entries()) lines.push(`      case ${i}: ${name}(p, thread, team); break;`);
  lines.push(
    "      default: unreachable();",
    "    }",
    "    const next = at + <usize>load<i32>(at, 4);",
    "    if (team == threads) barrier(threads);",
    "    else team = openBarrier(threads, at, next, end, list, next < end && mayComeInto(load<i32>(next)));",
    "    at = next;",
    "  }",
    "}",
    "",
  );
  lines.push(
    "export function runShared(list: usize, end: usize, thread: i32, threads: i32): void {",
    "  run(list, end, thread, threads, 0);",
    "}",
    "",
    "export function runJoined(list: usize, end: usize, threads: i32, patience: i32): void {",
    "  setPatience(patience);",
    "  run(list, end, threads - 1, threads, 0);",
    "  setPatience(0);",
    "}",
    "",
    "export function runRest(end: usize, threads: i32, patience: i32): bool {",
    "  setPatience(patience);",
    "  const at = join();",
    "  run(at & ~1, end, threads - 1, threads, (at & 1) != 0 ? -1 : 0);",
    "  setPatience(0);",
    "  return at < end;",
    "}",
    "",
  );
  lines.push("export function runAlone(list: usize, end: usize): void {", "  run(list, end, 0, 1, 0);", "}", "");
  lines.push(
    "function runQueued(index: i32, thread: i32, threads: i32): void {",
    "  const slot = QUEUE + (<usize>(index & 63) << 3);",
    "  const list = <usize>load<u32>(slot);",
    "  run(list & ~1, <usize>load<u32>(slot, 4), thread, threads, (list & 1) != 0 ? index + 1 : 0);",
    "}",
    "",
    "export function work(thread: i32, threads: i32): void {",
    "  let seen = 0;",
    "  for (;;) {",
    "    if (thread != threads - 1) {",
    "      awaitList(seen);",
    "      if (atomic.load<i32>(STOP) != 0) return;",
    "      runQueued(seen++, thread, threads);",
    "      continue;",
    "    }",
    "    awaitCall(seen);",
    "    if (atomic.load<i32>(STOP) != 0) return;",
    "    seen = atomic.load<i32>(CALLED);",
    "    // The caller takes part in a list only when all before it are done, so the next one after those is this thread's.",
    "    for (let done = atomic.load<i32>(DONE); done < seen; ) {",
    "      runQueued(done++, thread, threads);",
    "      atomic.store<i32>(DONE, done);",
    "      atomic.notify(DONE, i32.MAX_VALUE);",
    "    }",
    "  }",
    "}",
    "",
  );
  return lines.join("\n");
}

async function compile(relaxed: boolean): Promise<Uint8Array> {
  const target = `${out}/${relaxed ? "relaxed" : "simd128"}.wasm`;
  const features = relaxed ? "simd,threads,relaxed-simd" : "simd,threads";
  const flags = ["--baseDir", root, `${out}/entry.ts`, "-o", target, "-O3", "--noAssert", "--runtime", "stub", "--enable", features];
  flags.push("--importMemory", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536");
  const { error, stderr } = await main(flags);
  if (error) throw new Error(`building ${target}: ${error.message}\n${stderr.toString()}`);
  const bytes = readFileSync(`${root}/${target}`);
  if (sections(bytes).includes(11)) throw new Error(`${target} has a data segment: kernels must be free of static data`);
  return bytes;
}

/** Section numbers of a module; 11 is the data section. */
function sections(bytes: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 8; at < bytes.length; ) {
    found.push(bytes[at++] as number);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] as number;
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    at += size;
  }
  return found;
}

export async function buildKernels(): Promise<void> {
  mkdirSync(`${root}/${out}`, { recursive: true });
  writeFileSync(`${root}/${out}/entry.ts`, entryText());
  const [relaxed, simd128] = [await compile(true), await compile(false)];
  // With their type written down: else TypeScript's declarations repeat the whole text as one.
  const text = [
    "// Made by tools/build-kernels.ts: the compiled kernels.",
    `export const relaxed: string = "${Buffer.from(relaxed).toString("base64")}";`,
    `export const simd128: string = "${Buffer.from(simd128).toString("base64")}";`,
    "",
  ].join("\n");
  writeFileSync(`${root}/${out}/modules.ts`, text);
  await writeResults();
  process.stderr.write(`kernels: relaxed ${relaxed.length} bytes, simd128 ${simd128.length} bytes\n`);
}

/** What the self-test compares with. */
async function writeResults(): Promise<void> {
  const words = await recordResults(openReference({ precision: "f32" }));
  const text = [
    "// Made by tools/build-kernels.ts: what the reference gives for each trial of the self-test.",
    `export const referenceResults: string = "${Buffer.from(words.buffer).toString("base64")}";`,
    "",
  ].join("\n");
  writeFileSync(`${root}/${out}/reference-results.ts`, text);
}
