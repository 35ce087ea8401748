// The load of server-load.ts without a server: the same requests of the bundled model straight to its engine, as many under way. Out: tokens per
// second, which is what the server is held against, and what each answer's length must be.

import { findModelPath } from "../../src/platform/find-model.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { servedModel } from "../../src/platform/served-models.ts";
import { prepareChat } from "../../src/server/chat-job.ts";
import { Shelf } from "../../src/server/shelf.ts";

export type EngineLoad = { readonly tok_s: number; readonly tokens: number; readonly lengths: readonly number[] };

/** `order`: indices of problems; problem i is drawn with seed i. */
export async function engineLoad(
  problems: readonly string[],
  order: readonly number[],
  { parallel, streams, maxTokens, threads }: { parallel: number; streams: number; maxTokens: number; threads?: number },
): Promise<EngineLoad> {
  const host = nodeHost();
  const path = await findModelPath(host.files, undefined, async (name) => name);
  const options = { parallel, ...(threads !== undefined && { threads }) };
  const entries = [await servedModel(host, undefined, path, undefined, options)];
  const shelf = new Shelf({ entries, memoryBytes: Number.POSITIVE_INFINITY, queue: 1, loadSeconds: 60, now: host.now });
  const { model } = await shelf.borrow(undefined);
  const prepare = async (content: string, seed: number) => {
    const [prepared] = await prepareChat(model, {
      n: 1,
      sampling: { temperature: 1, seed },
      stops: [],
      maxTokens,
      messagesField: "messages",
      messages: () => [{ role: "user", content }],
      tools: [],
      toolChoice: "auto",
      wish: {},
    });
    if (!prepared) throw new Error("nothing prepared");
    return prepared.request;
  };
  const requests = await Promise.all(problems.map(prepare));
  const lengths = problems.map(() => 0);
  let tokens = 0;
  const run = async (indices: readonly number[]) => {
    let next = 0;
    await Promise.all(
      Array.from({ length: streams }, async () => {
        while (next < indices.length) {
          const index = indices[next++] as number;
          let count = 0;
          const onToken = () => {
            count++;
          };
          const request = requests[index];
          if (request) await model.engine.submit(request, { onToken });
          tokens += count;
          lengths[index] = count;
        }
      }),
    );
  };
  await run(order.slice(0, 2 * streams)); // warm
  tokens = 0;
  const begun = host.now();
  await run(order);
  const seconds = host.now() - begun;
  await shelf.close();
  return { tok_s: Math.round(tokens / seconds), tokens, lengths };
}
