// Renders the chat templates of models. In: a template (Jinja, from a model's files), messages, tools. Out: the prompt. The same text that
// transformers' apply_chat_template gives: trim_blocks, lstrip_blocks, loop controls, tojson as json.dumps, strftime_now,
// raise_exception. Only data goes in: own properties, copied, without getters or prototypes, so that a template can reach nothing else.

import { Environment } from "@huggingface/jinja";
import { GraduallyError, quote, RequestError } from "../core/errors.ts";
import type { JsonObject, JsonValue } from "../core/json.ts";
import { strftime } from "./strftime.ts";
import { LimitError, LimitedInterpreter, type Limits } from "./template-interpreter.ts";
import type { Node } from "./template-operators.ts";
import { parseTemplate } from "./template-syntax.ts";
import { isText, type Value } from "./template-values.ts";

export type TemplateInput = {
  readonly messages: readonly JsonValue[];
  /** Absent and empty are one: the template sees none. */
  readonly tools?: readonly JsonValue[];
  readonly documents?: readonly JsonValue[];
  /** Default true. */
  readonly addGenerationPrompt?: boolean;
  /** The model's own switches, `enable_thinking` and the like; only the names in `templateSwitches`. */
  readonly switches?: Readonly<Record<string, unknown>>;
  /** For strftime_now; default: the present. */
  readonly now?: Date;
};

export type ChatTemplate = {
  readonly source: string;
  /** Throws RequestError: what the template itself raises, what it cannot do with these messages, or more work than allowed. */
  render(input: TemplateInput): string;
};

export type TemplateOptions = {
  /** Where it comes from, for errors. */
  readonly name: string;
  /** `bos_token`, `eos_token` and so on, as text. */
  readonly tokens?: Readonly<Record<string, string | undefined>>;
  /** A clock in milliseconds; default performance.now. */
  readonly clock?: () => number;
};

/** What requests may set: switches of published templates. All else is refused, and none can replace the renderer's own variables. */
export const templateSwitches: ReadonlySet<string> = new Set([
  "add_vision_id",
  "available_tools",
  "builtin_tools",
  "clear_thinking",
  "controls",
  "custom_tools",
  "date_string",
  "enable_thinking",
  "keep_past_thinking",
  "model_identity",
  "preserve_thinking",
  "reasoning_effort",
  "thinking",
  "thinking_budget",
  "thinking_mode",
  "today",
  "tools_in_user_message",
]);

const mostSteps = 1_000_000;
const mostCharacters = 4_000_000;
const mostDepth = 200;
const mostMilliseconds = 200;
const mostRange = 100_000;

/** Throws FormatError for a template that is damaged or absurd. */
export function compileChatTemplate(source: string, { name, tokens = {}, clock = () => performance.now() }: TemplateOptions): ChatTemplate {
  const program = parseTemplate(source, name);
  return {
    source,
    render(input) {
      const { messages, tools = [], documents = [], addGenerationPrompt = true, switches = {}, now = new Date() } = input;
      const data = copyData({ messages, tools: tools.length > 0 ? tools : null, documents: documents.length > 0 ? documents : null });
      const extra = copyData(checkSwitches(switches));
      const limits: Limits = {
        steps: mostSteps,
        size: Math.max(mostCharacters, 16 * (data.characters + extra.characters)),
        depth: mostDepth,
        milliseconds: mostMilliseconds,
      };
      const environment = new Environment();
      const interpreter = new LimitedInterpreter(environment, limits, clock);
      const variables = { ...tokens, ...extra.value, ...data.value, add_generation_prompt: addGenerationPrompt };
      for (const [key, value] of Object.entries({ ...constants, ...variables })) environment.set(key, value);
      environment.set("raise_exception", raise);
      environment.set("strftime_now", (format: unknown) => strftime(now, String(format)));
      environment.set("range", (...bounds: unknown[]) => range(bounds, (steps) => interpreter.charge(steps)));
      return run(interpreter, program as unknown as Node, environment as unknown as Parameters<LimitedInterpreter["evaluate"]>[1], name);
    },
  };
}

