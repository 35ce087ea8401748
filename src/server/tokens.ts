// POST /tokenize and /detokenize, in the words of vLLM and llama.cpp at once. In: text or messages; ids. Out: ids; text.

import type { z } from "zod";
import type { Call } from "./call.ts";
import { readConversation } from "./conversation.ts";
import { badField } from "./refusal.ts";
import type { detokenizeRequest, tokenizeRequest } from "./schemas.ts";
import type { ServedModel } from "./shelf.ts";
import { checkTexts } from "./text-size.ts";
import { readThinking, switchesOf } from "./thinking.ts";

export async function tokenize(call: Call<z.output<typeof tokenizeRequest>>): Promise<Response> {
  const { body, server, request } = call;
  const loan = await server.shelf.borrow(body.model, request.signal);
  try {
    const ids = await idsOf(call, loan.model);
    const { tokenizer, engine } = loan.model;
    const tokens = body.with_pieces ? ids.map((id) => ({ id, piece: tokenizer.decode([id]) })) : ids;
    return Response.json({ tokens, count: ids.length, max_model_len: engine.contextLength });
  } finally {
    loan.giveBack();
  }
}

async function idsOf({ body, server }: Call<z.output<typeof tokenizeRequest>>, model: ServedModel): Promise<number[]> {
  if (body.messages) {
    const messages = readConversation(body.messages, model.chat.toolStyle, server.limits);
    const switches = switchesOf(readThinking(body), body.chat_template_kwargs);
    return model.chat.prompt({ messages, switches }).ids;
  }
  const text = body.content ?? body.prompt;
  if (text === null || text === undefined) throw badField("prompt", "nothing", "prompt, content or messages", "send a text");
  await checkTexts([text], model, body.content === null || body.content === undefined ? "prompt" : "content");
  // vLLM adds special tokens unless told otherwise, llama.cpp (`content`) only when told.
  const isLlama = typeof body.content === "string";
  return model.tokenizer.encode(text, { addSpecialTokens: body.add_special_tokens ?? body.add_special ?? !isLlama });
}

export async function detokenize(call: Call<z.output<typeof detokenizeRequest>>): Promise<Response> {
  const { body, server, request } = call;
  const loan = await server.shelf.borrow(body.model, request.signal);
  try {
    const { tokenizer, engine } = loan.model;
    const { vocabSize } = engine.model;
    if (body.tokens.length > server.limits.promptIds)
      throw badField("tokens", `${body.tokens.length} ids`, `at most ${server.limits.promptIds}`, "send fewer");
    const wrong = body.tokens.find((id) => id < 0 || id >= vocabSize);
    if (wrong !== undefined) throw badField("tokens", `the id ${wrong}`, `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
    const text = tokenizer.decode(body.tokens);
    return Response.json({ prompt: text, content: text });
  } finally {
    loan.giveBack();
  }
}
