// What load.ts and describe.ts need of a model family: a plan made from config.json before anything is allocated. The families
// are in llama.ts, qwen.ts and deepseek.ts; adding one means one file and one line in load.ts.

import type { Device } from "../backend/backend.ts";
import type { Shape } from "../core/shape.ts";
import type { RawConfig } from "./config.ts";
import type { Model } from "./model.ts";
import type { WeightEntry, WeightStorage, Weights } from "./weights.ts";

export type ModelOptions = {
  /** How weights lie in memory, see weights.ts. Default "f32". */
  readonly weights?: WeightStorage;
  /** Positions to make room for, 1 to max_position_embeddings (the default): rotary tables and caches shrink with it. */
  readonly contextLength?: number;
  /** DeepSeek's gate: the value of experts in dropped groups. -Infinity (default) as DeepSeek and transformers 5; 0 as transformers 4. */
  readonly maskedGroupScore?: 0 | typeof Number.NEGATIVE_INFINITY;
};

/** nextHead: the layer of multi-token prediction alone; total includes it, active does not. */
export type ParameterCount = { readonly total: number; readonly active: number; readonly nextHead: number };

/** What a token leaves behind: in each of `layers` layers one row of each shape. */
export type CacheShape = { readonly layers: number; readonly rowShapes: readonly Shape[] };

export type Plan = {
  readonly entries: readonly WeightEntry[];
  readonly parameterCount: ParameterCount;
  /** Of a plain makeCache. */
  readonly cacheShape: CacheShape;
  readonly vocabSize: number;
  /** As the options say, or max_position_embeddings. */
  readonly contextLength: number;
  /** Standard deviation of new weights. */
  readonly initializerRange: number;
  build(device: Device, weights: Weights): Model;
};

export type Family = {
  /** As in config.json. */
  readonly modelType: string;
  /** As in config.json's `architectures`. */
  readonly architecture: string;
  /** Checks the config. `names` are the tensors of the file; without them the model is new and has all that the config asks for. */
  plan(raw: RawConfig, options: ModelOptions, names?: ReadonlySet<string>): Plan;
};
