// Refusals of the server and their shape on the wire. In: what was thrown. Out: a status and an error object as OpenAI, Anthropic or Ollama
// has it. Messages of errors that are nobody's fault but ours are not sent: they go to the log, the client gets a request id.

import { ConfigError, FormatError, GraduallyError, RequestError, ShapeError } from "../core/errors.ts";

export type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "not_found_error"
  | "rate_limit_error"
  | "overloaded_error"
  | "server_error";

export type RefusalOptions = {
  readonly status: number;
  readonly type?: ErrorType;
  readonly code?: string;
  /** The field of the request, e.g. `messages[0].content`. */
  readonly param?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The label in `requests_rejected_total`. */
  readonly reason?: string;
};

/** A RequestError that knows its status. */
export class Refusal extends RequestError {
  readonly options: RefusalOptions;

  constructor(got: string, expected: string, cure: string, options: RefusalOptions) {
    super({ operation: options.param === undefined ? "request" : `request: ${options.param}`, got, expected, cure });
    this.options = options;
  }
}

/** 400 with the field named. */
export function badField(param: string, got: string, expected: string, cure = `change ${param}`): Refusal {
  return new Refusal(got, expected, cure, { status: 400, param });
}

export type WireError = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly error: { readonly message: string; readonly type: ErrorType; readonly param: string | null; readonly code: string | null };
  readonly reason: string;
  /** Ours, not the client's: worth a line with the whole message in the log. */
  readonly isOurs: boolean;
};

const typeOf: Readonly<Record<number, ErrorType>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  429: "rate_limit_error",
  503: "overloaded_error",
};

/** What a thrown value means to a client. */
export function explain(thrown: unknown, requestId: string): WireError {
  if (thrown instanceof Refusal) {
    const { status, type, code, param, headers, reason } = thrown.options;
    return {
      status,
      headers: headers ?? {},
      error: {
        message: thrown.message,
        type: type ?? typeOf[status] ?? (status >= 500 ? "server_error" : "invalid_request_error"),
        param: param ?? null,
        code: code ?? null,
      },
      reason: reason ?? (status >= 500 ? "server" : "invalid"),
      isOurs: false,
    };
  }
  // Templates, tokenizers and the engine's door refuse what a client sent.
  if (thrown instanceof RequestError) {
    const param = paramOf(thrown);
    return {
      status: 400,
      headers: {},
      error: { message: thrown.message, type: "invalid_request_error", param, code: null },
      reason: "invalid",
      isOurs: false,
    };
  }
  const known = thrown instanceof GraduallyError && !(thrown instanceof ShapeError);
  const isConfig = thrown instanceof ConfigError || thrown instanceof FormatError;
  return {
    status: isConfig ? 503 : 500,
    headers: isConfig ? { "retry-after": "30" } : {},
    error: {
      message: known
        ? `request ${requestId}: ${thrown.complaint.got}; ${thrown.complaint.cure}`
        : `request ${requestId} failed inside the server; its log says why`,
      type: "server_error",
      param: null,
      code: null,
    },
    reason: "server",
    isOurs: true,
  };
}

const engineFields: Readonly<Record<string, string>> = {
  ids: "messages",
  maxTokens: "max_tokens",
  logitBias: "logit_bias",
  topLogprobs: "top_logprobs",
  temperature: "temperature",
  topP: "top_p",
  topK: "top_k",
  minP: "min_p",
  seed: "seed",
};

function paramOf({ complaint }: RequestError): string | null {
  const name = /^generate: (\w+)/.exec(complaint.operation)?.[1];
  if (name !== undefined) return engineFields[name] ?? null;
  return /chat template|messages/.test(complaint.operation) ? "messages" : null;
}

/** For the log: what was wrong, without the words of the message, which may be the client's. */
export function brief({ status, error, reason }: WireError): string {
  return `${status} ${error.code ?? reason}${error.param === null ? "" : ` ${error.param.slice(0, 60)}`}`;
}

export type Dialect = "openai" | "anthropic" | "ollama";

/** The error as the body of an answer in one of the three dialects. */
export function errorBody({ error }: WireError, dialect: Dialect): unknown {
  if (dialect === "ollama") return { error: error.message };
  if (dialect === "anthropic") {
    const type = error.type === "server_error" ? "api_error" : error.type;
    // Its clients look here for what they can mend by themselves.
    const details = error.code === null ? {} : { details: { error_code: error.code } };
    return { type: "error", error: { ...error, type, ...details } };
  }
  return { error };
}
