// A loaded model as the server's shelf wants it; for the servers of all hosts.

import type { ChatModel } from "../chat/model.ts";
import type { LoadedModel } from "../server/shelf.ts";

/** `slots`: answers that the engine computes at once. */
export async function shelved(model: ChatModel, slots: number): Promise<LoadedModel> {
  const thinks = model.thinkTags !== undefined;
  return {
    engine: model.engine,
    tokenizer: model.tokenizer,
    chat: await model.openChat(),
    ...(model.thinkTags && { thinkTags: model.thinkTags }),
    isPlain: !model.hasTemplate && !thinks,
    isSolver: !model.hasTemplate && thinks,
    generationConfig: model.generationConfig,
    slots,
    constrain: (structure) => model.constrain(structure),
    close: () => model.close(),
  };
}
