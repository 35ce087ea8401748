// The server as one function from Request to Response: hono behind the table of routes. It runs in Node behind a listener and in a browser as a
// service worker. In: models, keys, limits. Out: `fetch`, and the ways to begin and end. Each request passes, in this order: its Host, its
// key, the table, the server's state, its body, its schema; then its handler. Whatever is thrown becomes an error object.

import { Hono } from "hono";
import { quote } from "../core/errors.ts";
import { Account } from "./account.ts";
import { readJsonBody } from "./body.ts";
import { type AppRequest, newId, type ReasoningField, type Server } from "./call.ts";
import { oncePerTurn } from "./clock.ts";
import { type Caller, checkHost, checkKey, corsHeaders, makeGate, preflightHeaders } from "./guard.ts";
import { type Limits, makeLimits } from "./limits.ts";
import { type LogFields, logLine } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import { Pacer } from "./pacer.ts";
import type { PageFiles } from "./page.ts";
import { brief, type Dialect, errorBody, explain, Refusal } from "./refusal.ts";
import { type Route, routes } from "./routes.ts";
import type { RunsFolder } from "./runs.ts";
import { checkSizes, validate } from "./schema-parts.ts";
import { type ModelEntry, Shelf, shuttingDown } from "./shelf.ts";

export type AppOptions = {
  /** What is served; requests without a model get the first. */
  readonly models: readonly ModelEntry[];
  readonly version: string;
  /** None: nobody is asked for a key. */
  readonly keys?: readonly string[];
  /** Names beside localhost that requests may be addressed to. */
  readonly hosts?: readonly string[];
  /** Web origins that may read answers. */
  readonly origins?: readonly string[];
  readonly limits?: Partial<Limits>;
  /** Bytes that loaded models may take together; default: no limit. */
  readonly memoryBytes?: number;
  readonly reasoningField?: ReasoningField;
  readonly sharePrefixes?: boolean;
  readonly logTexts?: boolean;
  /** The page at /; without it there is none. */
  readonly page?: PageFiles;
  /** Where run folders lie, to be looked at. */
  readonly runs?: RunsFolder;
  readonly log?: (line: string) => void;
  /** Seconds, monotonic. */
  readonly now?: () => number;
};

export type App = {
  readonly server: Server;
  fetch(request: AppRequest): Promise<Response>;
  /** Loads the first model; until then generation is answered 503. */
  start(): Promise<void>;
  /** Refuses what comes, lets what runs finish, and after `graceSeconds` ends it with an error. Resolves when nothing runs. */
  drain(graceSeconds?: number): Promise<void>;
  /** Unloads the models. */
  close(): Promise<void>;
};

