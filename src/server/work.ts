// The computing of one request: a model on loan, a place in its line, the answers on their way. In: a call and its prepared prompts. Out: answers
// to iterate, and one way to end: whatever happens, model and place are given back once, the books get one outcome, the log one line.
// The client going away, the time-out and the server's end all abort the same signal.

import type { Call } from "./call.ts";
import { eventHeaders, eventStream, type Piece } from "./event-stream.ts";
import { type Batch, type Finish, Generation, type GenerationInput } from "./generation.ts";
import { brief, explain, Refusal, type WireError } from "./refusal.ts";
import { type Loan, type ServedModel, shuttingDown } from "./shelf.ts";

/** One answer, but for what every answer gets here. */
export type Prepared = Omit<GenerationInput, "signal" | "bufferBytes" | "now" | "pacer" | "renew" | "onToken">;

/** How a dialect writes an answer while it is made. */
export type Spelling = {
  /** What comes before anything is computed; "": nothing. */
  begin(): string;
  batch(index: number, batch: Batch): string;
  end(finishes: readonly Finish[]): string;
  /** An error inside the stream; nothing follows it. */
  failed(wire: WireError): string;
};

class Gone extends Error {}

export class Work {
  readonly model: ServedModel;
  readonly answers: readonly Generation[];
  readonly #call: Call;
  readonly #stop: AbortController;
  readonly #release: () => void;
  readonly #began: number;
  #isEnded = false;

  /** Throws Refusal (429, 404, 503, 400 for a structure) and what `prepare` throws; then nothing is held. */
  static async start(
    call: Call,
    name: string | null | undefined,
    prepare: (model: ServedModel) => readonly Prepared[] | Promise<readonly Prepared[]>,
  ): Promise<Work> {
    const { server, request } = call;
    const loan = await server.shelf.borrow(name, request.signal);
    let work: Work;
    try {
      call.note({ model: loan.model.name });
      work = new Work(call, loan, await prepare(loan.model));
    } catch (error) {
      loan.giveBack();
      throw error;
    }
    try {
      // Before a stream begins: its status can still say what is wrong.
      for (const { compiled } of work.answers) if (compiled) await compiled;
    } catch (error) {
      if (error instanceof Refusal) {
        await work.end(error);
        throw error;
      }
      // The answer itself tells, or is computed anew on another device.
    }
    return work;
  }

  private constructor(call: Call, loan: Loan, prepared: readonly Prepared[]) {
    const { server, request } = call;
    const { limits, metrics, now, tokenNow } = server;
    if (server.state === "draining") throw shuttingDown();
    const place = loan.model.admission.enter(prepared.length);
    this.#call = call;
    this.model = loan.model;
    this.#began = now();
    const stop = new AbortController();
    this.#stop = stop;
    const onAbort = () => this.abandon("the client went away");
    request.signal.addEventListener("abort", onAbort, { once: true });
    const timer = setTimeout(() => {
      const got = `a request that took more than ${limits.requestSeconds} s`;
      stop.abort(new Refusal(got, "a shorter one", "ask for fewer tokens", { status: 504, type: "server_error", code: "timeout" }));
    }, limits.requestSeconds * 1000);
    server.live.add(stop);
    this.#release = () => {
      clearTimeout(timer);
      request.signal.removeEventListener("abort", onAbort);
      server.live.delete(stop);
      place.leave();
      loan.giveBack();
    };
    if (request.signal.aborted) onAbort();
    const tokens = metrics.counter("generation_tokens_total");
    const intervals = metrics.histogram("inter_token_latency_seconds");
    this.answers = prepared.map(
      (input) =>
        new Generation(loan.model, {
          ...input,
          signal: stop.signal,
          bufferBytes: limits.streamBytes,
          now: tokenNow,
          pacer: server.pacer,
          renew: (broken) => server.shelf.renew(broken),
          onToken: (seconds, isFirst) => {
            tokens.value++;
            if (isFirst) metrics.observe("time_to_first_token_seconds", tokenNow() - this.#began);
            else intervals.observe(seconds);
          },
        }),
    );
  }

  /** The client went away: nothing more is computed. */
  abandon(why: string): void {
    this.#stop.abort(new Gone(why));
  }

