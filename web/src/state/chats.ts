// The conversations of the Chat view and the answer under way in each. In: what a person does. Out: signals. Pieces of an answer are gathered and drawn
// once a frame; the conversation is stored when an answer begins and ends, and when the page goes out of sight, after which a browser may discard it. Any number of conversations may be answered at once, one answer each.

import { signal } from "@preact/signals";
import type { Client, ModelInfo, Piece } from "../client/client.ts";
import { client, model, troubleOf } from "./app.ts";
import { budgetAt } from "./budget.ts";
import {
  type AssistantMessage,
  type Conversation,
  changeVersion,
  choose,
  chosenVersion,
  emptyConversation,
  newId,
  readConversation,
  say,
  turnsBefore,
  type Version,
  withVersion,
} from "./conversation.ts";
import { go, route } from "./route.ts";
import { budgetStep, generation } from "./settings.ts";
import { allConversations, dropAll, dropConversation, keepConversation } from "./store.ts";

export const conversations = signal<readonly Conversation[]>([]);
/** The conversation on show; not among `conversations` until something is said. */
export const current = signal<Conversation>(emptyConversation());
/** What stops the answer under way, by conversation. */
export const running = signal<ReadonlyMap<string, AbortController>>(new Map());

/** What each answer under way does with the pieces that are not drawn yet. */
const flushes = new Map<string, () => void>();

export async function loadConversations(): Promise<void> {
  conversations.value = await allConversations();
  show(route.value.view === "chat" ? route.value.item : undefined);
}

/** The conversation of that id; a new one when there is none. */
export function show(id: string | undefined): void {
  const found = conversations.value.find((one) => one.id === id);
  if (found) current.value = found;
  else if (current.value.messages.length > 0) current.value = emptyConversation();
}

export function startNew(): void {
  go("chat");
  current.value = emptyConversation();
}

export async function remove(id: string): Promise<void> {
  running.value.get(id)?.abort();
  conversations.value = conversations.value.filter((one) => one.id !== id);
  if (current.value.id === id) startNew();
  await dropConversation(id);
}

export async function removeAll(): Promise<void> {
  for (const stop of running.value.values()) stop.abort();
  conversations.value = [];
  startNew();
  await dropAll();
}

/** Conversations of a file that this page wrote get new ids, so that nothing is overwritten. Returns how many there were. */
export async function importConversations(text: string): Promise<number> {
  const value: unknown = JSON.parse(text);
  const list = typeof value === "object" && value !== null && "conversations" in value ? value.conversations : undefined;
  const found = (Array.isArray(list) ? list : []).map(readConversation).filter((one) => one !== undefined);
  const fresh = found.map((one) => ({ ...one, id: newId() }));
  conversations.value = [...fresh, ...conversations.value].sort((a, b) => b.updated - a.updated);
  for (const one of fresh) await keepConversation(one);
  return fresh.length;
}

export function stop(): void {
  running.value.get(current.value.id)?.abort();
}

/** With `instead`, the words take the place of that message and of all after it. */
export function send(text: string, instead?: string): void {
  if (running.value.has(current.value.id)) return;
  const { conversation, answerId } = say(current.value, text, instead);
  update(conversation);
  go("chat", conversation.id);
  answer(conversation.id, answerId, 0);
}

export function retry(answerId: string): void {
  answer(current.value.id, answerId, 0);
}

/** Takes the chosen answer up again where its thinking ended: the same seed leads there, and "Wait" leads on. */
export function thinkOn(message: AssistantMessage): void {
  const version = chosenVersion(message);
  if (version) answer(current.value.id, message.id, version.extend + 1, version);
}

export function chooseVersion(answerId: string, index: number): void {
  const changed = choose(current.value, answerId, index);
  update(changed);
  void keepConversation(changed);
}

function update(conversation: Conversation): void {
  if (current.value.id === conversation.id) current.value = conversation;
  const before = conversations.value.find(({ id }) => id === conversation.id);
  // What was asked last comes first.
  conversations.value =
    before?.updated === conversation.updated
      ? conversations.value.map((one) => (one === before ? conversation : one))
      : [conversation, ...conversations.value.filter((one) => one !== before)];
}

