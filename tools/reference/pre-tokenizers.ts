// Prints the pre-tokenizers that GGUF has names for, as tokenizer.json spells them: {name: pre_tokenizer}. For make_text_fixtures.py.

import { knownPreNames, preNameOf, preTokenizerOf } from "../../src/text/pre-names.ts";

const configs = new Map<string, unknown>();
for (const name of knownPreNames()) {
  const pre = preTokenizerOf(name);
  if (pre && preNameOf(pre.preTokenizer, pre.ignoreMerges) === name) configs.set(name, pre.preTokenizer);
}
process.stdout.write(JSON.stringify(Object.fromEntries(configs)));
