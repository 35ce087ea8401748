// The server in Node: a listener on one address with limits on everything that comes before a request is one. In: `fetch`, an address, limits. Out: a
// listening server. What HTTP's parser refuses is answered in the same error shape as everything else, and the connection is closed.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ConfigError, DeviceError } from "../core/errors.ts";
import type { Limits } from "../server/limits.ts";
import { complaintOf, exchange, type Fetch } from "./node-exchange.ts";

export type Listener = {
  readonly host: string;
  readonly port: number;
  /** Takes no new connections and closes idle ones; resolves when the last is closed. */
  close(): Promise<void>;
  /** Cuts what is still open. */
  destroy(): void;
};

export type ListenOptions = { readonly host: string; readonly port: number; readonly limits: Limits };

/** Rejects with ConfigError or DeviceError when the address cannot be had. */
export async function listen(fetch: Fetch, options: ListenOptions): Promise<Listener> {
  const { limits } = options;
  const server = createServer({
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headerSeconds * 1000,
    requestTimeout: (limits.headerSeconds + limits.bodySeconds) * 1000,
    connectionsCheckingInterval: 1000,
    keepAliveTimeout: limits.idleSeconds * 1000,
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
  });
  // Bounded by bytes; Node would drop what is beyond a count without a word.
  server.maxHeadersCount = 0;
  server.maxConnections = limits.connections;
  /** Sockets that were told what is wrong: one answer is enough, even if the parser chokes on the rest. */
  const told = new WeakSet<Duplex>();
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const complaint = complaintOf(incoming, limits.headers);
    if (complaint) {
      told.add(incoming.socket);
      writeRefusal(outgoing, complaint.status, complaint.message);
      return;
    }
    void exchange(incoming, outgoing, fetch, limits.writeSeconds);
  };
  server.on("request", answer);
  server.on("checkContinue", answer);
  server.on("checkExpectation", (incoming: IncomingMessage, outgoing: ServerResponse) => {
    told.add(incoming.socket);
    writeRefusal(outgoing, 417, "got an expectation that is not 100-continue; expected none");
  });
  server.on("connect", (_, socket: Duplex) => refuse(socket, 405, "got the method CONNECT; expected GET or POST"));
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (told.has(socket)) return void socket.end();
    const [status, message] = parserErrors[error.code ?? ""] ?? [400, "got bytes that are no HTTP request; expected HTTP/1.1"];
    refuse(socket, status, message);
  });
  const address = await start(server, options);
  return {
    host: options.host,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
    destroy: () => server.closeAllConnections(),
  };
}

const parserErrors: Readonly<Record<string, readonly [number, string]>> = {
  HPE_HEADER_OVERFLOW: [431, "got headers beyond the limit; expected smaller ones"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "got a request that did not come in time; expected a quicker one"],
  HPE_INVALID_METHOD: [400, "got an unknown method; expected GET or POST"],
};

function writeRefusal(outgoing: ServerResponse, status: number, message: string): void {
  const body = errorText(message, status);
  outgoing.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body), connection: "close" });
  outgoing.end(body);
}

function refuse(socket: Duplex, status: number, message: string): void {
  if (!socket.writable || (socket as Socket).destroyed) {
    socket.destroy();
    return;
  }
  const body = errorText(message, status);
  socket.end(
    `HTTP/1.1 ${status} ${reasons[status] ?? "Error"}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

const reasons: Readonly<Record<number, string>> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  431: "Request Header Fields Too Large",
};

function errorText(message: string, status: number): string {
  const type = status === 403 ? "permission_error" : "invalid_request_error";
  return JSON.stringify({ error: { message: `http: ${message}`, type, param: null, code: null } });
}

function start(server: Server, { host, port }: ListenOptions): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(cannotListen(error, host, port)));
    server.listen({ host, port }, () => {
      server.on("error", () => {}); // of single connections; their own events tell
      resolve(server.address() as AddressInfo);
    });
  });
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const operation = `listen on ${host}, port ${port}`;
  if (error.code === "EADDRINUSE")
    return new ConfigError(
      { operation, got: "a port that is in use", expected: "a free one", cure: "name another: --port 8081" },
      { cause: error },
    );
  if (error.code === "EACCES")
    return new ConfigError(
      { operation, got: "a port that needs rights", expected: "one above 1023", cure: "name another: --port 8080" },
      { cause: error },
    );
  return new DeviceError({ operation, got: error.message, expected: "an address of this machine", cure: "check --host" }, { cause: error });
}
