// Placeholder until the browser door is merged.
import { type Client, ClientError } from "./client.ts";

export function tabClient(): Client {
  return {
    place: "tab",
    models: async () => [],
    // biome-ignore lint/correctness/useYield: it only refuses
    ask: async function* () {
      throw new ClientError("broken", "no model is open");
    },
  };
}
