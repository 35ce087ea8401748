// A request to the app in the engine's worker, and its answer as it comes. In: a Request. Out: a Response whose body is a stream; who cancels it, or aborts the
// request's signal, stops the work.

import type { Wire } from "./wire.ts";

export async function remoteFetch(wire: Wire, request: Request): Promise<Response> {
  const stop = new AbortController();
  const signal = AbortSignal.any([request.signal, stop.signal]);
  const body = await request.arrayBuffer();
  return await new Promise<Response>((resolve, reject) => {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
    const stream = new ReadableStream<Uint8Array>({
      start: (given) => {
        controller = given;
      },
      cancel: (reason) => stop.abort(reason),
    });
    const { url, method } = request;
    wire
      .call(
        { kind: "fetch", url, method, headers: [...request.headers], body },
        {
          signal,
          hear: (reply) => {
            if (reply.kind === "head") {
              const { status } = reply;
              resolve(new Response(status === 204 || status === 304 ? null : stream, { status, headers: reply.headers }));
            } else if (reply.kind === "chunk") controller?.enqueue(reply.bytes);
          },
        },
      )
      .then(
        () => controller?.close(),
        (error) => {
          reject(error);
          // A stream that was cancelled has no use for the error.
          if (!stop.signal.aborted) controller?.error(error);
        },
      )
      .catch(() => {});
  });
}
