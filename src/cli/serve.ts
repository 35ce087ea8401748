// `gradually serve [MODEL...]`: the server in Node. Binds 127.0.0.1; another address needs a key. SIGTERM and SIGINT let what runs finish, and answer
// what comes meanwhile with 503; a second one, or the end of the grace time, ends it. The log is on standard error, one line a request, without prompts.

import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { CacheType } from "../core/dtype.ts";
import { ConfigError } from "../core/errors.ts";
import { modelHelp } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { type Listener, listen } from "../platform/node-listener.ts";
import { memoryLimit } from "../platform/node-memory.ts";
import { readPage } from "../platform/node-page.ts";
import { checkNames, servedModel } from "../platform/served-models.ts";
import { type App, makeApp } from "../server/app.ts";
import type { ReasoningField } from "../server/call.ts";
import { type Limits, limitTable } from "../server/limits.ts";
import type { ModelEntry } from "../server/shelf.ts";
import { findModel } from "./find-model.ts";
import { collect, integer, real } from "./flags.ts";
import {
  addDeviceFlags,
  addSpeculationFlags,
  cacheTypeOption,
  type DeviceFlags,
  type SpeculationFlags,
  speculationOf,
} from "./model-flags.ts";
import { note } from "./output.ts";
import { limitYoungGeneration } from "./young-generation.ts";

type Flags = DeviceFlags &
  SpeculationFlags & {
    readonly host: string;
    readonly port: number;
    readonly apiKey: readonly string[];
    readonly allowedHost: readonly string[];
    readonly corsOrigin: readonly string[];
    readonly parallel: number;
    readonly ctxSize?: number;
    readonly cacheType?: CacheType;
    readonly memory?: number;
    readonly reasoningField: ReasoningField;
    readonly prefixCache: boolean;
    readonly runs: string;
    readonly page: boolean;
    readonly chatTemplate?: string;
    readonly logTexts?: boolean;
    readonly quiet?: boolean;
    readonly limit: Readonly<Partial<Limits>>;
  };

export function serveCommand(program: Command): void {
  const command = program
    .command("serve")
    .description("Serve models to clients of OpenAI, Ollama and Anthropic. Without MODEL the bundled model is served.")
    .argument("[models...]", `${modelHelp}; NAME=MODEL gives it a name; the first is loaded at once, the others when they are asked for`)
    .option("--host <address>", "the address to listen on; any other than this machine's own needs a key", "127.0.0.1")
    .option("--port <n>", "the port; 0 takes a free one", integer(0, 65535), 8080)
    .option("--api-key <key>", "the key that clients must send; may be repeated (default: GRADUALLY_API_KEY, else none)", collect, [])
    .option("--allowed-host <name>", "a name, beside localhost, that clients may call this machine by; may be repeated", collect, [])
    .option("--cors-origin <origin>", "a web page's origin, e.g. https://chat.example, that may call; may be repeated", collect, [])
    .option("--parallel <n>", "answers computed at once; more wait in line", integer(1, 1024), 8)
    .option("-c, --ctx-size <n>", "tokens that prompt and answer may have together", integer(2))
    .addOption(cacheTypeOption())
    .option(
      "--memory <GiB>",
      "memory for all loaded models together (default: 70 % of the machine's or its container's)",
      real(0, 1e6, true),
    )
    .addOption(
      new Option("--reasoning-field <name>", "where thinking stands in answers")
        .choices(["reasoning_content", "reasoning", "both"])
        .default("reasoning_content"),
    )
    .option("--chat-template <file>", "a Jinja template in place of the models' own")
    .option("--no-prefix-cache", "share nothing between requests")
    .option("--runs <folder>", "the training runs that the page shows", "runs")
    .option("--no-page", "serve the API alone")
    .option("--log-texts", "write prompts into the log")
    .option("--quiet", "no line for each request")
    .option("--limit <name=n>", `a limit of the server; may be repeated: ${Object.keys(limitTable).join(", ")}`, collectLimit, {});
  addSpeculationFlags(command, "lookup, where it pays");
  addDeviceFlags(command)
    .addHelpText(
      "after",
      `
Examples:
  $ gradually serve                                              the bundled model on http://127.0.0.1:8080/v1
  $ gradually serve hf:Qwen/Qwen3-0.6B small=./my-model          two models by name
  $ gradually serve ./my-model --host 0.0.0.0 --api-key "$KEY"   for other machines
  $ curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d '{"messages":[{"role":"user","content":"3 5 7=22"}]}'`,
    )
    .action(serve);
}