const constants = { true: true, false: false, none: null, True: true, False: false, None: null };

class Raised extends Error {}

function raise(message: unknown): never {
  throw new Raised(String(message));
}

function run(
  interpreter: LimitedInterpreter,
  program: Node,
  environment: Parameters<LimitedInterpreter["evaluate"]>[1],
  name: string,
): string {
  try {
    const made: Value = interpreter.evaluate(program, environment);
    return isText(made) ? made.value : "";
  } catch (cause) {
    if (cause instanceof GraduallyError) throw cause;
    const message = cause instanceof Error ? quote(cause.message, 300) : "an error";
    const operation = `render the chat template of ${quote(name, 300)}`;
    if (cause instanceof Raised) {
      throw new RequestError(
        { operation, got: `its refusal ${message}`, expected: "messages that it accepts", cure: "change the messages as it says" },
        { cause },
      );
    }
    if (cause instanceof LimitError || cause instanceof RangeError) {
      const got = cause instanceof LimitError ? cause.message : "values too large for the machine";
      throw new RequestError(
        { operation, got, expected: "a template that ends soon", cure: "shorten the messages, or use the publisher's template" },
        { cause },
      );
    }
    throw new RequestError(
      { operation, got: message, expected: "messages in the form that it knows", cure: "check roles and contents" },
      { cause },
    );
  }
}

function range(bounds: readonly unknown[], charge: (steps: number) => void): number[] {
  if (!bounds.every((bound) => Number.isSafeInteger(bound)) || bounds.length < 1 || bounds.length > 3)
    throw new TypeError("range of what are no integers");
  const [from, to, step = 1] = (bounds.length === 1 ? [0, ...bounds] : bounds) as [number, number, number?];
  if (step === 0) throw new TypeError("range with a step of 0");
  const count = Math.max(0, Math.ceil((to - from) / step));
  // The limit of Jinja's own sandbox.
  if (count > mostRange) throw new LimitError(`a range of ${count} numbers (at most ${mostRange})`);
  charge(count);
  return Array.from({ length: count }, (_, i) => from + i * step);
}

function checkSwitches(switches: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  for (const name of Object.keys(switches)) {
    if (templateSwitches.has(name)) continue;
    throw new RequestError({
      operation: "render a chat template",
      got: `the argument ${quote(name)}`,
      expected: `one of ${[...templateSwitches].join(", ")}`,
      cure: "leave it out",
    });
  }
  return switches;
}

/** Own data, copied; counts characters. Throws RequestError for cycles, getters, functions, class instances and nesting beyond 100. */
function copyData(data: Readonly<Record<string, unknown>>): { value: JsonObject; characters: number } {
  let characters = 0;
  const refuse = (got: string): never => {
    throw new RequestError({
      operation: "render a chat template",
      got,
      expected: "plain data: texts, numbers, lists, objects",
      cure: "send plain JSON",
    });
  };
  const copy = (value: unknown, depth: number): JsonValue => {
    characters++;
    if (typeof value === "string") {
      characters += value.length;
      return value;
    }
    if (value === null || value === undefined) return null;
    if (typeof value === "boolean") return value;
    if (typeof value === "number") return Number.isFinite(value) ? value : refuse(`the number ${value}`);
    if (typeof value !== "object") return refuse(`a ${typeof value}`);
    if (depth > 100) return refuse("data nested deeper than 100, or in a circle");
    if (Array.isArray(value)) return Array.from({ length: value.length }, (_, i) => copy(value[i], depth + 1));
    const object: JsonObject = Object.create(null);
    for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(value))) {
      if (property.enumerable !== true) continue;
      if (!("value" in property)) return refuse(`a getter, ${quote(key)}`);
      // As JSON has it: what is undefined is absent.
      if (property.value === undefined) continue;
      characters += key.length;
      object[key] = copy(property.value, depth + 1);
    }
    return object;
  };
  return { value: copy(data, 0) as JsonObject, characters };
}