function answer(conversationId: string, answerId: string, extend: number, before?: Version): void {
  const conversation = conversations.value.find(({ id }) => id === conversationId);
  const [at, info] = [client.value, model.value];
  if (!conversation || !at || !info || running.value.has(conversationId)) return;
  const stopper = new AbortController();
  running.value = new Map(running.value).set(conversationId, stopper);
  const version = firstVersion(info, extend, before);
  const begun = withVersion(conversation, answerId, version);
  update(begun);
  void keepConversation(begun);
  const message = begun.messages.find(({ id }) => id === answerId) as AssistantMessage;
  void follow(at, begun, message, version, stopper).finally(() => {
    const rest = new Map(running.value);
    rest.delete(conversationId);
    flushes.delete(conversationId);
    running.value = rest;
    const ended = conversations.value.find(({ id }) => id === conversationId);
    if (ended) void keepConversation(ended);
  });
}

/** Stores the answers under way as far as they have come. */
export function keepRunning(): void {
  for (const flush of flushes.values()) flush();
  for (const one of conversations.value) if (running.value.has(one.id)) void keepConversation(one);
}

function firstVersion(info: ModelInfo, extend: number, before?: Version): Version {
  const budget = before ? longer(info, before) : budgetAt(budgetStep.value, info.contextLength);
  return {
    model: before?.model ?? info.name,
    seed: before?.seed ?? generation.value.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 1,
    ...(budget !== undefined && { budget }),
    extend,
    reasoning: "",
    content: "",
    state: "running",
  };
}

/** The cap that ended it would end it again; a solver without one thinks on beyond anything that it was trained on. */
function longer({ solves }: ModelInfo, { budget, usage }: Version): number | undefined {
  if (budget === undefined && !solves) return undefined;
  return (usage?.thinkingTokens ?? 0) + Math.max(96, budget ?? 0);
}

async function follow(
  at: Client,
  begun: Conversation,
  message: AssistantMessage,
  version: Version,
  stopper: AbortController,
): Promise<void> {
  const index = message.versions.length - 1;
  const change = (more: Partial<Version>) => {
    const now = conversations.value.find(({ id }) => id === begun.id);
    if (now) update(changeVersion(now, message.id, index, more));
  };
  const texts = gather((reasoning, content) => change({ reasoning, content }));
  const { system, maxTokens, seed: _seed, ...sampling } = generation.value;
  flushes.set(begun.id, texts.flush);
  const startedAt = performance.now();
  let thoughtSeconds: number | undefined;
  const thought = () => (thoughtSeconds ??= (performance.now() - startedAt) / 1000);
  try {
    const turns = turnsBefore(begun, message.id, system);
    const { model: name, seed, budget, extend } = version;
    const wish = {
      model: name,
      turns,
      sampling,
      seed,
      ...(maxTokens !== undefined && { maxTokens }),
      ...(budget !== undefined && { budget }),
      ...(extend > 0 && { extend }),
      signal: stopper.signal,
    };
    let end: Extract<Piece, { kind: "end" }> | undefined;
    for await (const piece of at.ask(wish)) {
      if (piece.kind === "end") end = piece;
      else {
        if (piece.kind === "content" && texts.hasReasoning()) thought();
        texts.add(piece.kind, piece.text);
      }
    }
    texts.flush();
    if (texts.hasReasoning()) thought();
    change({
      state: end?.reason ?? "stop",
      ...(end?.usage && { usage: end.usage }),
      ...(thoughtSeconds !== undefined && { thoughtSeconds }),
    });
  } catch (error) {
    texts.flush();
    if (texts.hasReasoning()) thought();
    const seconds = thoughtSeconds === undefined ? {} : { thoughtSeconds };
    if (stopper.signal.aborted) change({ state: "stopped", ...seconds });
    else change({ state: "failed", error: troubleOf(error), ...seconds });
  }
}

/** Gathers pieces and tells once a frame; a page in the background has no frames, so at the latest after a while. */
function gather(tell: (reasoning: string, content: string) => void) {
  const texts = { reasoning: "", content: "" };
  let isDue = false;
  const flush = () => {
    if (!isDue) return;
    isDue = false;
    tell(texts.reasoning, texts.content);
  };
  return {
    hasReasoning: () => texts.reasoning !== "",
    add(kind: "reasoning" | "content", text: string) {
      texts[kind] += text;
      if (isDue) return;
      isDue = true;
      if (document.hidden) setTimeout(flush, 250);
      else requestAnimationFrame(flush);
    },
    flush,
  };
}
