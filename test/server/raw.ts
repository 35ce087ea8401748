// Bytes on a socket, for what no HTTP client would send. Out: what the server answered until it closed or said nothing for a while.

import { connect } from "node:net";

export type RawAnswer = { readonly status: number; readonly text: string; readonly isClosed: boolean };

/** Sends the pieces one after the other, `gapMs` between them; ends when the server closes or after `waitMs` of silence. */
export function raw(port: number, pieces: readonly (string | Uint8Array)[], { waitMs = 300, gapMs = 0 } = {}): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    let timer: ReturnType<typeof setTimeout>;
    const done = (isClosed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), text, isClosed });
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => done(false), waitMs);
    };
    socket.on("data", (data) => {
      text += data.toString("latin1");
      wait();
    });
    socket.on("close", () => done(true));
    socket.on("error", () => {});
    socket.on("connect", async () => {
      wait();
      for (const piece of pieces) {
        if (socket.destroyed) return;
        socket.write(piece);
        if (gapMs > 0) await new Promise((next) => setTimeout(next, gapMs));
        wait();
      }
    });
  });
}

export function post(path: string, body: string, headers: readonly string[] = []): string {
  const lines = [
    `POST ${path} HTTP/1.1`,
    "Host: localhost",
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  return `${[...lines, ...headers].join("\r\n")}\r\n\r\n${body}`;
}
