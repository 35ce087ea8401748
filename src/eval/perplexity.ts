// How well a model predicts a text, and how far its predictions are from another model's. In: a model and ids, whole or as documents. Out: perplexity with its
// standard error; with a base model also the mean Kullback-Leibler divergence KL(base || model) and how often both would choose the same
// token. The method is that of llama.cpp's perplexity tool: chunks of one length, of which the second half is scored, so that every scored token
// has a context.

import { RequestError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";
import { dispose, fromArray, scope } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";

export type Document = {
  readonly ids: readonly number[];
  /** Index of the first id that is scored, 1 or more. */
  readonly from: number;
};

export type Divergence = {
  /** Nats for a token. */
  readonly mean: number;
  /** The 99th percentile, and the largest. */
  readonly p99: number;
  readonly max: number;
  /** Share of tokens where both models find the same one likeliest. */
  readonly same_top: number;
};

export type Perplexity = {
  readonly perplexity: number;
  /** Of the perplexity: one standard error. */
  readonly error: number;
  /** Mean negative log-likelihood in nats. */
  readonly nll: number;
  /** Scored. */
  readonly tokens: number;
  readonly kl?: Divergence;
};

/** Chunks of `length` ids, each beginning with `bos` where one is given; the rest that fills none is left out. Throws RequestError when there is none. */
export function chunkText(ids: readonly number[], length: number, bos: number | undefined): Document[] {
  const count = Math.floor(ids.length / length);
  if (count === 0)
    throw new RequestError({
      operation: "perplexity",
      got: `a text of ${ids.length} tokens`,
      expected: `at least one chunk of ${length}`,
      cure: "give a longer text, or a smaller --chunk",
    });
  return Array.from({ length: count }, (_, i) => {
    const chunk = ids.slice(i * length, (i + 1) * length);
    return { ids: bos === undefined ? chunk : [bos, ...chunk.slice(1)], from: Math.floor(length / 2) + 1 };
  });
}

/** Log-probabilities are computed from f32 logits in double precision. Throws RequestError for ids or lengths that the model does not have. */
export async function perplexity(
  model: Model,
  documents: readonly Document[],
  options: { readonly base?: Model; readonly onProgress?: (done: number, total: number) => void } = {},
): Promise<Perplexity> {
  const { base, onProgress = () => {} } = options;
  if (base && base.vocabSize !== model.vocabSize) refuse(`a base with ${base.vocabSize} tokens`, `${model.vocabSize}, as the model has`);
  const losses: number[] = [];
  const divergences: number[] = [];
  let same = 0;
  for (const [i, document] of documents.entries()) {
    check(model, document);
    const own = await openRows(model, document);
    const other = base && (await openRows(base, document));
    for (let at = document.from; at < document.ids.length; at++) {
      const q = await own.next();
      losses.push(-(q[document.ids[at] as number] as number));
      if (!other) continue;
      const p = await other.next();
      divergences.push(divergence(p, q));
      if (largest(p) === largest(q)) same++;
    }
    own.close();
    other?.close();
    onProgress(i + 1, documents.length);
  }
  const tokens = losses.length;
  if (tokens === 0) refuse("no tokens to score", "documents of two tokens or more");
  const nll = mean(losses);
  const variance = losses.reduce((sum, loss) => sum + (loss - nll) ** 2, 0) / Math.max(1, tokens - 1);
  const result = { perplexity: Math.exp(nll), error: Math.exp(nll) * Math.sqrt(variance / tokens), nll, tokens };
  if (!base) return result;
  const sorted = divergences.toSorted((a, b) => a - b);
  const p99 = sorted[Math.min(tokens - 1, Math.floor(0.99 * tokens))] as number;
  return { ...result, kl: { mean: mean(divergences), p99, max: sorted[tokens - 1] as number, same_top: same / tokens } };
}

function refuse(got: string, expected: string): never {
  throw new RequestError({ operation: "perplexity", got, expected, cure: "use a text and a tokenizer of this model" });
}

function check(model: Model, { ids, from }: Document): void {
  if (ids.length > model.contextLength) refuse(`${ids.length} tokens in one piece`, `at most ${model.contextLength}, the context`);
  if (from < 1) refuse(`a score for token ${from}`, "tokens after the first");
  const outside = ids.find((id) => !(id >= 0 && id < model.vocabSize));
  if (outside !== undefined) refuse(`id ${outside}`, `ids from 0 to ${model.vocabSize - 1}`);
}

/** Numbers read from the device at a time. */
const readNumbers = 2 ** 22;

/** Log-probabilities [V] before each scored id, in order. */
async function openRows(model: Model, { ids, from }: Document): Promise<{ next(): Promise<Float64Array>; close(): void }> {
  const { device, vocabSize: V } = model;
  const inputs = ids.slice(0, -1);
  const make = (values: readonly number[]) => fromArray(device, values, [values.length], "i32");
  const count = ids.length - from;
  const logits =
    count <= 0
      ? undefined
      : noGradients(() =>
          scope(
            () =>
              model.forward({
                ids: make(inputs),
                positions: make(inputs.map((_, i) => i)),
                first: make(inputs.map(() => 0)),
                last: make(inputs.map((_, i) => i)),
                outputRows: make(Array.from({ length: count }, (_, i) => from - 1 + i)),
              }).logits,
          ),
        ); // [count, V]
  const step = Math.max(1, Math.floor(readNumbers / V));
  let block: ArrayLike<number> = [];
  let [row, start] = [0, 0];
  return {
    async next() {
      if (row % step === 0 && logits) {
        start = row;
        block = await device.read(logits.storage.buffer, logits.offset + row * V, Math.min(step, count - row) * V);
      }
      const values = new Float64Array(V);
      for (let id = 0; id < V; id++) values[id] = block[(row - start) * V + id] as number;
      row++;
      return logSoftmax(values);
    },
    close() {
      if (logits) dispose(logits);
    },
  };
}

function logSoftmax(values: Float64Array): Float64Array {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > most) most = value;
  let sum = 0;
  for (const value of values) sum += Math.exp(value - most);
  const shift = most + Math.log(sum);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) - shift;
  return values;
}

/** KL(p || q) of log-probabilities, in nats. */
function divergence(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const log = p[i] as number;
    if (log > -100) sum += Math.exp(log) * (log - (q[i] as number));
  }
  return Math.max(0, sum);
}

function largest(values: Float64Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
