// Finds out where the models are. In: nothing but the page's own address. Out: the client of the server that the page came from; where there is
// none (a static site), of models in this tab. A server that wants a key is a server, too: its 401 goes to the caller.

import { type Client, ClientError } from "./client.ts";
import { serverClient } from "./server-client.ts";

export async function openClient(): Promise<Client> {
  if (!(await isServed())) return (await import("./tab-client.ts")).tabClient();
  return serverClient();
}

/** /health is public and says so in JSON; a static host has no such file, or shows a page in its place. */
async function isServed(): Promise<boolean> {
  try {
    const response = await fetch(new URL("health", document.baseURI));
    return response.ok && ((await response.json()) as { status?: unknown }).status === "ok";
  } catch {
    return false;
  }
}

export { ClientError };
