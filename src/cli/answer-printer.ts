// Shows an answer as it comes. On a terminal reasoning is dim; elsewhere it stands between tags, so that a pipe can tell the parts apart.

import type { Part } from "../chat/response.ts";
import { type Delimiters, thinkTags } from "../chat/think-stream.ts";
import { hasColour, showControls } from "./output.ts";

export type AnswerPrinter = {
  push(part: Pick<Part, "reasoning" | "content">): void;
  /** Ends the line, or the reasoning that was never ended; `cut` says that somebody stopped it. */
  end(cut?: boolean): void;
};

export function answerPrinter(delimiters: Delimiters = thinkTags, hideThinking = false): AnswerPrinter {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const [open, close] = hasColour(stdout) ? ["\u001b[2m", "\u001b[22m"] : [delimiters.open, delimiters.close];
  let kind: "reasoning" | "content" | undefined;
  let atLineStart = true;

  const write = (text: string) => {
    if (text === "") return;
    stdout.write(isTerminal ? showControls(text) : text);
    atLineStart = text.endsWith("\n");
  };
  const closeThinking = () => {
    stdout.write(atLineStart || !isTerminal ? close : `${close}\n`);
    if (!isTerminal) stdout.write("\n");
    else if (atLineStart) stdout.write("");
    atLineStart = true;
  };

  return {
    push({ reasoning, content }) {
      if (reasoning !== "" && !hideThinking) {
        if (kind === undefined) stdout.write(open);
        kind = "reasoning";
        write(reasoning);
      }
      if (content === "") return;
      if (kind === "reasoning") closeThinking();
      kind = "content";
      write(content);
    },
    end(cut = false) {
      if (kind === "reasoning") {
        if (cut) write(" …");
        closeThinking();
      } else {
        if (cut) write(kind === undefined ? "…" : " …");
        if (!atLineStart || kind === undefined) stdout.write("\n");
      }
    },
  };
}
