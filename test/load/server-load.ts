// Load on the server, by hand: node test/load/server-load.ts [--requests 5000] [--streams 200] [--vanish 500] [--malformed 100] [--engine]. Starts `gradually
// serve` with the bundled model on a free port of 127.0.0.1, asks each problem alone, then all of them in a crowd with 5 % of the clients hanging
// up, then clients that vanish at random moments, then malformed requests of each kind. --engine: the same requests to the bare engine before and after,
// in this process, to be compared. Out: one JSON line, exit 1 when a promise is broken: no error, each answer equal to its solo run, books that balance,
// memory back to its start.

import { request } from "node:http";
import { parseArgs } from "node:util";
import { Random } from "../../src/core/random.ts";
import { engineLoad } from "./engine-load.ts";
import {
  ask,
  bodyOf,
  cpuSecondsOf,
  crowd,
  memoryOf,
  metrics,
  post,
  problems,
  readAnswer,
  rssOf,
  startServer,
  textOf,
} from "./load-client.ts";

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
const random = new Random(2);
function percentile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
}

const faults: string[] = [];
const order = Array.from({ length: counts.requests }, () => random.uint32() % problems.length);
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const shape = { parallel: Number(values.parallel), streams: counts.streams, maxTokens: 200, ...threads };
const engineBefore = values.engine ? await engineLoad(problems, order, shape) : undefined;
const server = await startServer(
  [
    ...["--parallel", values.parallel as string],
    ...(values.threads === undefined ? [] : ["--threads", values.threads]),
    ...(values.chunks === undefined ? [] : ["--limit", `chunksPerSecond=${values.chunks}`]),
  ],
  values.profile === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", values.profile],
);
const { child, port } = server;

try {
  const solo: string[] = [];
  for (let i = 0; i < problems.length; i++) solo.push(readAnswer((await ask(port, i)).raw).text);
  await crowd(counts.streams * 2, counts.streams, async (i) => void (await ask(port, i % problems.length))); // warm
  await new Promise((next) => setTimeout(next, 2000));
  const memoryBefore = await memoryOf(child);
  const rssBefore = rssOf(child);

  const firsts: number[] = [];
  const done: { readonly index: number; readonly raw: Buffer }[] = [];
  let [wholeTokens, bytes, mixed, left] = [0, 0, 0, 0];
  // What the server made: tokens of clients who hung up were computed too.
  const generated = async () => (await metrics(port)).get("generation_tokens_total") ?? 0;
  const generatedBefore = await generated();
  const used = process.cpuUsage();
  const serverUsed = cpuSecondsOf(child);
  const begun = performance.now();
  await crowd(counts.requests, counts.streams, async (i) => {
    const index = order[i] as number;
    const leaves = random.uint32() % 100 < Number(values.leave);
    try {
      const answer = await ask(port, index, leaves ? random.uint32() % 8000 : undefined);
      if (answer.isWhole) {
        done.push({ index, raw: answer.raw });
        firsts.push(answer.firstMs);
      } else left++;
    } catch (error) {
      faults.push(error instanceof Error ? error.message : String(error));
    }
  });
  const seconds = (performance.now() - begun) / 1000;
  const tokens = (await generated()) - generatedBefore;
  const cpu = process.cpuUsage(used);
  const serverNow = cpuSecondsOf(child);
  const cpuSeconds = {
    server: Number((serverNow.all - serverUsed.all).toFixed(1)),
    server_main: Number((serverNow.main - serverUsed.main).toFixed(1)),
    client: Number(((cpu.user + cpu.system) / 1e6).toFixed(1)),
  };
  for (const { index, raw } of done.splice(0)) {
    bytes += raw.length;
    try {
      const answer = readAnswer(raw);
      wholeTokens += answer.tokens;
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
      const response = await post(port, "/v1/chat/completions", body);
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
  const books = await metrics(port);
  const get = (name: string) => books.get(name) ?? 0;
  const outcomes =
    get("request_success_total") + get("requests_failed_total") + get("requests_cancelled_total") + get("requests_rejected_total");
  const isBalanced = get("requests_received_total") === outcomes + get("num_requests_running") + get("num_requests_waiting");
  const isEmpty = get("num_requests_running") + get("num_requests_waiting") === 0 && get("kv_cache_usage_perc") === 0;
  firsts.sort((a, b) => a - b);
  const after = readAnswer((await ask(port, 0)).raw).text === solo[0];
  const report = {
    ...counts,
    parallel: Number(values.parallel),
    seconds: Number(seconds.toFixed(1)),
    tokens: { generated: tokens, in_whole_answers: wholeTokens },
    tok_s: Math.round(tokens / seconds),
    bytes_per_token: Math.round(bytes / wholeTokens),
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
  // What is kept, and not only not given back yet, shows in the heap after its garbage is gone.
  const isCollected = memoryAfter.heapUsed < memoryBefore.heapUsed + 3 && memoryAfter.arrayBuffers < memoryBefore.arrayBuffers + 3;
  const isKept =
    faults.length === 0 &&
    mixed === 0 &&
    wholeTokens <= tokens &&
    isBalanced &&
    isEmpty &&
    after &&
    rssAfter < 1.25 * rssBefore &&
    isCollected;
  process.exitCode = isKept ? 0 : 1;
} finally {
  server.close();
}
