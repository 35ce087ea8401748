// What a person set: language, colours, sampling, budget. In: local storage, which may be full, forbidden or hold nonsense. Out: signals that write
// themselves back. Every value is checked when it is read, since another version of the page may have written it.

import { effect, type Signal, signal } from "@preact/signals";
import type { Sampling } from "../client/client.ts";

export type Language = "en" | "zh-Hant";
export type Theme = "system" | "light" | "dark";

export type Generation = Sampling & {
  readonly maxTokens?: number;
  readonly seed?: number;
  readonly system?: string;
};

export const language = stored<Language>("language", preferredLanguage(), (value) => value === "en" || value === "zh-Hant");
export const theme = stored<Theme>("theme", "system", (value) => value === "system" || value === "light" || value === "dark");
export const modelName = stored<string>("model", "", (value) => typeof value === "string");
export const generation = stored<Generation>("generation", {}, isGeneration);
/** Steps of the slider of budget.ts; the last: no limit. */
export const budgetStep = stored<number>("budget", 99, (value) => Number.isInteger(value));
/** Weight of the past in the lines of charts; 0: every value as it is. */
export const smoothing = stored<number>("smoothing", 0.6, (value) => typeof value === "number" && value >= 0 && value <= 0.99);

function stored<T>(name: string, initial: T, isRight: (value: unknown) => boolean): Signal<T> {
  const key = `gradually-${name}`;
  const state = signal(initial);
  try {
    const value: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
    if (value !== null && isRight(value)) state.value = value as T;
  } catch {
    // Storage is forbidden or holds something else: begin with the initial value.
  }
  let isFirst = true;
  effect(() => {
    const text = JSON.stringify(state.value);
    if (isFirst) isFirst = false;
    else
      try {
        localStorage.setItem(key, text);
      } catch {
        // It then lasts as long as the page.
      }
  });
  return state;
}

function preferredLanguage(): Language {
  return navigator.languages.find((tag) => /^(?:en|zh)\b/i.test(tag))?.startsWith("zh") ? "zh-Hant" : "en";
}

function isGeneration(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.entries(value).every(([name, one]) => (name === "system" ? typeof one === "string" : Number.isFinite(one)));
}
