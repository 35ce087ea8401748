// Messages of a person: lines of a terminal, with editing and history, or of a pipe. Lines between """ and """ are one message. In a terminal
// Ctrl-C is told to whoever is answering, else it drops what is being typed, and asks to be pressed again where that is nothing.

import { createInterface, type Interface } from "node:readline";

const quotes = '"""';

export type ChatInput = {
  /** The next message; undefined at the end of the input. */
  next(): Promise<string | undefined>;
  /** Called on Ctrl-C; returns whether somebody took it. */
  onInterrupt: () => boolean;
  close(): void;
};

export function openChatInput(): ChatInput {
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const reader: Interface = createInterface({
    input: process.stdin,
    ...(isTerminal && { output: process.stdout, historySize: 1000 }),
    terminal: isTerminal,
    crlfDelay: Number.POSITIVE_INFINITY,
  });
  const lines: string[] = [];
  let isOver = false;
  let warned = false;
  let wake: (() => void) | undefined;
  /** Within """, and whether Ctrl-C has dropped that. */
  let isInside = false;
  let isDropped = false;
  reader.on("line", (line) => {
    warned = false;
    lines.push(line);
    wake?.();
  });
  reader.on("close", () => {
    isOver = true;
    wake?.();
  });
  const input: ChatInput = {
    next,
    onInterrupt: () => false,
    close: () => reader.close(),
  };
  const interrupt = () => {
    if (input.onInterrupt()) return;
    if (isTerminal && (isInside || reader.line !== "")) {
      for (const name of ["e", "u"]) reader.write(null, { ctrl: true, name }); // to the end of the line; delete it
      process.stdout.write("\n");
      isDropped = isInside;
      if (isDropped) wake?.();
      else reader.prompt();
      return;
    }
    if (warned || !isTerminal) {
      reader.close();
      return;
    }
    warned = true;
    process.stdout.write("\n(Ctrl-C again, Ctrl-D or /bye leaves)\n");
    reader.prompt();
  };
  if (isTerminal) reader.on("SIGINT", interrupt);
  else process.on("SIGINT", interrupt);

  async function line(prompt: string): Promise<string | undefined> {
    if (isTerminal && lines.length === 0 && !isOver) {
      reader.setPrompt(prompt);
      reader.prompt();
    }
    while (lines.length === 0 && !isOver && !isDropped) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return lines.shift();
  }

  async function next(): Promise<string | undefined> {
    const first = await line(">>> ");
    if (first === undefined || !first.trimStart().startsWith(quotes)) return first;
    let text = first.trimStart().slice(quotes.length);
    isInside = true;
    while (!text.trimEnd().endsWith(quotes) && !isDropped) {
      const more = await line("... ");
      if (more === undefined && !isDropped) return text;
      text = `${text}\n${more}`;
    }
    isInside = false;
    if (isDropped) {
      isDropped = false;
      return "";
    }
    return text.trimEnd().slice(0, -quotes.length).replace(/^\n/, "").replace(/\n$/, "");
  }

  return input;
}