/** Throws ConfigError for limits out of range. */
export async function makeApp(options: AppOptions): Promise<App> {
  const limits = makeLimits(options.limits);
  const now = options.now ?? (() => performance.now() / 1000);
  const { log } = options;
  const server: Server = {
    version: options.version,
    shelf: new Shelf({
      entries: options.models,
      memoryBytes: options.memoryBytes ?? Number.POSITIVE_INFINITY,
      queue: limits.queue,
      loadSeconds: limits.loadSeconds,
      now,
    }),
    gate: await makeGate(options),
    limits,
    metrics: new Metrics(),
    pacer: new Pacer(limits.chunksPerSecond, now),
    now,
    tokenNow: oncePerTurn(now),
    reasoningField: options.reasoningField ?? "reasoning_content",
    sharePrefixes: options.sharePrefixes ?? true,
    logTexts: options.logTexts ?? false,
    page: options.page,
    runs: options.runs,
    log: log ? (event, fields) => log(logLine(event, fields)) : () => {},
    openApi: () => openApi(routes, options.version, limits),
    state: "starting",
    live: new Set(),
  };
  const hono = new Hono<{ Variables: Variables }>();
  const underWay = new Set<object>();
  const idle = new Set<() => void>();

  const record = (request: AppRequest, { id, fields, began }: Passed) => {
    if (!log) return;
    const { pathname } = new URL(request.url);
    server.log("request", { id, method: request.method, path: pathname.slice(0, 200), ...fields, seconds: now() - began });
  };

  hono.use("*", async (c, next) => {
    const request: AppRequest = c.req.raw;
    const passed: Passed = { id: newId("req-"), fields: {}, began: now(), caller: { salt: "" } };
    c.set("passed", passed);
    checkHost(request, server.gate);
    if (request.method === "OPTIONS" && request.headers.has("access-control-request-method")) {
      const cors = corsHeaders(request, server.gate);
      return new Response(null, { status: 204, headers: "access-control-allow-origin" in cors ? { ...cors, ...preflightHeaders } : cors });
    }
    const route = findRoute(c.req.method, c.req.path);
    if (route?.access !== "public") passed.caller = await checkKey(request, server.gate, route?.keyHeader);
    await next();
  });

  for (const route of routes) {
    hono.on(route.method, route.path, async (c) => {
      const passed = c.get("passed");
      const { id, fields, caller } = passed;
      const request: AppRequest = c.req.raw;
      const settled = () => {
        underWay.delete(passed);
        record(request, passed);
        if (underWay.size === 0) for (const wake of idle) wake();
      };
      const account = route.generates ? new Account(server.metrics, settled) : undefined;
      if (account) underWay.add(passed);
      try {
        if (route.generates) checkState(server);
        const body = route.body && (await readBody(request, route.body, limits, route.dialect));
        if (server.logTexts && body !== undefined) fields.body = JSON.stringify(body);
        const note = (more: LogFields) => Object.assign(fields, more);
        const response = await route.handle({
          server,
          request,
          body,
          params: c.req.param(),
          id,
          dialect: route.dialect,
          caller,
          account,
          note,
        });
        response.headers.set("x-request-id", id);
        return response;
      } catch (error) {
        if (account && !account.isSettled) {
          const wire = explain(error, id);
          Object.assign(fields, { status: wire.status, error: brief(wire) });
          account.settle(request.signal.aborted ? "cancelled" : wire.isOurs ? "failed" : "rejected", wire.reason);
        }
        throw error;
      }
    });
  }

  hono.notFound((c) => {
    const others = routes.filter(({ path }) => matches(path, c.req.path)).map(({ method }) => method);
    throw others.length > 0
      ? new Refusal(`the method ${quote(c.req.method, 20)}`, others.join(" or "), "use that", {
          status: 405,
          headers: { allow: others.join(", ") },
        })
      : new Refusal("a path that is not there", "one of the paths of /openapi.json", "check the address", {
          status: 404,
          code: "not_found",
        });
  });

  hono.onError((error, c) => {
    const passed = c.get("passed");
    const wire = explain(error, passed.id);
    const route = findRoute(c.req.method, c.req.path);
    if (wire.isOurs) server.log("failure", { id: passed.id, error: error.stack ?? error.message });
    if (!route?.generates || passed.fields.error === undefined) {
      Object.assign(passed.fields, { status: wire.status, error: brief(wire) });
      record(c.req.raw, passed);
    }
    return Response.json(errorBody(wire, route?.dialect ?? dialectOf(c.req.path)), {
      status: wire.status,
      headers: { ...wire.headers, "x-request-id": passed.id },
    });
  });

  return {
    server,
    async fetch(request) {
      // hono itself looks at the method and the address alone.
      const response = await hono.fetch(request as Request);
      for (const [name, value] of Object.entries(corsHeaders(request, server.gate))) response.headers.set(name, value);
      response.headers.set("x-content-type-options", "nosniff");
      return response;
    },
    async start() {
      await server.shelf.warm();
      if (server.state === "starting") server.state = "ready";
    },
    async drain(graceSeconds = limits.graceSeconds) {
      server.state = "draining";
      if (underWay.size === 0) return;
      const timer = setTimeout(() => {
        for (const stop of server.live) stop.abort(shuttingDown());
      }, graceSeconds * 1000);
      await new Promise<void>((resolve) => idle.add(resolve));
      clearTimeout(timer);
    },
    async close() {
      server.state = "draining";
      for (const stop of server.live) stop.abort(shuttingDown());
      await server.shelf.close();
    },
  };
}

/** What a request carries on its way through. */
type Passed = { readonly id: string; readonly fields: Record<string, LogFields[string]>; readonly began: number; caller: Caller };
type Variables = { passed: Passed };

function checkState(server: Server): void {
  if (server.state === "draining") throw shuttingDown();
  if (server.state === "ready") return;
  throw new Refusal("a request while the first model is being loaded", "a server that is ready", "try again soon; /ready tells", {
    status: 503,
    code: "model_loading",
    reason: "loading",
    headers: { "retry-after": "2" },
  });
}

async function readBody(request: AppRequest, schema: NonNullable<Route["body"]>, limits: Limits, dialect: Dialect): Promise<unknown> {
  const json = await readJsonBody(request, limits, dialect === "ollama");
  checkSizes(json, limits);
  return validate(schema, json);
}

function findRoute(method: string, path: string): Route | undefined {
  const asked = method === "HEAD" ? "GET" : method;
  return routes.find((route) => route.method === asked && matches(route.path, path));
}

/** Of a path that is not there: that of its neighbours. */
function dialectOf(path: string): Dialect {
  if (path.startsWith("/api/")) return "ollama";
  return path.startsWith("/v1/messages") ? "anthropic" : "openai";
}

function matches(pattern: string, path: string): boolean {
  return patterns.get(pattern)?.test(path) ?? false;
}

const patterns: ReadonlyMap<string, RegExp> = new Map(routes.map(({ path }) => [path, patternOf(path)]));

function patternOf(path: string): RegExp {
  const source = path.replace(/[.+]/g, "\\$&").replace(/:\w+(\{\\\.\\\+\})?/g, (_, rest?: string) => (rest === undefined ? "[^/]+" : ".+"));
  return new RegExp(`^${source}$`);
}
