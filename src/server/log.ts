// Lines of the log. In: what happened. Out: one line of plain text each: name=value pairs whose values are quoted where they hold anything but
// plain characters, so that no request can begin a line of its own or colour a terminal. Prompts are not among the fields unless asked for.

import { quote } from "../core/errors.ts";

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export function logLine(event: string, fields: LogFields): string {
  const pairs = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${shown(value)}`]));
  return [event, ...pairs].join(" ");
}

function shown(value: string | number | boolean): string {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toFixed(3);
  if (typeof value === "boolean") return String(value);
  return /^[\w./:@+-]{1,200}$/.test(value) ? value : quote(value, 2_000);
}
