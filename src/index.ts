// The package's front door: what most programs need, `load` first. Subpaths (gradually/tensor, /models, /engine, /train, /formats, /text) give the rest.
// Inside code does not import it.

export { type DeviceOptions, openDevice } from "./backend/open.ts";
export { ChatModel, type ChatOptions, type Message, type RespondOptions } from "./chat/model.ts";
export { type Answer, ChatResponse, type Part, type Statistics } from "./chat/response.ts";
export { bestOf, majorityVote, meanLogprob } from "./chat/vote.ts";
export { ConfigError, DeviceError, FormatError, GraduallyError, RequestError, ShapeError } from "./core/errors.ts";
export { Random } from "./core/random.ts";
export { Engine } from "./engine/engine.ts";
export { Session } from "./engine/session.ts";
export { openHfFolder } from "./formats/hf-folder.ts";
export { loadModel } from "./models/load.ts";
export { type LoadOptions, load } from "./platform/load.ts";
export { nodeHost } from "./platform/node.ts";
export { loadTokenizer } from "./text/tokenizer.ts";
export { defineRecipe } from "./train/recipe.ts";
export { runRecipe } from "./train/run.ts";
