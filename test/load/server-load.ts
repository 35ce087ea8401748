// Load on the server, by hand: node test/load/server-load.ts [--requests 5000] [--streams 200] [--vanish 500] [--malformed 100] [--engine]. Starts `gradually
// serve` with the bundled model on a free port of 127.0.0.1, asks each problem alone, then all of them in a crowd with 5 % of the clients hanging
// up, then clients that vanish at random moments, then malformed requests of each kind. --engine: the same requests to the bare engine before and after,
// in this process, to be compared. Out: one JSON line, exit 1 when a promise is broken: no error, each answer equal to its solo run, books that balance,
// memory back to its start.

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import { parseArgs } from "node:util";
import { Random } from "../../src/core/random.ts";
import { engineLoad } from "./engine-load.ts";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "5000" },
    streams: { type: "string", default: "200" },
    vanish: { type: "string", default: "500" },
    malformed: { type: "string", default: "100" },
    parallel: { type: "string", default: "64" },
    threads: { type: "string" },
    chunks: { type: "string" },
    /** Share of clients that hang up, in percent. */
    leave: { type: "string", default: "5" },
    engine: { type: "boolean", default: false },
    profile: { type: "string" },
  },
});
const counts = {
  requests: Number(values.requests),
  streams: Number(values.streams),
  vanish: Number(values.vanish),
  malformed: Number(values.malformed),
};
const random = new Random(1);
const agent = new Agent({ keepAlive: true, maxSockets: counts.streams + 50 });
let port = 0;

type Answer = { readonly text: string; readonly tokens: number };
type Streamed = { readonly raw: Buffer; readonly firstMs: number; readonly isWhole: boolean };

function post(path: string, body: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method: "POST", agent, headers: { "content-type": "application/json", ...headers } };
    request(options, resolve).on("error", reject).end(body);
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) text += chunk;
  return text;
}

const problems = Array.from({ length: 60 }, () => {
  const numbers = Array.from({ length: 3 }, () => 1 + (random.uint32() % 9));
  return `${numbers.join(" ")}=${10 + (random.uint32() % 40)}`;
});

function bodyOf(index: number): string {
  return JSON.stringify({
    messages: [{ role: "user", content: problems[index] }],
    stream: true,
    stream_options: { include_usage: true },
    temperature: 1,
    seed: index,
    max_tokens: 200,
  });
}

