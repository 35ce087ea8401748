// What the page asks of a model, wherever it runs: behind `gradually serve`, or in this tab. In: a conversation and settings. Out: pieces of an
// answer as they come. The views know this interface and nothing of HTTP or workers.

export type Turn = { readonly role: "system" | "user" | "assistant"; readonly content: string };

/** Absent: as the model's own files say. */
export type Sampling = {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
};

export type Ask = {
  readonly model: string;
  readonly turns: readonly Turn[];
  readonly sampling: Sampling;
  /** The same seed gives the same answer, so an answer can be taken up again. */
  readonly seed: number;
  readonly maxTokens?: number;
  /** Tokens of thinking; 0: none; absent: no limit. */
  readonly budget?: number;
  /** So many ends of thinking are dropped and "Wait" put in their place. */
  readonly extend?: number;
  readonly signal: AbortSignal;
};

export type Usage = {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly thinkingTokens: number;
  readonly tokensPerSecond: number;
};

export type Piece =
  | { readonly kind: "reasoning" | "content"; readonly text: string }
  | { readonly kind: "end"; readonly reason: "stop" | "length"; readonly usage?: Usage };

export type ModelInfo = {
  readonly name: string;
  /** Absent until it is loaded. */
  readonly contextLength?: number;
  readonly thinks?: boolean;
  /** It solves problems such as "3 5 7=22" and knows no talk. */
  readonly solves?: boolean;
};

export interface Client {
  readonly place: "server" | "tab";
  models(): Promise<ModelInfo[]>;
  /** Ends with a piece of kind "end". Throws ClientError; what the signal stops throws its reason. */
  ask(ask: Ask): AsyncIterable<Piece>;
  /** Absent where there are no run folders. */
  readonly runs?: RunsClient;
}

export type RunLine = {
  readonly id: string;
  readonly name: string;
  readonly damaged: boolean;
  readonly stages: readonly string[];
  readonly step: number;
  readonly stage: number;
  readonly finished: boolean;
  readonly tokens: number | null;
  readonly seconds: number | null;
  readonly cost_usd: number | null;
  readonly has_report: boolean;
};

export type CostTable = {
  readonly hourly_usd: number;
  readonly tokens: number;
  readonly flop: number;
  readonly seconds: number;
  readonly cost_usd: number;
};

export type Run = RunLine & {
  readonly recipe: Readonly<Record<string, unknown>> | null;
  readonly cost: CostTable | null;
  readonly files: readonly string[];
};

export type LogName = "metrics" | "samples" | "timing";
export type LogPiece = { readonly from: number; readonly next: number; readonly size: number; readonly text: string };

export interface RunsClient {
  list(): Promise<{ readonly folder: string | null; readonly runs: readonly RunLine[]; readonly left_out: number }>;
  one(id: string): Promise<Run>;
  log(id: string, name: LogName, from: number, signal?: AbortSignal): Promise<LogPiece>;
  file(id: string, name: string): Promise<Blob>;
}

/** Something that a person can mend: `code` picks the page's own words, `detail` is the server's. */
export class ClientError extends Error {
  readonly code: "unreachable" | "key" | "busy" | "loading" | "refused" | "broken" | "memory";
  readonly detail: string;

  constructor(code: ClientError["code"], detail: string, options?: ErrorOptions) {
    super(`${code}: ${detail}`, options);
    this.name = "ClientError";
    this.code = code;
    this.detail = detail;
  }
}
