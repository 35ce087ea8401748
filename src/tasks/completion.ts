// Splits a completion into reasoning and answer: [`<think>`] reasoning `</think>` answer, as DeepSeek-R1 writes it.
// The opening tag is usually missing: our prompts, like R1's chat template, end with it. Strict on purpose: this is the gate
// that reinforcement pushes against, so two closing tags, or an opening tag anywhere but at the start, are no answer at all.

export const thinkOpen = "<think>";
export const thinkClose = "</think>";

export type Completion = { readonly thinking: string; readonly answer: string };

/** The two parts, or undefined when the text does not have exactly one `</think>`. The answer loses blanks and newlines at its ends. */
export function splitCompletion(text: string): Completion | undefined {
  const start = text.startsWith(thinkOpen) ? thinkOpen.length : 0;
  if (text.indexOf(thinkOpen, start) !== -1) return undefined;
  const close = text.indexOf(thinkClose, start);
  if (close === -1) return undefined;
  const after = close + thinkClose.length;
  if (text.indexOf(thinkClose, after) !== -1) return undefined;
  return { thinking: text.slice(start, close), answer: trimBlanks(text.slice(after)) };
}

/** String.trim removes some thirty Unicode blanks; an answer may only be framed by spaces and newlines. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 10 || code === 13;
}