/** `leaveAfter`: hangs up after so many bytes. What came is read later: the client's work is not the server's. */
async function ask(index: number, leaveAfter = Number.POSITIVE_INFINITY): Promise<Streamed> {
  const begun = performance.now();
  const response = await post("/v1/chat/completions", bodyOf(index));
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${await textOf(response)}`);
  const pieces: Buffer[] = [];
  let firstMs = 0;
  let size = 0;
  return await new Promise((resolve, reject) => {
    response.on("data", (piece: Buffer) => {
      pieces.push(piece);
      size += piece.length;
      if (firstMs === 0 && piece.includes("reasoning_content")) firstMs = performance.now() - begun;
      if (size <= leaveAfter) return;
      resolve({ raw: Buffer.alloc(0), firstMs, isWhole: false });
      response.destroy();
    });
    response.on("error", reject);
    response.on("end", () => resolve({ raw: Buffer.concat(pieces), firstMs, isWhole: true }));
  });
}

function readAnswer(bytes: Buffer): Answer {
  const raw = bytes.toString();
  let text = "";
  let tokens = 0;
  for (const line of raw.split("\n\n")) {
    if (!line.startsWith("data: {")) continue;
    const { choices, usage, error } = JSON.parse(line.slice(6));
    if (error) throw new Error(`error in a stream: ${error.message}`);
    text += (choices[0]?.delta.reasoning_content ?? "") + (choices[0]?.delta.content ?? "");
    tokens = usage?.completion_tokens ?? tokens;
  }
  if (!raw.endsWith("data: [DONE]\n\n")) throw new Error("a stream without [DONE]");
  return { text, tokens };
}

/** Runs `count` jobs, so many at once. */
async function crowd(count: number, atOnce: number, job: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(count, atOnce) }, async () => {
      while (next < count) await job(next++);
    }),
  );
}

/** Processor time of all its threads. */
function cpuSecondsOf(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function rssOf(child: ChildProcess): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
  return Number(kib) * 1024;
}

async function metrics(): Promise<Map<string, number>> {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    request({ host: "127.0.0.1", port, path: "/metrics", agent }, resolve).on("error", reject).end(),
  );
  const sums = new Map<string, number>();
  for (const line of (await textOf(response)).split("\n")) {
    const [, name, value] = /^gradually:(\w+)(?:\{.*\})? (\S+)$/.exec(line) ?? [];
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

type Memory = {
  readonly rss: number;
  readonly heapTotal: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
};

/** Of the server, in megabytes, after its garbage is collected. */
async function memoryOf(child: ChildProcess): Promise<Memory> {
  const answer = new Promise<NodeJS.MemoryUsage>((resolve) => child.once("message", (usage) => resolve(usage as NodeJS.MemoryUsage)));
  child.send("memory");
  const { rss, heapTotal, heapUsed, external, arrayBuffers } = await answer;
  const mb = (bytes: number) => Number((bytes / 1e6).toFixed(1));
  return { rss: mb(rss), heapTotal: mb(heapTotal), heapUsed: mb(heapUsed), external: mb(external), arrayBuffers: mb(arrayBuffers) };
}

function percentile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
}

const faults: string[] = [];
const order = Array.from({ length: counts.requests }, () => random.uint32() % problems.length);
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const shape = { parallel: Number(values.parallel), streams: counts.streams, maxTokens: 200, ...threads };
const engineBefore = values.engine ? await engineLoad(problems, order, shape) : undefined;
const here = (name: string) => new URL(name, import.meta.url).pathname;
const child = spawn(
  process.execPath,
  [
    ...["--expose-gc", "--import", here("memory-probe.ts")],
    ...(values.profile === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", values.profile]),
    ...[here("../../src/cli/main.ts"), "serve", "--port", "0", "--quiet", "--parallel", values.parallel as string, "--limit", "queue=2000"],
    ...(values.threads === undefined ? [] : ["--threads", values.threads]),
    ...(values.chunks === undefined ? [] : ["--limit", `chunksPerSecond=${values.chunks}`]),
  ],
  { stdio: ["ignore", "inherit", "pipe", "ipc"] },
);
await new Promise<void>((resolve, reject) => {
  child.stderr?.on("data", (data) => {
    const found = /ready: http:\/\/127\.0\.0\.1:(\d+)/.exec(String(data))?.[1];
    if (!found) return;
    port = Number(found);
    resolve();
  });
  child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
});

try {
  const solo: string[] = [];
  for (let i = 0; i < problems.length; i++) solo.push(readAnswer((await ask(i)).raw).text);
  await crowd(counts.streams * 2, counts.streams, async (i) => void (await ask(i % problems.length))); // warm
  await new Promise((next) => setTimeout(next, 2000));
  const memoryBefore = await memoryOf(child);
  const rssBefore = rssOf(child);

  const firsts: number[] = [];
  const done: { readonly index: number; readonly raw: Buffer }[] = [];
  let [tokens, bytes, mixed, left] = [0, 0, 0, 0];
  const used = process.cpuUsage();
  const serverUsed = cpuSecondsOf(child);
  const begun = performance.now();
  await crowd(counts.requests, counts.streams, async (i) => {
    const index = order[i] as number;
    const leaves = random.uint32() % 100 < Number(values.leave);
    try {
      const answer = await ask(index, leaves ? random.uint32() % 8000 : undefined);
      if (answer.isWhole) {
        done.push({ index, raw: answer.raw });
        firsts.push(answer.firstMs);
      } else left++;
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  });
  const seconds = (performance.now() - begun) / 1000;
  const cpu = process.cpuUsage(used);
  const cpuSeconds = {
    server: Number((cpuSecondsOf(child) - serverUsed).toFixed(1)),
    client: Number(((cpu.user + cpu.system) / 1e6).toFixed(1)),
  };
  for (const { index, raw } of done.splice(0)) {
    bytes += raw.length;
    try {
      const answer = readAnswer(raw);
      tokens += answer.tokens;
      if (answer.text !== solo[index]) mixed++;
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  }

  await crowd(counts.vanish, 100, async (i) => {
    const control = new AbortController();
    const gone = setTimeout(() => control.abort(), random.uint32() % 300);
    const options = {
      host: "127.0.0.1",
      port,
      path: "/v1/chat/completions",
      method: "POST",
      signal: control.signal,
      headers: { "content-type": "application/json" },
    };
    await new Promise<void>((resolve) => {
      request(options, (response) =>
        response
          .on("error", () => {})
          .on("close", resolve)
          .resume(),
      )
        .on("error", () => resolve())
        .end(bodyOf(i % problems.length));
    });
    clearTimeout(gone);
  });

  const kinds: readonly (readonly [string, string, number])[] = [
    ["no JSON", "{", 400],
    ["a list", "[]", 400],
    ["no messages", "{}", 400],
    ["n", '{"messages":[{"role":"user","content":"1+1"}],"n":0}', 400],
    ["temperature", '{"messages":[{"role":"user","content":"1+1"}],"temperature":-1}', 400],
    ["a model", '{"messages":[{"role":"user","content":"1+1"}],"model":"none"}', 404],
    ["an image", '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1/"}}]}]}', 400],
    ["deep", `{"a":${"[".repeat(1000)}`, 400],
  ];
  let unclear = 0;
  for (const [kind, body, status] of kinds) {
    await crowd(counts.malformed, 20, async () => {
      const response = await post("/v1/chat/completions", body);
      const { error } = JSON.parse(await textOf(response)) as { error?: { message?: string } };
      if (response.statusCode !== status || !/: got .+; expected .+/s.test(error?.message ?? "")) {
        unclear++;
        faults.push(`${kind}: ${response.statusCode} ${error?.message}`);
      }
    });
  }

  await new Promise((next) => setTimeout(next, 3000));
  const rssAfter = rssOf(child);
  const memoryAfter = await memoryOf(child);
  const books = await metrics();
  const get = (name: string) => books.get(name) ?? 0;
  const outcomes =
    get("request_success_total") + get("requests_failed_total") + get("requests_cancelled_total") + get("requests_rejected_total");
  const isBalanced = get("requests_received_total") === outcomes + get("num_requests_running") + get("num_requests_waiting");
  const isEmpty = get("num_requests_running") + get("num_requests_waiting") === 0 && get("kv_cache_usage_perc") === 0;
  firsts.sort((a, b) => a - b);
  const after = readAnswer((await ask(0)).raw).text === solo[0];
  const report = {
    ...counts,
    parallel: Number(values.parallel),
    seconds: Number(seconds.toFixed(1)),
    tokens,
    tok_s: Math.round(tokens / seconds),
    bytes_per_token: Math.round(bytes / tokens),
    cpu_seconds: cpuSeconds,
    first_token_ms: { p50: percentile(firsts, 0.5), p95: percentile(firsts, 0.95), p99: percentile(firsts, 0.99) },
    hung_up: left,
    errors: faults.length - unclear,
    mixed,
    unclear_refusals: unclear,
    balanced: isBalanced,
    empty: isEmpty,
    serves_after: after,
    rss_mb: { before: Math.round(rssBefore / 1e6), after: Math.round(rssAfter / 1e6) },
    collected_mb: { before: memoryBefore, after: memoryAfter },
    outcomes: {
      succeeded: get("request_success_total"),
      failed: get("requests_failed_total"),
      cancelled: get("requests_cancelled_total"),
      rejected: get("requests_rejected_total"),
    },
  };
  const engineAfter = values.engine ? await engineLoad(problems, order, shape) : undefined;
  const bare = [engineBefore, engineAfter].flatMap((run) => (run ? [run.tok_s] : []));
  const share = (2 * tokens) / seconds / bare.reduce((sum, rate) => sum + rate, 0);
  console.log(JSON.stringify({ ...report, ...(bare.length > 0 && { engine_tok_s: bare, share_of_engine: Number(share.toFixed(3)) }) }));
  for (const fault of faults.slice(0, 5)) console.error(fault);
  const isKept = faults.length === 0 && mixed === 0 && isBalanced && isEmpty && after && rssAfter < 1.25 * rssBefore;
  process.exitCode = isKept ? 0 : 1;
} finally {
  child.removeAllListeners("exit");
  child.kill("SIGTERM");
  agent.destroy();
}
