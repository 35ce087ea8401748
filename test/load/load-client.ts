// What the load programs share: a server with the bundled model as a process of its own, clients that keep what they get for later, and readings of
// the server's memory, processor time and books.

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { youngGenerationFlags } from "../../src/cli/young-generation.ts";
import { Random } from "../../src/core/random.ts";

export type LoadServer = { readonly child: ChildProcess; readonly port: number; close(): void };

/** Starts `gradually serve` on a free port, with a line for everybody, and the probe of its memory. `nodeFlags`, `flags`: more. */
export async function startServer(flags: readonly string[], nodeFlags: readonly string[] = []): Promise<LoadServer> {
  const here = (name: string) => new URL(name, import.meta.url).pathname;
  const child = spawn(
    process.execPath,
    [
      // The young generation as serve has it by beginning anew, which would lose the channel.
      ...[...youngGenerationFlags, "--expose-gc", "--import", here("memory-probe.ts"), ...nodeFlags],
      ...[here("../../src/cli/main.ts"), "serve", "--port", "0", "--quiet", "--limit", "queue=2000", ...flags],
    ],
    { stdio: ["ignore", "inherit", "pipe", "ipc"] },
  );
  const port = await new Promise<number>((resolve, reject) => {
    child.stderr?.on("data", (data) => {
      const found = /ready: http:\/\/127\.0\.0\.1:(\d+)/.exec(String(data))?.[1];
      if (found) resolve(Number(found));
    });
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return {
    child,
    port,
    close: () => {
      child.removeAllListeners("exit");
      child.kill("SIGTERM");
      agent.destroy();
      for (const connection of [...restingOn(port)]) connection.destroy();
    },
  };
}

const agent = new Agent({ keepAlive: true, maxSockets: 5000 });

export type Answer = { readonly text: string; readonly tokens: number };
export type Streamed = { readonly raw: Buffer; readonly firstMs: number; readonly isWhole: boolean };

export function post(port: number, path: string, body: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method: "POST", agent, headers: { "content-type": "application/json", ...headers } };
    request(options, resolve).on("error", reject).end(body);
  });
}

export async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) text += chunk;
  return text;
}

const draws = new Random(1);
/** What is asked; problem i is drawn with seed i. */
export const problems = Array.from({ length: 60 }, () => {
  const numbers = Array.from({ length: 3 }, () => 1 + (draws.uint32() % 9));
  return `${numbers.join(" ")}=${10 + (draws.uint32() % 40)}`;
});

export function bodyOf(index: number): string {
  return JSON.stringify({
    messages: [{ role: "user", content: problems[index] }],
    stream: true,
    stream_options: { include_usage: true },
    temperature: 1,
    seed: index,
    max_tokens: 200,
  });
}

/** One request under way. */
type Asking = {
  readonly begun: number;
  readonly leaveAfter: number;
  readonly pieces: Buffer[];
  size: number;
  firstMs: number;
  readonly resolve: (answer: Streamed) => void;
  readonly reject: (error: Error) => void;
};

const end = Buffer.from("\r\n0\r\n\r\n");

/** A plain socket for one request after another. What comes is copied out of one buffer that all of them read into, and looked at later. */
class Connection {
  static readonly #buffer = Buffer.alloc(65_536);
  readonly #socket: Socket;
  readonly #port: number;
  #asking: Asking | undefined;

  constructor(port: number) {
    this.#port = port;
    const callback = (size: number) => {
      this.#take(Connection.#buffer.subarray(0, size));
      return true;
    };
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true, onread: { buffer: Connection.#buffer, callback } });
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("end", () => this.#socket.end());
    this.#socket.on("close", () => this.#close());
  }

  ask(index: number, leaveAfter: number): Promise<Streamed> {
    const body = bodyOf(index);
    this.#socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:${this.#port}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    return new Promise((resolve, reject) => {
      this.#asking = { begun: performance.now(), leaveAfter, pieces: [], size: 0, firstMs: 0, resolve, reject };
    });
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #take(read: Buffer): void {
    const asking = this.#asking;
    if (!asking) return;
    const piece = Buffer.from(read);
    const { pieces, begun } = asking;
    pieces.push(piece);
    asking.size += piece.length;
    if (pieces.length === 1 && !piece.toString("latin1", 0, 13).startsWith("HTTP/1.1 200 ")) {
      this.#fail(new Error(`the answer ${piece}`));
      return;
    }
    if (asking.firstMs === 0 && piece.includes("reasoning_content")) asking.firstMs = performance.now() - begun;
    // The end may be cut in two; it comes with the last events, which are longer than it.
    const isWhole = (piece.length >= end.length ? piece : Buffer.concat(pieces)).subarray(-end.length).equals(end);
    if (!isWhole && asking.size <= asking.leaveAfter) return;
    this.#asking = undefined;
    if (isWhole) restingOn(this.#port).push(this);
    else this.destroy();
    asking.resolve({ raw: isWhole ? Buffer.concat(pieces) : Buffer.alloc(0), firstMs: asking.firstMs, isWhole });
  }

  #fail(error: Error): void {
    const asking = this.#asking;
    this.#asking = undefined;
    this.destroy();
    asking?.reject(error);
  }