async function serve(references: readonly string[], flags: Flags): Promise<void> {
  const keys = keysOf(flags);
  refuseOpenDoor(flags, keys);
  limitYoungGeneration();
  const host = nodeHost();
  const models = await entriesOf(references, flags);
  const isLocal = isLoopback(flags.host);
  const page = flags.page ? await readPage() : undefined;
  if (flags.page && !page) note("note: the page is not built (npm run build makes it); the API works without it");
  const app = await makeApp({
    models,
    version: version(),
    keys,
    hosts: [...flags.allowedHost, ...(isLocal ? [] : [bracketed(flags.host)])],
    origins: flags.corsOrigin,
    limits: flags.limit,
    memoryBytes: (flags.memory ?? (0.7 * memoryLimit()) / 2 ** 30) * 2 ** 30,
    reasoningField: flags.reasoningField,
    sharePrefixes: flags.prefixCache,
    logTexts: flags.logTexts ?? false,
    now: host.now,
    ...(page && { page, runs: { files: host.files, path: flags.runs } }),
    ...(!flags.quiet && { log: note }),
  });
  const listener = await listen((request) => app.fetch(request), { host: flags.host, port: flags.port, limits: app.server.limits });
  const address = `http://${bracketed(flags.host)}:${listener.port}`;
  note(`loading ${models[0]?.name}`);
  const ended = untilSignal(app, listener);
  try {
    await app.start();
  } catch (error) {
    listener.destroy();
    throw error;
  }
  if (app.server.state === "ready") {
    note(`ready: ${address}/v1 (models: ${models.map(({ name }) => name).join(", ")})`);
    if (page) note(`page: ${address}`);
  }
  await ended;
}

/** Ends on SIGTERM, SIGINT or SIGHUP (the terminal was closed): what runs finishes within the grace time; a second signal ends it at once. */
function untilSignal(app: App, listener: Listener): Promise<void> {
  return new Promise((resolve) => {
    const ending = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
    let signals = 0;
    const onSignal = () => {
      if (++signals > 2) return;
      if (signals === 1)
        note(`ending: ${app.server.live.size} requests finish within ${app.server.limits.graceSeconds} s; a second signal ends them now`);
      void app.drain(signals === 1 ? undefined : 0).then(end);
    };
    let isEnding = false;
    const end = async () => {
      if (isEnding) return;
      isEnding = true;
      // The last bytes are still on their way to clients.
      await Promise.race([listener.close(), new Promise((next) => setTimeout(next, 500))]);
      for (const signal of ending) process.off(signal, onSignal);
      listener.destroy();
      await app.close();
      resolve();
    };
    for (const signal of ending) process.on(signal, onSignal);
  });
}

function keysOf({ apiKey }: Flags): readonly string[] {
  const fromEnvironment = process.env.GRADUALLY_API_KEY;
  const keys = apiKey.length > 0 ? apiKey : fromEnvironment ? [fromEnvironment] : [];
  for (const key of keys) {
    if (/^[\x21-\x7e]{1,512}$/.test(key)) continue;
    throw new ConfigError({
      operation: "serve: --api-key",
      got: "a key that no header can carry",
      expected: "1 to 512 plain characters without blanks",
      cure: "make one, e.g.: openssl rand -hex 24",
    });
  }
  return keys;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function refuseOpenDoor({ host }: Flags, keys: readonly string[]): void {
  if (isLoopback(host) || keys.length > 0) return;
  throw new ConfigError({
    operation: `serve: --host ${host}`,
    got: "an address that other machines reach, and no key",
    expected: "a key",
    cure: "add --api-key KEY, or leave out --host",
  });
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}

async function entriesOf(references: readonly string[], flags: Flags): Promise<ModelEntry[]> {
  const host = nodeHost();
  const chatTemplate = flags.chatTemplate === undefined ? undefined : await host.files.readText(flags.chatTemplate, 1_000_000);
  const speculation = speculationOf(flags);
  const options = {
    device: flags.device,
    threads: flags.threads,
    contextLength: flags.ctxSize,
    cacheType: flags.cacheType,
    parallel: flags.parallel,
    ...(speculation && { speculation }),
    chatTemplate,
    onWarning: (text: string) => note(`note: ${text}`),
    onNote: (text: string) => note(`note: ${text}`),
  };
  const entries: ModelEntry[] = [];
  for (const word of references.length > 0 ? references : [undefined]) {
    const [, name, named] = /^([A-Za-z0-9][\w./:-]{0,99})=(.+)$/.exec(word ?? "") ?? [];
    const reference = named ?? word;
    entries.push(await servedModel(host, reference, await findModel(host.files, reference), name, options));
  }
  checkNames(entries);
  return entries;
}

function collectLimit(text: string, before: Readonly<Partial<Limits>>): Partial<Limits> {
  const [, name, value] = /^(\w+)=(\d+)$/.exec(text) ?? [];
  if (name === undefined || !Object.hasOwn(limitTable, name))
    throw new InvalidArgumentError(`Expected NAME=NUMBER with one of ${Object.keys(limitTable).join(", ")}, got ${JSON.stringify(text)}.`);
  return { ...before, [name]: Number(value) };
}

function version(): string {
  return (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;
}
