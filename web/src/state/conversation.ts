// Conversations as plain data, and the pure steps from one to the next: say, answer, edit, choose. In: a conversation. Out: a new one; parts that did
// not change stay the same objects, so that only what changed is drawn again.

import type { Turn, Usage } from "../client/client.ts";

export type Version = {
  readonly model: string;
  readonly seed: number;
  readonly budget?: number;
  readonly extend: number;
  readonly reasoning: string;
  readonly content: string;
  /** Seconds that it thought; absent while it does, or where it did not. */
  readonly thoughtSeconds?: number;
  readonly usage?: Usage;
  /** What a page left "running" when it was closed is "left" when it is read back. */
  readonly state: "running" | "stop" | "length" | "stopped" | "left" | "failed";
  readonly error?: { readonly code: string; readonly detail: string };
};

export type UserMessage = { readonly role: "user"; readonly id: string; readonly text: string };
export type AssistantMessage = {
  readonly role: "assistant";
  readonly id: string;
  readonly versions: readonly Version[];
  readonly chosen: number;
};
export type Message = UserMessage | AssistantMessage;

export type Conversation = {
  readonly id: string;
  readonly created: number;
  readonly updated: number;
  readonly messages: readonly Message[];
};

export function newId(): string {
  return crypto.randomUUID();
}

export function emptyConversation(): Conversation {
  const now = Date.now();
  return { id: newId(), created: now, updated: now, messages: [] };
}

/** The first words of its user. */
export function titleOf({ messages }: Conversation): string {
  const first = messages.find(({ role }) => role === "user") as UserMessage | undefined;
  return (first?.text ?? "").trim().replace(/\s+/g, " ").slice(0, 80);
}

/** Whether the title, a question or a chosen answer has these words, in small letters. */
export function hasWords({ messages }: Conversation, words: string): boolean {
  return messages.some((message) =>
    (message.role === "user" ? message.text : (chosenVersion(message)?.content ?? "")).toLowerCase().includes(words),
  );
}

export function chosenVersion({ versions, chosen }: AssistantMessage): Version | undefined {
  return versions[chosen];
}

/** What the model is told: the conversation before `messageId`, without thoughts, as DeepSeek asks for it. */
export function turnsBefore(conversation: Conversation, messageId: string, system?: string): Turn[] {
  const turns: Turn[] = system ? [{ role: "system", content: system }] : [];
  for (const message of conversation.messages) {
    if (message.id === messageId) break;
    if (message.role === "user") turns.push({ role: "user", content: message.text });
    else turns.push({ role: "assistant", content: chosenVersion(message)?.content ?? "" });
  }
  return turns;
}

/** A user's words and an empty answer after them; with `instead`, in place of that message and all after it. */
export function say(conversation: Conversation, text: string, instead?: string): { conversation: Conversation; answerId: string } {
  const end = instead === undefined ? -1 : conversation.messages.findIndex(({ id }) => id === instead);
  const kept = end < 0 ? conversation.messages : conversation.messages.slice(0, end);
  const answer: AssistantMessage = { role: "assistant", id: newId(), versions: [], chosen: 0 };
  const messages = [...kept, { role: "user", id: newId(), text } as const, answer];
  return { conversation: { ...conversation, messages, updated: Date.now() }, answerId: answer.id };
}

/** Everything after an answer goes: it followed from another one. */
export function withVersion(conversation: Conversation, answerId: string, version: Version): Conversation {
  const end = conversation.messages.findIndex(({ id }) => id === answerId);
  const answer = conversation.messages[end];
  if (answer?.role !== "assistant") return conversation;
  const versions = [...answer.versions, version];
  const messages = [...conversation.messages.slice(0, end), { ...answer, versions, chosen: versions.length - 1 }];
  return { ...conversation, messages, updated: Date.now() };
}

/** Changes one version, the last unless told otherwise. */
export function changeVersion(conversation: Conversation, answerId: string, index: number, change: Partial<Version>): Conversation {
  return mapAnswer(conversation, answerId, (answer) => ({
    ...answer,
    versions: answer.versions.map((version, i) => (i === index ? { ...version, ...change } : version)),
  }));
}

export function choose(conversation: Conversation, answerId: string, chosen: number): Conversation {
  return mapAnswer(conversation, answerId, (answer) => ({ ...answer, chosen: Math.max(0, Math.min(chosen, answer.versions.length - 1)) }));
}

function mapAnswer(conversation: Conversation, id: string, change: (answer: AssistantMessage) => AssistantMessage): Conversation {
  return {
    ...conversation,
    messages: conversation.messages.map((message) => (message.id === id && message.role === "assistant" ? change(message) : message)),
  };
}

/** From a file or an older page: a conversation, or undefined. */
export function readConversation(value: unknown): Conversation | undefined {
  if (!isRecord(value) || typeof value.id !== "string" || !Array.isArray(value.messages)) return undefined;
  const messages = value.messages.map(readMessage);
  if (messages.some((message) => message === undefined)) return undefined;
  const time = (at: unknown) => (typeof at === "number" && Number.isFinite(at) ? at : 0);
  return { id: value.id, created: time(value.created), updated: time(value.updated), messages: messages as Message[] };
}

function readMessage(value: unknown): Message | undefined {
  if (!isRecord(value) || typeof value.id !== "string") return undefined;
  if (value.role === "user") return typeof value.text === "string" ? { role: "user", id: value.id, text: value.text } : undefined;
  if (value.role !== "assistant" || !Array.isArray(value.versions)) return undefined;
  const versions = value.versions.filter(isVersion).map((one) => (one.state === "running" ? { ...one, state: "left" as const } : one));
  const chosen = typeof value.chosen === "number" ? value.chosen : 0;
  return { role: "assistant", id: value.id, versions, chosen: Math.max(0, Math.min(Math.trunc(chosen), versions.length - 1)) };
}

function isVersion(value: unknown): value is Version {
  return (
    isRecord(value) &&
    ["model", "reasoning", "content", "state"].every((key) => typeof value[key] === "string") &&
    typeof value.seed === "number" &&
    typeof value.extend === "number"
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
