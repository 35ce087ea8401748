// The list of runs, asked for again every few seconds while the view is open, so that a new run appears by itself.

import { signal } from "@preact/signals";
import type { RunLine } from "../client/client.ts";
import { client, type Trouble, troubleOf } from "../state/app.ts";

export const runs = signal<readonly RunLine[] | undefined>(undefined);
export const folder = signal<string>("runs");
export const leftOut = signal(0);
export const runsTrouble = signal<Trouble | undefined>(undefined);

export async function refreshRuns(): Promise<void> {
  const at = client.value?.runs;
  if (!at) return;
  try {
    const found = await at.list();
    runs.value = found.runs;
    folder.value = found.folder ?? "runs";
    leftOut.value = found.left_out;
    runsTrouble.value = undefined;
  } catch (error) {
    runsTrouble.value = troubleOf(error);
  }
}

const pause = 4000;

/** Returns what ends it. */
export function watchRuns(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;
  const look = async () => {
    if (!document.hidden || runs.value === undefined) await refreshRuns();
    if (!isOver) timer = setTimeout(() => void look(), pause);
  };
  void look();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}
