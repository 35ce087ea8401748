// What all views share: the client, the models, and what is wrong. In: the page's start. Out: signals. The list of models is asked for again while
// the server loads, so that the page becomes usable by itself.

import { computed, signal } from "@preact/signals";
import { type Client, ClientError, type ModelInfo } from "../client/client.ts";
import { openClient } from "../client/open-client.ts";
import { modelName } from "./settings.ts";

export type Trouble = { readonly code: ClientError["code"]; readonly detail: string };

export const client = signal<Client | undefined>(undefined);
export const models = signal<readonly ModelInfo[]>([]);
export const trouble = signal<Trouble | undefined>(undefined);

/** The chosen model, or the first. */
export const model = computed(() => models.value.find(({ name }) => name === modelName.value) ?? models.value[0]);

export function troubleOf(error: unknown): Trouble {
  if (error instanceof ClientError) return { code: error.code, detail: error.detail };
  return { code: "broken", detail: error instanceof Error ? error.message : String(error) };
}

export async function start(): Promise<void> {
  try {
    client.value ??= await openClient();
    await refreshModels();
  } catch (error) {
    trouble.value = troubleOf(error);
  }
}

/** A model that is still being loaded has no context yet: it is asked for again. */
export async function refreshModels(): Promise<void> {
  if (!client.value) return;
  models.value = await client.value.models();
  trouble.value = undefined;
  if (client.value.place === "server" && models.value[0]?.contextLength === undefined)
    setTimeout(() => void refreshModels().catch((error: unknown) => (trouble.value = troubleOf(error))), 700);
}
