// A Hub of one's own on 127.0.0.1: the API (revision, tree), files by `resolve` with the Hub's headers, and a second server that plays the store of large
// files, to which the first redirects. Honest unless a test puts a `fault` in; every request is written down.

import { createHash } from "node:crypto";
import * as http from "node:http";
import type { AddressInfo, Socket } from "node:net";

export type Request = {
  readonly at: "hub" | "store";
  /** Decoded path without the query, e.g. `/org/name/resolve/COMMIT/model.safetensors`. */
  readonly path: string;
  readonly raw: string;
  readonly range?: string;
  readonly token?: string;
  /** Which request for this file at this server it is, from 1. */
  readonly count: number;
};

type Respond = { readonly request: Request; readonly response: http.ServerResponse; readonly bytes: Buffer | undefined };
/** Answers in place of the server when it returns true. */
export type Fault = (at: Respond) => boolean | undefined;

export type Repository = { readonly commit: string; readonly files: ReadonlyMap<string, Buffer> };

export class HubServer {
  readonly requests: Request[] = [];
  readonly repositories = new Map<string, Repository>();
  fault: Fault | undefined;
  /** Changes what the tree says, e.g. a hash. */
  tamper: ((entries: Record<string, unknown>[]) => unknown) | undefined;
  /** Files of so many bytes and more lie in the store. */
  lfsFrom = 2000;
  pageSize = 1000;
  #hub = http.createServer((request, response) => this.#answer("hub", request, response));
  #store = http.createServer((request, response) => this.#answer("store", request, response));
  #sockets = new Set<Socket>();

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    for (const one of [server.#hub, server.#store]) {
      one.on("connection", (socket) => {
        server.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => server.#sockets.delete(socket));
      });
      await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
    }
    return server;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all([this.#hub, this.#store].map((one) => new Promise((resolve) => one.close(resolve))));
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storePort(): number {
    return (this.#store.address() as AddressInfo).port;
  }

  add(name: string, files: Readonly<Record<string, Buffer | string>>, commit = createHash("sha1").update(name).digest("hex")): Repository {
    const made = { commit, files: new Map(Object.entries(files).map(([path, bytes]) => [path, Buffer.from(bytes)])) };
    this.repositories.set(name, made);
    return made;
  }

  reset(): void {
    this.requests.length = 0;
    this.repositories.clear();
    this.fault = undefined;
    this.tamper = undefined;
    this.pageSize = 1000;
  }

  /** Requests for one file, by server. */
  asked(at: Request["at"], file: string): Request[] {
    return this.requests.filter((request) => request.at === at && request.path.endsWith(`/${file}`));
  }

  #answer(at: Request["at"], incoming: http.IncomingMessage, response: http.ServerResponse): void {
    const raw = incoming.url ?? "/";
    const url = new URL(raw, "http://x");
    const path = decodeURIComponent(url.pathname);
    const { range, authorization: token } = incoming.headers;
    const count = this.requests.filter((other) => other.at === at && other.path === path).length + 1;
    const request: Request = { at, path, raw, count, ...(range !== undefined && { range }), ...(token !== undefined && { token }) };
    this.requests.push(request);
    response.on("error", () => {});
    const [, organisation, name, verb, commit, ...rest] = path.split("/");
    const repository = this.repositories.get(`${organisation}/${name}`);
    const bytes = verb === "resolve" && commit === repository?.commit ? repository?.files.get(rest.join("/")) : undefined;
    if (this.fault?.({ request, response, bytes })) return;
    if (path.startsWith("/api/models/")) this.#api(path, url, response);
    else if (!repository || bytes === undefined)
      response.writeHead(404, { "x-error-code": repository ? "EntryNotFound" : "RepoNotFound" }).end();
    else if (at === "hub" && bytes.length >= this.lfsFrom) {
      response
        .writeHead(302, { ...hubHeaders(bytes, repository.commit, true), location: `http://127.0.0.1:${this.storePort}${raw}` })
        .end();
    } else send(response, bytes, range, at === "hub" ? hubHeaders(bytes, repository.commit, false) : { etag: '"of-the-store"' });
  }

  #api(path: string, url: URL, response: http.ServerResponse): void {
    const [, , , organisation, name, verb, ...rest] = path.split("/");
    const revision = rest.join("/");
    const repository = this.repositories.get(`${organisation}/${name}`);
    if (!repository || (revision !== "main" && revision !== repository.commit && revision !== "refs/pr/1")) {
      response.writeHead(404, { "x-error-code": repository ? "RevisionNotFound" : "RepoNotFound" }).end("{}");
      return;
    }
    if (verb === "revision") {
      const info = {
        _id: "1",
        id: `${organisation}/${name}`,
        sha: repository.commit,
        private: false,
        gated: false,
        downloads: 1,
        likes: 1,
        lastModified: "2026-01-01",
      };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(info));
      return;
    }
    const entries: Record<string, unknown>[] = [...repository.files].map(([file, bytes]) => ({
      type: "file",
      path: file,
      size: bytes.length,
      oid: gitHash(bytes),
      ...(bytes.length >= this.lfsFrom && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
    }));
    const page = Number(url.searchParams.get("page") ?? 0);
    const shown = entries.slice(page * this.pageSize, (page + 1) * this.pageSize);
    const link =
      (page + 1) * this.pageSize < entries.length ? { link: `<${this.endpoint}${url.pathname}?page=${page + 1}>; rel="next"` } : {};
    response.writeHead(200, { "content-type": "application/json", ...link }).end(JSON.stringify(this.tamper ? this.tamper(shown) : shown));
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

export function hubHeaders(bytes: Buffer, commit: string, isLarge: boolean): Record<string, string> {
  if (!isLarge) return { etag: `"${gitHash(bytes)}"`, "x-repo-commit": commit };
  return { "x-linked-etag": `"${sha256(bytes)}"`, "x-linked-size": String(bytes.length), "x-repo-commit": commit };
}

/** An honest answer, to a Range too. */
export function send(response: http.ServerResponse, bytes: Buffer, range: string | undefined, headers: Record<string, string> = {}): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  if (range !== undefined && from >= bytes.length) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  const rest = bytes.subarray(from);
  const partial = range === undefined ? {} : { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(range === undefined ? 200 : 206, { "content-length": rest.length, ...partial, ...headers }).end(rest);
}

/** The honest headers, then only so many bytes, then the connection breaks. */
export function breakAfter(response: http.ServerResponse, bytes: Buffer, range: string | undefined, count: number): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const partial = range === undefined ? {} : { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  response.writeHead(range === undefined ? 200 : 206, { "content-length": bytes.length - from, ...partial });
  response.write(bytes.subarray(from, from + count), () => setTimeout(() => response.destroy(), 2));
}
