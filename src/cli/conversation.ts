// A conversation in the terminal: what was said, the settings, and the commands that begin with a slash. In: a line. Out: what to do next. It
// neither reads the keyboard nor computes answers, so tests can hold it in their hand.

import type { ChatModel, ChatOptions, Message } from "../chat/model.ts";
import { FormatError, quote, RequestError } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { listParameters, parameterNames, setParameter } from "./chat-parameters.ts";

export type Settings = { options: ChatOptions; verbose: boolean; hideThinking: boolean };

/** "bye": leave. A text: show it. */
export type Outcome = { readonly kind: "bye" } | { readonly kind: "say"; readonly text: string };

export const help = `/set think | nothink            reason before answering, or answer at once
/set parameter NAME VALUE       ${parameterNames.slice(0, 4).join(", ")} …
/set system TEXT                what the model is told first; empty: nothing
/set verbose | quiet            show speed after each answer, or not
/set hidethinking | showthinking
/show                           the model, the settings, how full the context is
/save FILE      /load FILE      the conversation with its settings, as JSON
/clear                          forget the conversation
/bye                            leave (also Ctrl-D)

"""             begins a text of several lines, and ends it
Ctrl-C          stops the answer`;

export class Conversation {
  readonly settings: Settings;
  messages: Message[] = [];
  readonly #chat: Pick<ChatModel, "contextLength" | "hasTemplate" | "thinkTags" | "prepareChat">;
  readonly #name: string;
  readonly #files: Files;

  constructor(
    chat: Pick<ChatModel, "contextLength" | "hasTemplate" | "thinkTags" | "prepareChat">,
    name: string,
    files: Files,
    settings: Settings,
  ) {
    this.#chat = chat;
    this.#name = name;
    this.#files = files;
    this.settings = settings;
  }

  /** A line that begins with a slash. Throws RequestError for a command that is none. */
  async command(line: string): Promise<Outcome> {
    const [, verb = "", rest = ""] = /^(\/\S*)\s*(.*)$/s.exec(line.trim()) ?? [];
    switch (verb) {
      case "/bye":
      case "/exit":
      case "/quit":
        return { kind: "bye" };
      case "/help":
      case "/?":
        return say(help);
      case "/clear":
        this.messages = [];
        return say("The conversation is forgotten.");
      case "/set":
        return say(this.#set(rest));
      case "/show":
        return say(await this.#show());
      case "/save":
        return say(await this.#save(rest));
      case "/load":
        return say(await this.#load(rest));
      default:
        throw new RequestError({
          operation: "chat",
          got: `the command ${quote(verb)}`,
          expected: "one of those in /help",
          cure: "type /help",
        });
    }
  }

  #set(words: string): string {
    const { settings } = this;
    const [, what = "", rest = ""] = /^(\S*)\s*(.*)$/s.exec(words) ?? [];
    switch (what) {
      case "think":
      case "nothink":
        if (!this.#chat.thinkTags && what === "think") return "This model does not think.";
        settings.options = { ...settings.options, thinking: what === "think" };
        return what === "think" ? "The model will think." : "The model will answer at once.";
      case "verbose":
      case "quiet":
        settings.verbose = what === "verbose";
        return settings.verbose ? "Speed is shown." : "Speed is not shown.";
      case "hidethinking":
      case "showthinking":
        settings.hideThinking = what === "hidethinking";
        return settings.hideThinking ? "Reasoning is hidden." : "Reasoning is shown.";
      case "system": {
        const { system: _, ...others } = settings.options;
        settings.options = rest === "" ? others : { ...others, system: rest };
        return rest === "" ? "No system text." : "The system text is set.";
      }
      case "parameter": {
        const [, parameter = "", value = ""] = /^(\S*)\s*(.*)$/s.exec(rest) ?? [];
        if (!this.#chat.thinkTags && (parameter === "thinking_budget" || parameter === "wait")) return "This model does not think.";
        settings.options = setParameter(settings.options, parameter, value);
        return `${parameter} is ${value}.`;
      }
      default:
        throw new RequestError({
          operation: "/set",
          got: what === "" ? "nothing" : quote(what),
          expected: "think, nothink, parameter, system, verbose, quiet, hidethinking or showthinking",
          cure: "type /help",
        });
    }
  }

  async #show(): Promise<string> {
    const { options } = this.settings;
    const { thinking, system } = options;
    const rows: [string, string][] = [
      ["model", this.#name],
      ["context", `${await this.#used()} of ${this.#chat.contextLength} tokens, ${this.messages.length} messages`],
      [
        "thinking",
        !this.#chat.thinkTags
          ? "this model does not think"
          : thinking === undefined
            ? "as the model does"
            : thinking === false
              ? "off"
              : "on",
      ],
      ["system", system === undefined ? "none" : quote(system, 60)],
      ...listParameters(options).map(([name, value]): [string, string] => [name, String(value)]),
    ];
    const width = Math.max(...rows.map(([name]) => name.length));
    return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
  }

  async #used(): Promise<number> {
    if (!this.#chat.hasTemplate || this.messages.length === 0) return 0;
    return (await this.#chat.prepareChat(this.messages, this.settings.options)).ids.length;
  }

  async #save(path: string): Promise<string> {
    if (path === "") throw noFile("/save");
    const { thinking, system } = this.settings.options;
    const document = {
      model: this.#name,
      ...(system !== undefined && { system }),
      ...(typeof thinking === "boolean" && { thinking }),
      parameters: listParameters(this.settings.options),
      messages: this.messages,
    };
    await this.#files.writeAtomic(path, `${JSON.stringify(document, undefined, 2)}\n`);
    return `Saved ${this.messages.length} messages in ${path}.`;
  }

  async #load(path: string): Promise<string> {
    if (path === "") throw noFile("/load");
    const document = parseJson(await this.#files.readText(path, 50_000_000), { source: path, unsafeIntegers: "round" });
    const refuse = (got: string): never => {
      throw new FormatError({ operation: `/load ${quote(path)}`, got, expected: "a file that /save wrote", cure: "name another file" });
    };
    if (!isJsonObject(document) || !Array.isArray(document.messages)) return refuse("no messages");
    const messages = document.messages.map((message) => {
      if (isJsonObject(message) && typeof message.role === "string" && typeof message.content === "string")
        return message as JsonObject & Message;
      return refuse("a message without role and content");
    });
    let options: ChatOptions = {};
    for (const pair of Array.isArray(document.parameters) ? document.parameters : []) {
      const [name, value] = Array.isArray(pair) ? pair : [];
      if (typeof name !== "string" || (typeof value !== "number" && typeof value !== "string")) return refuse("a parameter that is none");
      options = setParameter(options, name, String(value));
    }
    if (typeof document.system === "string") options = { ...options, system: document.system };
    if (typeof document.thinking === "boolean") options = { ...options, thinking: document.thinking };
    this.messages = messages;
    this.settings.options = options;
    return `Loaded ${messages.length} messages.`;
  }
}

function say(text: string): Outcome {
  return { kind: "say", text };
}

function noFile(operation: string): RequestError {
  return new RequestError({ operation, got: "no file", expected: "a path", cure: `as in: ${operation} talk.json` });
}