  /** Batches of all answers, as they come. */
  batches(): AsyncIterable<{ readonly index: number; readonly batch: Batch }> {
    const [only] = this.answers;
    if (this.answers.length !== 1 || !only) return this.#mixed();
    const next = async () => {
      const batch = await only.next();
      return batch ? { done: false as const, value: { index: 0, batch } } : { done: true as const, value: undefined };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  async *#mixed(): AsyncGenerator<{ readonly index: number; readonly batch: Batch }> {
    const next = (answer: Generation, index: number) => {
      const coming = answer.next().then((batch) => ({ answer, index, batch }));
      coming.catch(() => {}); // between two reads nobody races it: a failure then is heard at the next
      return coming;
    };
    const pending = new Map(this.answers.map((answer, index) => [index, next(answer, index)]));
    while (pending.size > 0) {
      const { answer, index, batch } = await Promise.race(pending.values());
      if (!batch) pending.delete(index);
      else {
        pending.set(index, next(answer, index));
        yield { index, batch };
      }
    }
  }

  /** Waits for all answers, reading them. */
  async finishes(): Promise<Finish[]> {
    return await Promise.all(this.answers.map((answer) => answer.finish));
  }

  /** Books the outcome and gives everything back. Call it in the end, whatever happened. */
  async end(error?: unknown): Promise<WireError | undefined> {
    if (this.#isEnded) return undefined;
    this.#isEnded = true;
    const { server, account, note } = this.#call;
    if (error !== undefined) this.#stop.abort(error);
    const settled = await Promise.allSettled(this.answers.map((answer) => answer.finish));
    this.#release();
    const { metrics } = server;
    const finishes = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    metrics.observe("e2e_request_latency_seconds", server.now() - this.#began);
    const first = finishes[0];
    if (first) {
      metrics.add("prompt_tokens_total", first.promptTokens);
      metrics.add("prefix_cache_queries", first.promptTokens);
      metrics.add("prefix_cache_hits", first.cachedTokens);
      metrics.observe("request_prompt_tokens", first.promptTokens);
    }
    for (const { completionTokens, decodeSeconds } of finishes) {
      metrics.observe("request_generation_tokens", completionTokens);
      metrics.observe("request_decode_time_seconds", decodeSeconds);
    }
    const tokens = this.answers.reduce((sum, answer) => sum + answer.completionTokens, 0);
    note({ prompt_tokens: first?.promptTokens, cached_tokens: first?.cachedTokens, completion_tokens: tokens });
    if (error === undefined) {
      note({ finish: first?.reason });
      account?.settle("succeeded", first?.reason ?? "stop");
      return undefined;
    }
    return this.#fail(error);
  }

  #fail(error: unknown): WireError {
    const { account, note, id } = this.#call;
    const wire = explain(error, id);
    if (error instanceof Gone || wire.reason === "slow_reader") {
      note({ cancelled: error instanceof Error ? error.message : true });
      account?.settle("cancelled");
    } else {
      note({ error: brief(wire) });
      account?.settle(wire.isOurs || wire.status >= 500 ? "failed" : "rejected", wire.reason);
    }
    return wire;
  }

  /** The whole answers as one value. */
  async whole<T>(collect: (work: Work) => Promise<T>): Promise<T> {
    try {
      const value = await collect(this);
      await this.end();
      return value;
    } catch (error) {
      await this.end(error);
      throw error;
    }
  }

  /** A streamed answer. */
  stream(spelling: Spelling, options: { readonly headers?: Readonly<Record<string, string>>; readonly comment?: string } = {}): Response {
    const { server, id } = this.#call;
    const { limits } = server;
    const source = this.batches()[Symbol.asyncIterator]();
    let isBegun = false;
    const next = async (): Promise<Piece> => {
      try {
        const opening = isBegun ? "" : spelling.begin();
        isBegun = true;
        if (opening !== "") return { text: opening, isLast: false };
        const { done, value } = await source.next();
        if (!done) return { text: spelling.batch(value.index, value.batch), isLast: false };
        const text = spelling.end(await this.finishes());
        await this.end();
        return { text, isLast: true };
      } catch (error) {
        const wire = await this.end(error);
        // Of a whole answer the app says it, to which the error goes.
        if (wire?.isOurs) server.log("failure", { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
        return { text: wire && !(error instanceof Gone) ? spelling.failed(wire) : "", isLast: true };
      }
    };
    const body = eventStream(next, {
      keepAliveSeconds: limits.keepAliveSeconds,
      writeSeconds: limits.writeSeconds,
      ...(options.comment !== undefined && { comment: options.comment }),
      onGone: (reason) => {
        const gone = new Gone(reason.message);
        this.#stop.abort(gone);
        this.end(gone).catch(() => {});
      },
    });
    return new Response(body, { headers: options.headers ?? eventHeaders });
  }
}
