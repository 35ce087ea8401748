// What `/set parameter NAME VALUE` knows: names as in Ollama's model files and generation_config.json, each with its check and its place in the
// options of the door.

import type { ChatOptions } from "../chat/model.ts";
import { checkStopStrings } from "../chat/stop-strings.ts";
import { quote, RequestError } from "../core/errors.ts";

type NumberName =
  | "temperature"
  | "topK"
  | "topP"
  | "minP"
  | "typicalP"
  | "repetitionPenalty"
  | "presencePenalty"
  | "frequencyPenalty"
  | "seed"
  | "maxTokens";
type Range = {
  readonly name: NumberName;
  readonly low: number;
  readonly high: number;
  readonly isInteger?: boolean;
  readonly above?: boolean;
};

const safe = Number.MAX_SAFE_INTEGER;
const ranges: Readonly<Record<string, Range>> = {
  temperature: { name: "temperature", low: 0, high: 100 },
  top_k: { name: "topK", low: 0, high: safe, isInteger: true },
  top_p: { name: "topP", low: 0, high: 1, above: true },
  min_p: { name: "minP", low: 0, high: 1 },
  typical_p: { name: "typicalP", low: 0, high: 1, above: true },
  repeat_penalty: { name: "repetitionPenalty", low: 0.01, high: 100 },
  presence_penalty: { name: "presencePenalty", low: -2, high: 2 },
  frequency_penalty: { name: "frequencyPenalty", low: -2, high: 2 },
  seed: { name: "seed", low: 0, high: safe, isInteger: true },
  num_predict: { name: "maxTokens", low: 1, high: 2147483647, isInteger: true },
};

export const parameterNames: readonly string[] = [...Object.keys(ranges), "thinking_budget", "wait", "stop"];

/** The options with one of them changed. Throws RequestError. */
export function setParameter(options: ChatOptions, parameter: string, text: string): ChatOptions {
  if (parameter === "stop") return { ...options, stop: checkStopStrings([...checkStopStrings(options.stop), unquote(text)]) };
  if (parameter === "thinking_budget") {
    const max = readNumber(parameter, text, { low: 0, high: safe, isInteger: true });
    return { ...options, thinking: { ...(typeof options.thinking === "object" && options.thinking), max } };
  }
  if (parameter === "wait") {
    const times = readNumber(parameter, text, { low: 0, high: 1000, isInteger: true });
    return { ...options, thinking: { ...(typeof options.thinking === "object" && options.thinking), extend: { times } } };
  }
  const range = Object.hasOwn(ranges, parameter) ? ranges[parameter] : undefined;
  if (!range) {
    throw new RequestError({
      operation: "/set parameter",
      got: quote(parameter),
      expected: `one of ${parameterNames.join(", ")}`,
      cure: "as in: /set parameter temperature 0.7",
    });
  }
  return { ...options, [range.name]: readNumber(parameter, text, range) };
}

/** Name and value of what is set, for /show and /save. */
export function listParameters(options: ChatOptions): [string, number | string][] {
  const list: [string, number | string][] = [];
  for (const [parameter, { name }] of Object.entries(ranges)) {
    const value = options[name];
    if (value !== undefined) list.push([parameter, value]);
  }
  const { max, extend } = typeof options.thinking === "object" ? options.thinking : {};
  if (max !== undefined) list.push(["thinking_budget", max]);
  if (extend) list.push(["wait", extend.times]);
  for (const stop of checkStopStrings(options.stop)) list.push(["stop", JSON.stringify(stop)]);
  return list;
}

function readNumber(parameter: string, text: string, { low, high, isInteger = false, above = false }: Omit<Range, "name">): number {
  const value = Number(text);
  const fits =
    /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text) &&
    value <= high &&
    (above ? value > low : value >= low) &&
    (!isInteger || Number.isSafeInteger(value));
  if (fits) return value;
  const kind = isInteger ? "an integer" : "a number";
  throw new RequestError({
    operation: `/set parameter ${parameter}`,
    got: quote(text),
    expected:
      high === safe ? `${kind} of ${low} or more` : `${kind} ${above ? "above" : "from"} ${low}${above ? ", at most" : " to"} ${high}`,
    cure: "change the value",
  });
}

/** "\n\n" in quotes is read as JSON; anything else is the text itself. */
function unquote(text: string): string {
  if (!/^".*"$/s.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "string" ? value : text;
  } catch {
    return text;
  }
}
