// A loaded model as the server's shelf wants it; for the servers of all hosts.

import type { ChatModel } from "../chat/model.ts";
import { openPlainChat } from "../chat/plain-chat.ts";
import type { LoadedModel } from "../server/shelf.ts";

/** `slots`: answers that the engine computes at once; `path` is for messages. */
export function shelved(model: ChatModel, path: string, slots: number): LoadedModel {
  const thinks = model.thinkTags !== undefined;
  return {
    engine: model.engine,
    tokenizer: model.tokenizer,
    chat: model.chat ?? openPlainChat(model.tokenizer, thinks, path),
    ...(model.thinkTags && { thinkTags: model.thinkTags }),
    isPlain: !model.hasTemplate && !thinks,
    isSolver: !model.hasTemplate && thinks,
    generationConfig: model.generationConfig,
    slots,
    constrain: (structure) => model.constrain(structure),
    close: () => model.close(),
  };
}
