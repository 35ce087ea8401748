// Requests to the server that the page came from. In: a path below the page's own address. Out: the answer, or a ClientError that says which cure
// the page should offer. The key, where the server wants one, is kept for this tab alone.

import { ClientError } from "./client.ts";

const keyName = "gradually-key";

export function rememberKey(key: string): void {
  sessionStorage.setItem(keyName, key);
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const key = sessionStorage.getItem(keyName);
  const headers = new Headers(init.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  let response: Response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ClientError("unreachable", error instanceof Error ? error.message : String(error), { cause: error });
  }
  if (response.ok) return response;
  throw await explain(response);
}

export async function json(path: string, init?: RequestInit): Promise<unknown> {
  return await (await request(path, init)).json();
}

async function explain(response: Response): Promise<ClientError> {
  const text = await response.text().catch(() => "");
  return new ClientError(codeOf(response.status), messageOf(text) ?? `HTTP ${response.status}`);
}

function codeOf(status: number): ClientError["code"] {
  if (status === 401) return "key";
  if (status === 429) return "busy";
  if (status === 503) return "loading";
  return status >= 500 ? "broken" : "refused";
}

function messageOf(text: string): string | undefined {
  try {
    return messageIn(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The words of an error object as OpenAI has it. */
export function messageIn(value: unknown): string | undefined {
  const error = typeof value === "object" && value !== null && "error" in value ? value.error : undefined;
  return typeof error === "object" && error !== null && "message" in error ? String(error.message) : undefined;
}
