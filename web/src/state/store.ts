// Conversations on this machine: one record each in IndexedDB. In: conversations. Out: the same after a reload. Where the browser gives no storage
// (private windows, a full disk) they last as long as the page, and `isLasting` says so.

import { type Conversation, readConversation } from "./conversation.ts";

const memory = new Map<string, Conversation>();
let opened: Promise<IDBDatabase | undefined> | undefined;

function database(): Promise<IDBDatabase | undefined> {
  opened ??= new Promise((resolve) => {
    try {
      const asked = indexedDB.open("gradually", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("conversations", { keyPath: "id" });
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => resolve(undefined);
      asked.onblocked = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
  return opened;
}

export async function isLasting(): Promise<boolean> {
  return (await database()) !== undefined;
}

async function ask<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  const base = await database();
  if (!base) return undefined;
  return await new Promise((resolve) => {
    try {
      const transaction = base.transaction("conversations", mode);
      const request = work(transaction.objectStore("conversations"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => resolve(undefined);
      transaction.onerror = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}

/** The one changed last comes first. */
export async function allConversations(): Promise<Conversation[]> {
  const rows: unknown[] = (await ask("readonly", (store) => store.getAll())) ?? [...memory.values()];
  const found = rows.map(readConversation).filter((one) => one !== undefined);
  return found.sort((a, b) => b.updated - a.updated);
}

export async function keepConversation(conversation: Conversation): Promise<void> {
  memory.set(conversation.id, conversation);
  await ask("readwrite", (store) => store.put(conversation));
}

export async function dropConversation(id: string): Promise<void> {
  memory.delete(id);
  await ask("readwrite", (store) => store.delete(id));
}

export async function dropAll(): Promise<void> {
  memory.clear();
  await ask("readwrite", (store) => store.clear());
}
