// Llama (2, 3.x, and what shares its shape: R1's Llama distils). In: config.json. Out: the settings of decoder.ts. Options that published
// models use: explicit head_dim, tied head, biases of attention and feed-forward, Llama 3.1's rope scaling.

import { boolean, checkCommon, type RawConfig } from "./config.ts";
import { type DecoderConfig, decoderFamily, parseSizes, sharedWidth } from "./decoder.ts";

/** Defaults are those of the family's first configs, which left the keys out. Throws ConfigError naming the key. */
export function parseLlama(raw: RawConfig): DecoderConfig {
  checkCommon(raw);
  const attention_bias = boolean(raw, "attention_bias", false);
  return {
    ...parseSizes(raw, sharedWidth),
    qkv_bias: attention_bias,
    o_bias: attention_bias,
    mlp_bias: boolean(raw, "mlp_bias", false),
    qk_norm: false,
  };
}

export const llama = decoderFamily("llama", "LlamaForCausalLM", parseLlama);
