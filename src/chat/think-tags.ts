// How a model marks its reasoning. In: its chat template, or a rendered prompt. Out: the tags; whether an answer begins inside them.

export type ThinkTags = { readonly open: string; readonly close: string };

/** DeepSeek-R1 and its distilled models, Qwen3, and ours. */
export const r1Tags: ThinkTags = { open: "<think>", close: "</think>" };
/** s1 (simplescaling/s1): its training texts mark the parts by turns; its template says nothing of them. */
export const s1Tags: ThinkTags = { open: "<|im_start|>think", close: "<|im_start|>answer" };

const known: readonly ThinkTags[] = [r1Tags, s1Tags, { open: "[THINK]", close: "[/THINK]" }];

/** The tags that a template names; the closing one decides, as templates often look for it alone. */
export function findThinkTags(template: string): ThinkTags | undefined {
  return known.find(({ close }) => template.includes(close)) ?? namedTags(template);
}

/** Any other pair of tags that speaks of thinking: <thinking>, <seed:think>, <reasoning>. */
function namedTags(template: string): ThinkTags | undefined {
  for (const [open, name] of template.matchAll(/[<[]([\w:|-]*(?:think|reason|thought)[\w:|-]*)[>\]]/gi)) {
    const close = open.startsWith("<") ? `</${name}>` : `[/${name}]`;
    if (template.includes(close)) return { open, close };
  }
  return undefined;
}

/** Whether a prompt ends inside reasoning: R1's templates end it with `<think>`, Qwen3's close it when thinking is off. */
export function isThinking(prompt: string, { open, close }: ThinkTags): boolean {
  const end = prompt.trimEnd();
  return end.endsWith(open) && !end.endsWith(close);
}
