// The table of routes: what there is, who may call it, what its body must be. What is not in the table does not exist, and what is not marked
// public needs the key. app.ts, the OpenAPI document and the tests walk this one table.

import type { z } from "zod";
import { countRequest, countTokens, messages, messagesRequest } from "./anthropic.ts";
import type { Call } from "./call.ts";
import {
  ollamaChat,
  ollamaChatRequest,
  ollamaGenerate,
  ollamaGenerateRequest,
  ollamaRunning,
  ollamaShow,
  ollamaShowRequest,
  ollamaTags,
  ollamaVersion,
} from "./ollama.ts";
import { chatCompletions } from "./openai-chat.ts";
import { completions } from "./openai-completions.ts";
import { responses, responsesRequest } from "./openai-responses.ts";
import { assetFile, indexPage } from "./page.ts";
import { health, listModels, metricsPage, oneModel, openApiPage, ready } from "./pages.ts";
import type { Dialect } from "./refusal.ts";
import { listRuns, oneRun, runFile, runLog } from "./runs.ts";
import { chatRequest, completionRequest, detokenizeRequest, tokenizeRequest } from "./schemas.ts";
import { detokenize, tokenize } from "./tokens.ts";

export type Route = {
  readonly method: "GET" | "POST";
  /** hono's form: `:name` is one segment. */
  readonly path: string;
  readonly access: "public" | "key";
  readonly summary: string;
  readonly dialect: Dialect;
  /** The header that may hold the key beside Authorization. */
  readonly keyHeader?: string;
  /** Absent: the route has no body. */
  readonly body?: z.ZodType;
  /** Whether it computes answers: it is counted, and refused while the server starts or ends. */
  readonly generates: boolean;
  readonly handle: (call: Call) => Response | Promise<Response>;
};

type Options = Partial<Pick<Route, "access" | "dialect" | "keyHeader" | "generates">>;

function get(path: string, summary: string, handle: Route["handle"], options: Options = {}): Route {
  return { method: "GET", path, access: "key", dialect: "openai", generates: false, summary, handle, ...options };
}

/** The body is what the schema makes of it, so the handler may rely on its type. */
function post<S extends z.ZodType>(
  path: string,
  summary: string,
  body: S,
  handle: (call: Call<z.output<S>>) => Promise<Response>,
  options: Options = {},
): Route {
  return {
    method: "POST",
    path,
    access: "key",
    dialect: "openai",
    generates: true,
    summary,
    body,
    handle: handle as Route["handle"],
    ...options,
  };
}

const anthropic: Options = { dialect: "anthropic", keyHeader: "x-api-key" };
const ollama: Options = { dialect: "ollama" };

export const routes: readonly Route[] = [
  get("/", "The page.", indexPage, { access: "public" }),
  get("/assets/:file", "Scripts and styles of the page.", assetFile, { access: "public" }),
  get("/health", "Whether the process is alive.", health, { access: "public" }),
  get("/ready", "Whether it takes requests: 503 while it starts or ends.", ready, { access: "public" }),
  get("/metrics", "Numbers for Prometheus.", metricsPage),
  get("/openapi.json", "This document.", openApiPage),
  get("/v1/models", "The models that are served.", listModels),
  get("/v1/models/:model{.+}", "One model.", oneModel),
  post("/v1/chat/completions", "Answer a conversation.", chatRequest, chatCompletions),
  post("/v1/completions", "Continue a text.", completionRequest, completions),
  post("/v1/responses", "Answer, in OpenAI's newer form: text, reasoning, functions.", responsesRequest, responses),
  post("/tokenize", "Turn text into ids.", tokenizeRequest, tokenize, { generates: false }),
  post("/detokenize", "Turn ids into text.", detokenizeRequest, detokenize, { generates: false }),
  post("/v1/messages", "Answer, as Anthropic's API does.", messagesRequest, messages, anthropic),
  post("/v1/messages/count_tokens", "Count the tokens of a conversation.", countRequest, countTokens, { ...anthropic, generates: false }),
  post("/api/chat", "Answer, as Ollama does.", ollamaChatRequest, ollamaChat, ollama),
  post("/api/generate", "Continue a text, as Ollama does.", ollamaGenerateRequest, ollamaGenerate, ollama),
  post("/api/show", "About one model.", ollamaShowRequest, ollamaShow, { ...ollama, generates: false }),
  get("/runs", "The training runs of the runs' folder.", listRuns),
  get("/runs/:run", "One run: recipe, results, cost.", oneRun),
  get("/runs/:run/logs/:log", "Lines of a log from ?from=BYTES on.", runLog),
  get("/runs/:run/files/:file", "The report, its plots, the recipe.", runFile),
  get("/api/tags", "The models that are served.", ollamaTags, ollama),
  get("/api/ps", "The models in memory.", ollamaRunning, ollama),
  get("/api/version", "The server's version.", ollamaVersion, ollama),
];
