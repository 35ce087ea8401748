// Reads the body of a request. In: a Request from a stranger. Out: JSON, read strictly. Refused before it is read to the end: what is longer than
// the limit, compressed, or not JSON by its own word (so that a web page cannot send it without asking first: hazard A17). Ollama's own examples
// (`curl -d`) and clients say another type or none, so its routes take that from whoever is no web page.

import { FormatError } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue, parseJson } from "../core/json.ts";
import type { AppRequest } from "./call.ts";
import type { Limits } from "./limits.ts";
import { Refusal } from "./refusal.ts";

/** `unsaid`: JSON need not be called JSON. Throws Refusal: 400, 408, 413, 415. */
export async function readJsonBody(request: AppRequest, limits: Limits, unsaid = false): Promise<JsonObject> {
  checkHeaders(request, unsaid);
  const text = decode(await readBytes(request, limits.bodyBytes));
  let value: JsonValue;
  try {
    value = parseJson(text, { source: "the body", depth: limits.jsonDepth, unsafeIntegers: "round" });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const { operation, got, expected } = error.complaint;
    const place = /at line .*$/.exec(operation)?.[0] ?? "";
    throw new Refusal(`${got} ${place}`.trim(), expected, "send one JSON object", { status: 400, code: "invalid_json" });
  }
  if (!isJsonObject(value)) {
    const got = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
    throw new Refusal(`a body that is ${got}`, "one JSON object", "send an object", { status: 400, code: "invalid_json" });
  }
  // Objects of parseJson have no prototype, so that the name does no harm; who sends it means harm to somebody.
  if (mayNameProto(text) && hasKey(value, "__proto__"))
    throw new Refusal('a key "__proto__"', "names of fields", "leave it out", { status: 400, code: "invalid_json" });
  return value;
}

function checkHeaders({ headers }: AppRequest, unsaid: boolean): void {
  const type = headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  const mayBeUnsaid = unsaid && (type === "" || type === "application/x-www-form-urlencoded") && !isFromPage(headers);
  if (!mayBeUnsaid && !/^application\/(?:[\w.+-]+\+)?json$/.test(type)) {
    const got = type === "" ? "no Content-Type" : `Content-Type ${JSON.stringify(type.slice(0, 80))}`;
    throw new Refusal(got, "application/json", 'send the header "Content-Type: application/json"', { status: 415 });
  }
  const encoding = headers.get("content-encoding")?.trim().toLowerCase();
  if (encoding !== undefined && encoding !== "" && encoding !== "identity") {
    throw new Refusal(`a body with Content-Encoding ${JSON.stringify(encoding.slice(0, 40))}`, "a plain body", "send it uncompressed", {
      status: 415,
    });
  }
}

/** Browsers add these to what a page of another origin sends, and no page can take them away. */
function isFromPage(headers: AppRequest["headers"]): boolean {
  return headers.has("origin") || headers.has("sec-fetch-site");
}

async function readBytes(request: AppRequest, limit: number): Promise<Uint8Array> {
  const claimed = request.headers.get("content-length");
  if (claimed !== null && Number(claimed) > limit) throw tooLarge(`a body of ${claimed.slice(0, 20)} bytes`, limit);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.read ? undefined : request.body?.getReader();
  for (;;) {
    let chunk: Uint8Array | undefined;
    try {
      chunk = request.read ? await request.read() : (await reader?.read())?.value;
    } catch (cause) {
      throw new Refusal(
        cause instanceof Error && cause.name === "TimeoutError" ? "a body that did not come in time" : "a body that broke off",
        "the whole body",
        "send it again",
        { status: cause instanceof Error && cause.name === "TimeoutError" ? 408 : 400 },
      );
    }
    if (!chunk) break;
    size += chunk.length;
    if (size > limit) {
      reader?.cancel().catch(() => {});
      throw tooLarge(`a body of more than ${limit} bytes`, limit);
    }
    chunks.push(chunk);
  }
  const [only] = chunks;
  if (only && chunks.length === 1) return only;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function tooLarge(got: string, limit: number): Refusal {
  return new Refusal(got, `at most ${limit} bytes`, "send less", { status: 413, headers: { connection: "close" } });
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refusal("bytes that are not UTF-8", "UTF-8 text", "encode the body as UTF-8", { status: 400, code: "invalid_json" });
  }
}

/** Whether `__proto__` may be among the keys, spelled out or with any of its letters escaped. */
function mayNameProto(text: string): boolean {
  return text.includes("__proto__") || text.includes("\\u00");
}

/** The depth is bounded by the parser's. */
function hasKey(value: JsonValue, key: string): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (Array.isArray(value)) return value.some((item) => hasKey(item, key));
  return Object.keys(value).some((name) => name === key || hasKey(value[name] as JsonValue, key));
}
