// One HTTP exchange of Node as the server's request and the web's Response. In: an incoming message. Out: the answer of `fetch`, written no faster than
// the client takes it. The request's signal aborts when the client goes away before the answer's end. Unusual: texts that come one by one are
// framed here and given to the socket in one piece each, the last with the end of the answer: Node would cork four pieces together for each.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { AppRequest } from "../server/call.ts";
import { type Feed, feedOf } from "../server/event-stream.ts";
import { NodeRequest } from "./node-request.ts";

export type Fetch = (request: AppRequest) => Promise<Response>;

/** What is wrong with a request before it is one: status and reason. */
export type Complaint = { readonly status: number; readonly message: string };

/** Checks what the web's Request would hide: Host headers, the form of the path. */
export function complaintOf({ method, url = "", rawHeaders, httpVersion }: IncomingMessage, mostHeaders: number): Complaint | undefined {
  if (rawHeaders.length / 2 > mostHeaders)
    return { status: 431, message: `got ${rawHeaders.length / 2} headers; expected at most ${mostHeaders}` };
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host").length;
  if (hosts > 1) return { status: 400, message: `got ${hosts} Host headers; expected one` };
  if (hosts === 0) return { status: httpVersion === "1.0" ? 403 : 400, message: "got no Host header; expected one" };
  const codings = rawHeaders.filter((_, i) => i % 2 === 1 && (rawHeaders[i - 1] as string).toLowerCase() === "transfer-encoding");
  if (codings.length > 1 || (codings[0] !== undefined && codings[0].toLowerCase() !== "chunked"))
    return { status: 400, message: "got an odd Transfer-Encoding; expected chunked" };
  if (method === "TRACE" || method === "CONNECT" || method === "TRACK")
    return { status: 405, message: `got the method ${method}; expected GET or POST` };
  const path = pathOf(url, rawHeaders).split(/[?#]/, 1)[0] ?? "";
  if (/^(?:\/[\w-]+)+$/.test(path)) return undefined;
  const isPlain = path.startsWith("/") && URL.canParse(path, "http://localhost") && new URL(`http://localhost${path}`).pathname === path;
  if (!isPlain || /%(?:[01][0-9a-f]|7f)|%5c|\\/i.test(path))
    return { status: 400, message: "got a path with dots, control characters or none at all; expected a plain path" };
  return undefined;
}

/** The target without the address that a client of a proxy puts before it, where that is the one in its Host header. */
function pathOf(url: string, rawHeaders: readonly string[]): string {
  const [, host, rest = ""] = /^http:\/\/([^/?#]+)(.*)$/i.exec(url) ?? [];
  if (host === undefined) return url;
  const named = rawHeaders.find((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === "host");
  return named?.toLowerCase() === host.toLowerCase() ? rest || "/" : url;
}

/** Answers one exchange. Never rejects. */
export async function exchange(incoming: IncomingMessage, outgoing: ServerResponse, fetch: Fetch, writeSeconds: number): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) gone.abort(new Error("the client went away"));
  });
  try {
    const path = pathOf(incoming.url ?? "/", incoming.rawHeaders);
    const response = await fetch(new NodeRequest(incoming, outgoing, path, gone.signal));
    await write(response, outgoing, gone.signal, writeSeconds, incoming.complete);
  } catch (error) {
    if (!gone.signal.aborted) outgoing.destroy(error instanceof Error ? error : undefined);
  }
  discard(incoming);
}

async function write(
  response: Response,
  outgoing: ServerResponse,
  gone: AbortSignal,
  writeSeconds: number,
  isRead: boolean,
): Promise<void> {
  const headers: Record<string, string> = Object.fromEntries(response.headers);
  // What is left of an unread body would be taken for the next request.
  if (!isRead) headers.connection = "close";
  if (gone.aborted) return await response.body?.cancel(gone.reason);
  const isStream = /event-stream|ndjson/.test(response.headers.get("content-type") ?? "");
  if (!isStream) {
    // Whole answers are small: they are written at once, and a client that does not take them is cut.
    const bytes = new Uint8Array(await response.arrayBuffer());
    outgoing.writeHead(response.status, { ...headers, "content-length": bytes.length });
    outgoing.setTimeout(writeSeconds * 1000, () => outgoing.destroy());
    outgoing.end(bytes);
    return;
  }
  outgoing.writeHead(response.status, headers);
  const feed = response.body && feedOf(response.body);
  if (feed) await pour(feed, outgoing, gone);
  else await copy(response.body?.getReader(), outgoing, gone);
}

/** Texts of an answer that is being made, in as few steps as there are. */
async function pour(feed: Feed, outgoing: ServerResponse, gone: AbortSignal): Promise<void> {
  // Whether the answer goes in chunks was settled when its head was made: not for clients of HTTP/1.0.
  const isFramed = outgoing.chunkedEncoding;
  outgoing.chunkedEncoding = false;
  const send = (text: string, isLast = false): boolean => {
    const bytes = Buffer.byteLength(text);
    const chunk = isFramed && text !== "" ? `${bytes.toString(16)}\r\n${text}\r\n` : text;
    const framed = isFramed && isLast ? `${chunk}0\r\n\r\n` : chunk;
    // Most texts are ASCII, which needs no encoding.
    const encoding = bytes === text.length ? "latin1" : "utf8";
    if (isLast) outgoing.end(framed, encoding);
    else if (framed !== "") return outgoing.write(framed, encoding);
    return true;
  };
  feed.outlet = {
    write: (text) => send(text),
    isClear: () => !outgoing.writableNeedDrain,
    fail: (reason) => outgoing.destroy(reason),
  };
  const onGone = () => feed.cancel(gone.reason);
  gone.addEventListener("abort", onGone, { once: true });
  // The first text, where it is there at once, goes with the headers.
  const flushing = setImmediate(() => outgoing.flushHeaders());
  try {
    for (;;) {
      const piece = await feed.next();
      clearImmediate(flushing);
      if (!piece || gone.aborted) break;
      if (!send(piece.text, piece.isLast)) await drained(outgoing);
      if (piece.isLast) return;
    }
    outgoing.destroy();
  } finally {
    gone.removeEventListener("abort", onGone);
  }
}

async function copy(
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined,
  outgoing: ServerResponse,
  gone: AbortSignal,
): Promise<void> {
  outgoing.flushHeaders();
  const onGone = () => reader?.cancel(gone.reason).catch(() => {});
  gone.addEventListener("abort", onGone, { once: true });
  try {
    while (reader && !gone.aborted) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!outgoing.write(value)) await drained(outgoing);
    }
    outgoing.end();
  } finally {
    gone.removeEventListener("abort", onGone);
  }
}

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      outgoing.off("drain", wake);
      outgoing.off("close", wake);
      resolve();
    };
    outgoing.on("drain", wake);
    outgoing.on("close", wake);
    if (outgoing.destroyed) wake();
  });
}

const lingerMs = 500;

/** Reads what is left of a body for half a second, unseen, so that the client gets to read the answer before the connection closes. */
function discard(incoming: IncomingMessage): void {
  if (incoming.complete || incoming.destroyed) return;
  incoming.removeAllListeners("readable");
  incoming.resume();
  const timer = setTimeout(() => incoming.destroy(), lingerMs);
  incoming.once("close", () => clearTimeout(timer));
}