  /** A connection that the server closes while it rests is of no more use. */
  #close(): void {
    const resting = restingOn(this.#port);
    if (resting.includes(this)) resting.splice(resting.indexOf(this), 1);
    const { size = 0, pieces = [] } = this.#asking ?? {};
    this.#fail(new Error(`the server hung up after ${size} bytes: ${Buffer.concat(pieces).toString("latin1", 0, 300)}`));
  }
}

/** Connections that wait for their next request, by port. */
const resting = new Map<number, Connection[]>();

function restingOn(port: number): Connection[] {
  const found = resting.get(port) ?? [];
  resting.set(port, found);
  return found;
}

/**
 * One request on a plain socket: the client's work is not the server's, and both have the same cores, so what comes is kept as it came and read later.
 * `leaveAfter`: hangs up after so many bytes.
 */
export async function ask(port: number, index: number, leaveAfter = Number.POSITIVE_INFINITY): Promise<Streamed> {
  const connection = restingOn(port).pop() ?? new Connection(port);
  return await connection.ask(index, leaveAfter);
}

/** What an answer of HTTP/1.1 in chunks carried. Throws for any other status, and for bytes that are no chunks. */
export function bodyBytes(raw: Buffer): Buffer {
  const headers = raw.indexOf("\r\n\r\n");
  const head = raw.toString("latin1", 0, headers);
  if (!head.startsWith("HTTP/1.1 200 ") || !/\r\ntransfer-encoding: chunked/i.test(head)) throw new Error(`an answer that begins ${head}`);
  const parts: Buffer[] = [];
  for (let at = headers + 4; ; ) {
    const line = raw.indexOf("\r\n", at);
    const length = line < 0 ? Number.NaN : Number.parseInt(raw.toString("latin1", at, line), 16);
    const next = line + 2 + length + 2;
    if (!(next <= raw.length) || raw.toString("latin1", next - 2, next) !== "\r\n") throw new Error(`no chunk at byte ${at} of an answer`);
    if (length === 0) {
      if (next !== raw.length) throw new Error(`${raw.length - next} bytes after the end of an answer`);
      return Buffer.concat(parts);
    }
    parts.push(raw.subarray(line + 2, next - 2));
    at = next;
  }
}

/** `bytes`: as `ask` had them. */
export function readAnswer(bytes: Buffer): Answer {
  const raw = bodyBytes(bytes).toString();
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
export async function crowd(count: number, atOnce: number, job: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: Math.min(count, atOnce) }, async () => {
      while (next < count) await job(next++);
    }),
  );
}

/** Processor time of all its threads, and of its first one, which runs all JavaScript but the grammars'. */
export function cpuSecondsOf({ pid }: ChildProcess): { readonly all: number; readonly main: number } {
  const read = (path: string) => {
    const fields = readFileSync(path, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  };
  return { all: read(`/proc/${pid}/stat`), main: read(`/proc/${pid}/task/${pid}/stat`) };
}

export function rssOf(child: ChildProcess): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
  return Number(kib) * 1024;
}

export async function metrics(port: number): Promise<Map<string, number>> {
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

export type Memory = {
  readonly rss: number;
  readonly heapTotal: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
};

/** Of the server, in megabytes, after its garbage is collected. */
export async function memoryOf(child: ChildProcess): Promise<Memory> {
  const answer = new Promise<NodeJS.MemoryUsage>((resolve) => child.once("message", (usage) => resolve(usage as NodeJS.MemoryUsage)));
  child.send("memory");
  const { rss, heapTotal, heapUsed, external, arrayBuffers } = await answer;
  const mb = (bytes: number) => Number((bytes / 1e6).toFixed(1));
  return { rss: mb(rss), heapTotal: mb(heapTotal), heapUsed: mb(heapUsed), external: mb(external), arrayBuffers: mb(arrayBuffers) };
}
