// The model in this tab: open one, know how far it is, forget stored ones. In: an address, files, or the name of a stored model. Out: signals. One model at
// a time: opening another closes the first, since both would share the tab's memory.

import { signal } from "@preact/signals";
import {
  type BrowserModel,
  type BrowserSource,
  deleteModel,
  type LoadProgress,
  load,
  type StoredModel,
  storedModels,
} from "../../../src/platform/browser.ts";
import { refreshModels, type Trouble, troubleOf } from "../state/app.ts";

export const opened = signal<BrowserModel | undefined>(undefined);
/** What is being opened and how far it is. */
export const opening = signal<{ readonly what: string; readonly progress?: LoadProgress; readonly stop: AbortController } | undefined>(
  undefined,
);
export const stored = signal<readonly StoredModel[]>([]);
export const tabTrouble = signal<Trouble | undefined>(undefined);
export const warning = signal<string | undefined>(undefined);
/** Whether the site has a model of its own, in the folder `countdown-reasoner` beside the page. */
export const hasBundled = signal(false);

const bundled = () => new URL("countdown-reasoner/", document.baseURI).href;

export async function refreshStored(): Promise<void> {
  try {
    stored.value = await storedModels();
  } catch {
    // A browser without a private file system keeps nothing; opening a model says so.
    stored.value = [];
  }
}

/** The site's own model opens by itself. */
export async function openBundled(): Promise<void> {
  try {
    const response = await fetch(new URL("config.json", bundled()));
    hasBundled.value = response.ok && typeof ((await response.json()) as { model_type?: unknown }).model_type === "string";
  } catch {
    hasBundled.value = false;
  }
  if (hasBundled.value && !opened.value && !opening.value) await open(bundled(), bundled());
}

export async function open(source: BrowserSource, what: string): Promise<void> {
  opening.value?.stop.abort();
  const stop = new AbortController();
  opening.value = { what, stop };
  tabTrouble.value = undefined;
  warning.value = undefined;
  let trouble: Trouble | undefined;
  const before = new Set(stored.value.map(({ name }) => name));
  try {
    await opened.value?.close();
    opened.value = undefined;
    opened.value = await load(source, {
      signal: stop.signal,
      onProgress: (progress) => {
        if (opening.value?.stop === stop) opening.value = { what, stop, progress };
      },
      onWarning: (text) => {
        warning.value = text;
      },
    });
  } catch (error) {
    trouble = troubleOf((await import("../client/tab-client.ts")).explain(error));
    if (typeof source !== "string") await forgetNew(before);
  }
  if (opening.value?.stop === stop) opening.value = undefined;
  await refreshModels();
  await refreshStored();
  // Last, so that whoever reads it sees a list in which what was broken off already stands.
  if (trouble && !stop.signal.aborted) tabTrouble.value = trouble;
}

/** A file that is no model is not worth keeping; of a download that broke off the rest is fetched later. */
async function forgetNew(before: ReadonlySet<string>): Promise<void> {
  await refreshStored();
  for (const { name } of stored.value) if (!before.has(name)) await deleteModel(name).catch(() => {});
}

export async function forget(name: string): Promise<void> {
  try {
    await deleteModel(name);
  } catch (error) {
    tabTrouble.value = troubleOf(error);
  }
  await refreshStored();
}
