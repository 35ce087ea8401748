// POST /v1/completions: text in, text on. In: OpenAI's older request; a prompt is text, ids, or several of them. Out: choices, prompt by prompt; what
// is thinking or a tool call is not told apart. `echo` puts the prompt before the answer.

import { type Call, newId, unixTime } from "./call.ts";
import { prepareText } from "./chat-job.ts";
import { event } from "./event-stream.ts";
import type { TokenLogprob } from "./generation.ts";
import { failure, readOptions } from "./openai-chat.ts";
import { badField } from "./refusal.ts";
import type { CompletionRequest } from "./schemas.ts";
import type { ServedModel } from "./shelf.ts";
import { checkTexts } from "./text-size.ts";
import { timings, usage } from "./usage.ts";
import { type Spelling, Work } from "./work.ts";

type Prompt = { readonly ids: readonly number[]; readonly text: string };

export async function completions(call: Call<CompletionRequest>): Promise<Response> {
  const { body, server } = call;
  checkTogether(body);
  let prompts: Prompt[] = [];
  const work = await Work.start(call, body.model, async (model) => {
    prompts = await readPrompts(body, model, server.limits.prompts);
    const n = body.n ?? 1;
    if (prompts.length * n > server.limits.sequences)
      throw badField("n", `${prompts.length} prompts times n = ${n}`, `at most ${server.limits.sequences}`, "send fewer");
    const options = {
      ...readOptions(call, body, model),
      maxTokens: body.max_tokens ?? 16,
      ...(typeof body.logprobs === "number" && { logprobs: true, topLogprobs: body.logprobs }),
    };
    return prompts.flatMap(({ ids }) => prepareText(model, ids, options));
  });
  const n = body.n ?? 1;
  const echoOf = (index: number) => (body.echo ? (prompts[Math.floor(index / n)]?.text ?? "") : "");
  const head = { id: newId("cmpl-"), object: "text_completion", created: unixTime(), model: work.model.name };
  if (body.stream) return work.stream(chunks(work, body, head, echoOf, prompts.length), { comment: ": keep-alive\n\n" });
  const whole = await work.whole(async () => {
    const texts = work.answers.map((_, index) => echoOf(index));
    const logprobs = work.answers.map((_, index) => new Logprobs(echoOf(index).length));
    for await (const { index, batch } of work.batches()) {
      for (const delta of batch.deltas) if (delta.kind === "content") texts[index] += delta.text;
      logprobs[index]?.add(batch.logprobs);
    }
    const finishes = await work.finishes();
    const choices = finishes.map(({ reason }, index) => ({
      index,
      text: texts[index] as string,
      logprobs: typeof body.logprobs === "number" ? (logprobs[index] as Logprobs).take() : null,
      finish_reason: reason,
    }));
    return { ...head, choices, usage: usage(finishes, prompts.length), timings: timings(finishes) };
  });
  return Response.json(whole);
}

function checkTogether(body: CompletionRequest): void {
  if (body.stream_options && !body.stream)
    throw badField("stream_options", "stream_options without stream", "stream: true", "leave it out");
  if (body.suffix) throw badField("suffix", "a suffix", "none: this server only continues texts", "leave it out");
  const { best_of: best } = body;
  if (typeof best === "number" && best !== (body.n ?? 1)) throw badField("best_of", String(best), "the same as n", "leave it out");
}

async function readPrompts(
  { prompt, add_special_tokens: special }: CompletionRequest,
  model: ServedModel,
  most: number,
): Promise<Prompt[]> {
  const isList = Array.isArray(prompt) && typeof prompt[0] !== "number";
  const list: readonly (string | readonly number[])[] = isList ? (prompt as (string | number[])[]) : [prompt as string | number[]];
  if (list.length > most) throw badField("prompt", `${list.length} prompts`, `at most ${most}`, "send fewer");
  const fieldOf = (i: number) => (isList ? `prompt[${i}]` : "prompt");
  for (const [i, one] of list.entries()) if (typeof one === "string") await checkTexts([one], model, fieldOf(i));
  return list.map((one, i) => {
    const field = fieldOf(i);
    if (typeof one === "string") {
      return { text: one, ids: model.tokenizer.encode(one, { addSpecialTokens: special ?? true }) };
    }
    const { vocabSize } = model.engine.model;
    if (one.length < model.engine.contextLength) {
      const wrong = one.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= vocabSize);
      if (wrong !== undefined) throw badField(field, `the id ${wrong}`, `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
    }
    return { text: one.length < model.engine.contextLength ? model.tokenizer.decode(one, { skipSpecialTokens: true }) : "", ids: one };
  });
}

function chunks(work: Work, body: CompletionRequest, head: object, echoOf: (index: number) => string, prompts: number): Spelling {
  const withUsage = body.stream_options?.include_usage === true;
  const chunk = (index: number, text: string, logprobs: object | null = null, finish: string | null = null, more: object = {}) =>
    event({ ...head, choices: [{ index, text, logprobs, finish_reason: finish }], ...(withUsage && { usage: null }), ...more });
  const logprobs = work.answers.map((_, index) => new Logprobs(echoOf(index).length));
  return {
    begin: () => (body.echo ? work.answers.map((_, index) => chunk(index, echoOf(index))).join("") : ""),
    batch(index, batch) {
      let text = "";
      for (const delta of batch.deltas) if (delta.kind === "content") text += delta.text;
      const noted = logprobs[index] as Logprobs;
      noted.add(batch.logprobs);
      return chunk(index, text, typeof body.logprobs === "number" ? noted.take() : null);
    },
    end(finishes) {
      let text = "";
      for (const [index, { reason }] of finishes.entries()) {
        text += chunk(index, "", null, reason, index === finishes.length - 1 ? { timings: timings(finishes) } : {});
      }
      if (withUsage) text += event({ ...head, choices: [], usage: usage(finishes, prompts) });
      return `${text}data: [DONE]\n\n`;
    },
    failed: failure,
  };
}

/** Log-probabilities in the lists of this older API; offsets count characters of the text, prompt included. */
class Logprobs {
  #tokens: TokenLogprob[] = [];
  #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
  }

  add(tokens: readonly TokenLogprob[]): void {
    this.#tokens.push(...tokens);
  }

  /** What was added since last time. */
  take(): object {
    const tokens = this.#tokens;
    this.#tokens = [];
    return {
      tokens: tokens.map(({ token }) => token),
      token_logprobs: tokens.map(({ logprob }) => logprob),
      top_logprobs: tokens.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
      text_offset: tokens.map(({ token }) => {
        const at = this.#offset;
        this.#offset += token.length;
        return at;
      }),
    };
  }
}
