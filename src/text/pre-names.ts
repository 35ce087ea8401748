// The names that GGUF gives to pre-tokenizers (`tokenizer.ggml.pre`). Names and patterns are llama.cpp's (src/llama-vocab.cpp), but
// where llama.cpp has rewritten a pattern for its own engine, the one of the model's tokenizer.json stands here. In: a name, or
// the `pre_tokenizer` of a tokenizer.json. Out: the other.

import type { JsonValue } from "../core/json.ts";
import { gpt2Pattern, readSteps } from "./pre-tokenizer.ts";

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const llama3 = (word: string, digits: string, signs: string) => `${contractions}|${word}|${digits}| ?${signs}+[\\r\\n]*|${spaces}`;
const word = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const signs = "[^\\s\\p{L}\\p{N}]";
const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const capitalised = (after: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+${after}|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*${after}|${digits}| ?${signs}+[\\r\\n/]*|${spaces}`;
const asciiSigns = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]";
/** Letters of alphabets with two cases, as code points: editors like to turn U+212A into a K. */
const casedLetters = [
  "[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377",
  "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556",
  "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15",
  "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe",
  "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113",
  "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184",
  "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e",
  "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}",
  "\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]",
].join("");
const cjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";

type Pre = {
  /** The first one is written. */
  readonly names: readonly string[];
  readonly patterns: readonly string[];
  readonly ignoreMerges?: boolean;
  /** Whether the beginning-of-text token is added where the file does not say. */
  readonly addBos?: boolean;
  readonly nfc?: boolean;
};

const table: readonly Pre[] = [
  {
    names: ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
    patterns: [llama3(word, "\\p{N}{1,3}", signs)],
    ignoreMerges: true,
    addBos: true,
  },
  { names: ["dbrx", "smaug-bpe"], patterns: [llama3(word, "\\p{N}{1,3}", signs)] },
  // deepseek-r1-qwen: the distilled models keep Qwen's pre-tokenizer. Qwen normalises; llama.cpp leaves that out.
  { names: ["qwen2", "deepseek-r1-qwen", "megrez", "kormo"], patterns: [llama3(word, "\\p{N}", signs)], nfc: true },
  { names: ["stablelm2", "hunyuan", "grok-2"], patterns: [llama3(word, "\\p{N}", signs)] },
  {
    names: ["qwen35"],
    patterns: [llama3("[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+", "\\p{N}", "[^\\s\\p{L}\\p{M}\\p{N}]")],
    nfc: true,
  },
  {
    names: ["deepseek-llm"],
    patterns: [
      "[\\r\\n]",
      `\\s?${casedLetters}+`,
      "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
      "\\s+$",
      cjk,
      "\\p{N}",
    ],
  },
  { names: ["deepseek-coder"], patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", cjk, "\\p{N}"] },
  {
    names: ["deepseek-v3", "hunyuan-dense"],
    patterns: [
      "\\p{N}{1,3}",
      "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      `${asciiSigns}[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`,
    ],
  },
  { names: ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"], patterns: ["\\p{N}", gpt2Pattern] },
  {
    names: [
      "gpt-2",
      "phi-2",
      "mpt",
      "olmo",
      "jais",
      "trillion",
      "exaone4",
      "jina-es",
      "jina-de",
      "gigachat",
      "jina-v2-es",
      "jina-v2-de",
      "a.x-4.0",
      "mellum",
    ],
    patterns: [gpt2Pattern],
  },
  { names: ["tekken"], patterns: [capitalised("", "\\p{N}")], ignoreMerges: true, addBos: true },
  { names: ["gpt-4o", "llama4", "minimax-m2"], patterns: [capitalised(`${contractions}?`, "\\p{N}{1,3}")] },
  {
    names: ["default"],
    patterns: ["[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2Pattern.replace(/\|\\s\+$/, ""), "\\p{N}+", "[0-9][0-9][0-9]"],
  },
];

export type PreTokenizer = Required<Pick<Pre, "ignoreMerges" | "addBos" | "nfc">> & { readonly preTokenizer: JsonValue };

/** Undefined for a name that is not in the table. */
export function preTokenizerOf(name: string): PreTokenizer | undefined {
  const pre = table.find(({ names }) => names.includes(name));
  if (!pre) return undefined;
  const { ignoreMerges = false, addBos = false, nfc = false } = pre;
  const splits = pre.patterns.map((pattern) => ({ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }));
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { ignoreMerges, addBos, nfc, preTokenizer: { type: "Sequence", pretokenizers: [...splits, bytes] } };
}

/** The name of these steps, or undefined; of several names the one that ignores merges as the model does. */
export function preNameOf(preTokenizer: JsonValue, ignoreMerges: boolean): string | undefined {
  const steps = readSteps(preTokenizer);
  if (!steps?.bytes) return undefined;
  const same = table.filter(({ patterns }) => patterns.join("\n") === steps.patterns.join("\n"));
  return (same.find((pre) => (pre.ignoreMerges ?? false) === ignoreMerges) ?? same[0])?.names[0];
}

export function knownPreNames(): string[] {
  return table.flatMap(({ names }) => names);
}
