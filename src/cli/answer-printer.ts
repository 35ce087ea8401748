// Shows an answer as it comes. On a terminal reasoning is dim and lines break between words; elsewhere reasoning stands between its delimiters, so
// that a pipe can tell the parts apart, and nothing else is changed.

import type { Part } from "../chat/response.ts";
import { r1Tags, type ThinkTags } from "../chat/think-tags.ts";
import { hasColour, showControls } from "./output.ts";
import { wordWrap } from "./word-wrap.ts";

export type AnswerPrinter = {
  push(part: Pick<Part, "reasoning" | "content">): void;
  /** Ends the last line; `cut` says that somebody stopped the answer. */
  end(cut?: boolean): void;
};

export function answerPrinter(tags: ThinkTags = r1Tags, hideThinking = false): AnswerPrinter {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const colour = hasColour(stdout);
  const wrap = wordWrap(() => stdout.columns ?? 80);
  let kind: "reasoning" | "content" | undefined;
  let held = ""; // line breaks at the end of the reasoning, which are not worth a line

  const write = (text: string) => stdout.write(isTerminal ? wrap.push(showControls(text)) : text);
  const open = () => {
    if (colour) stdout.write("\u001b[2m");
    else stdout.write(isTerminal ? `${tags.open}\n` : tags.open);
  };
  const close = () => {
    if (isTerminal) stdout.write(wrap.end());
    if (colour) stdout.write("\u001b[22m\n\n");
    else stdout.write(isTerminal ? `\n${tags.close}\n` : `${tags.close}\n`);
    if (isTerminal) wrap.push("\n");
    held = "";
  };

  return {
    push({ reasoning, content }) {
      if (reasoning !== "" && !hideThinking) {
        if (kind === undefined) open();
        kind = "reasoning";
        const text = held + reasoning;
        const kept = text.trimEnd();
        held = isTerminal ? text.slice(kept.length) : "";
        write(isTerminal ? kept : text);
      }
      if (content === "") return;
      if (kind === "reasoning") close();
      kind = "content";
      write(content);
    },
    end(cut = false) {
      if (cut) write(" …");
      if (kind === "reasoning") close();
      else {
        if (isTerminal) stdout.write(wrap.end());
        stdout.write("\n");
      }
    },
  };
}
