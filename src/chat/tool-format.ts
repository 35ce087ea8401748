// How a model writes its tool calls. In: its chat template. Out: the tags around a call, or undefined where the template knows no tools.
//   hermes    <tool_call>{"name": …, "arguments": …}</tool_call>                                    Qwen2.5, Qwen3, Hermes, s1
//   deepseek  <｜tool▁call▁begin｜>[function<｜tool▁sep｜>]NAME …arguments… <｜tool▁call▁end｜>         DeepSeek-V3, R1 (in ```json fences), V3.1
//   llama     the whole answer is {"name": …, "parameters": …}, maybe after <|python_tag|>          Llama 3.1, 3.2, 3.3

export type ToolFormat = "hermes" | "deepseek" | "llama";

export const hermesTags = { open: "<tool_call>", close: "</tool_call>" } as const;
export const deepseekTags = {
  begin: "<｜tool▁calls▁begin｜>",
  end: "<｜tool▁calls▁end｜>",
  open: "<｜tool▁call▁begin｜>",
  separator: "<｜tool▁sep｜>",
  close: "<｜tool▁call▁end｜>",
} as const;
export const pythonTag = "<|python_tag|>";

/** Tokens that carry structure, whatever the vocabulary says of them: the decoder must show them. */
export const toolTokens: readonly string[] = [hermesTags.open, hermesTags.close, ...Object.values(deepseekTags), pythonTag];

export type ToolStyle = {
  readonly format: ToolFormat;
  /** The template pastes arguments as they are; else it writes them as JSON itself and wants an object. */
  readonly argumentsAsText: boolean;
};

export function findToolStyle(template: string): ToolStyle | undefined {
  const format = template.includes(deepseekTags.begin)
    ? "deepseek"
    : template.includes(hermesTags.open)
      ? "hermes"
      : template.includes(pythonTag) || (/"parameters"/.test(template) && /\btools\b/.test(template))
        ? "llama"
        : undefined;
  return format && { format, argumentsAsText: !/arguments['"\]]*\s*\|\s*tojson/.test(template) };
}
