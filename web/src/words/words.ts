// Words in the language of the page. In: a name of en.ts and what fills its braces. Out: text, which follows the language by itself, since
// components that call `t` read its signal.

import { effect } from "@preact/signals";
import { type Language, language } from "../state/settings.ts";
import { en, type Words } from "./en.ts";
import { zhHant } from "./zh-hant.ts";

export const dictionaries: Readonly<Record<Language, Words>> = { en, "zh-Hant": zhHant };
export type WordName = keyof Words;

/** A word with a bar says one thing for a count of 1 and the other for the rest. */
export function t(name: WordName, values: Readonly<Record<string, string | number>> = {}): string {
  const [one = "", many = one] = dictionaries[language.value][name].split("|");
  return (String(values.count) === "1" ? one : many).replace(/\{(\w+)\}/g, (whole, key: string) => String(values[key] ?? whole));
}

/** Digits in groups, as the language writes them. */
export function count(value: number): string {
  return Math.round(value).toLocaleString(language.value);
}

/** under 0.1 s, 0.4 s, 12 s, 3 min 5 s; the units of both languages. */
export function seconds(value: number): string {
  const chinese = language.value === "zh-Hant";
  if (value < 0.05) return chinese ? "不到 0.1 秒" : "under 0.1 s";
  if (value < 9.95) return `${value.toFixed(1)}${chinese ? " 秒" : " s"}`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole}${chinese ? " 秒" : " s"}`;
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours > 0) return chinese ? `${hours} 小時 ${minutes} 分` : `${hours} h ${minutes} min`;
  return chinese ? `${minutes} 分 ${rest} 秒` : `${minutes} min ${rest} s`;
}

/** The language is part of the page: screen readers choose their voice by it. */
export function keepLanguage(): void {
  effect(() => {
    document.documentElement.lang = language.value;
  });
}
