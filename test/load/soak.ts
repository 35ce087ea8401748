// L21, the long run, by hand: node test/load/soak.ts [--minutes 1440] [--streams 52] [--every 60]. Keeps a server with 64 places at about 80 % of them for so long:
// answers of mixed lengths, 5 % of the clients hanging up. Every so many seconds it reads what the server holds after collecting garbage, and its
// open handles. Out: one JSON line; exit 1 for an error, for handles that grow, or for memory that grows by 1 MB an hour or more after the first third.

import { readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { Random } from "../../src/core/random.ts";
import { ask, crowd, memoryOf, problems, readAnswer, startServer } from "./load-client.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1440" },
    streams: { type: "string", default: "52" },
    every: { type: "string", default: "60" },
  },
});
const seconds = 60 * Number(values.minutes);
const random = new Random(3);
const server = await startServer(["--parallel", "64"]);
const { child, port } = server;

type Sample = { readonly hour: number; readonly rss: number; readonly heapUsed: number; readonly handles: number };

/** Megabytes an hour, by least squares. */
function slope(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const mean = (pick: (sample: Sample) => number) => samples.reduce((sum, sample) => sum + pick(sample), 0) / samples.length;
  const [x, y] = [mean(({ hour }) => hour), mean(of)];
  const spread = samples.reduce((sum, { hour }) => sum + (hour - x) ** 2, 0);
  return spread === 0 ? 0 : samples.reduce((sum, sample) => sum + (sample.hour - x) * (of(sample) - y), 0) / spread;
}

try {
  const begun = performance.now();
  const passed = () => (performance.now() - begun) / 1000;
  const solo = new Map<number, string>();
  const samples: Sample[] = [];
  const faults: string[] = [];
  let [answers, mixed, tokens] = [0, 0, 0];
  let isOver = false;
  const sampling = (async () => {
    while (!isOver) {
      await new Promise((next) => setTimeout(next, Number(values.every) * 1000));
      const { rss, heapUsed } = await memoryOf(child);
      samples.push({ hour: passed() / 3600, rss, heapUsed, handles: readdirSync(`/proc/${child.pid}/fd`).length });
    }
  })();
  const count = Number(values.streams);
  await crowd(count, count, async () => {
    while (passed() < seconds) {
      const index = random.uint32() % problems.length;
      try {
        const { raw, isWhole } = await ask(port, index, random.uint32() % 20 === 0 ? random.uint32() % 8000 : undefined);
        if (!isWhole) continue;
        const answer = readAnswer(raw);
        answers++;
        tokens += answer.tokens;
        if (answer.text !== (solo.get(index) ?? answer.text)) mixed++;
        solo.set(index, answer.text);
      } catch (error) {
        faults.push(error instanceof Error ? error.message : String(error));
      }
    }
  });
  isOver = true;
  await sampling;
  const later = samples.slice(Math.floor(samples.length / 3));
  const growth = { rss: slope(later, ({ rss }) => rss), heap: slope(later, ({ heapUsed }) => heapUsed) };
  const handles = samples.map((sample) => sample.handles);
  const [first, last] = [samples[0], samples.at(-1)];
  console.log(
    JSON.stringify({
      minutes: Number(values.minutes),
      answers,
      tok_s: Math.round(tokens / passed()),
      errors: faults.length,
      mixed,
      mb_per_hour: { rss: Number(growth.rss.toFixed(2)), heap: Number(growth.heap.toFixed(2)) },
      first,
      last,
      handles: { least: Math.min(...handles), most: Math.max(...handles) },
    }),
  );
  for (const fault of faults.slice(0, 5)) console.error(fault);
  const isKept = faults.length === 0 && mixed === 0 && growth.rss < 1 && Math.max(...handles) <= count + 60;
  process.exitCode = isKept ? 0 : 1;
} finally {
  server.close();
}
