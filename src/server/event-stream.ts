// The body of a streamed answer. In: texts as they are made. Out: bytes, made only as fast as the client takes them. While nothing is made a
// comment keeps the connection open; a client that takes nothing for too long, or goes away, ends the work behind it.

export type EventStreamOptions = {
  readonly keepAliveSeconds: number;
  readonly writeSeconds: number;
  /** The comment; undefined: none (NDJSON has none). */
  readonly comment?: string;
  /** The client went away or does not read; called at most once, and not after the end. */
  readonly onGone: (reason: Error) => void;
};

const encoder = new TextEncoder();

export function eventStream(texts: AsyncIterator<string>, options: EventStreamOptions): ReadableStream<Uint8Array> {
  const { keepAliveSeconds, writeSeconds, comment, onGone } = options;
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  let isOver = false;
  /** The client has taken all and waits for more. */
  let isAwaited = false;
  /** Milliseconds: when the client last took something, or got it. */
  let since = performance.now();

  const end = () => {
    isOver = true;
    clearTimeout(watch);
  };
  const gone = (reason: Error) => {
    if (isOver) return;
    end();
    onGone(reason);
  };

  // One timer for both kinds of silence, set anew only when it has run out: chunks come by the thousand.
  const isReading = () => isAwaited && (stream?.desiredSize ?? 0) >= 0; // a comment may lie there unread
  const allowed = () => 1000 * (!isReading() ? writeSeconds : comment === undefined ? Number.POSITIVE_INFINITY : keepAliveSeconds);
  const shortest = 1000 * Math.min(keepAliveSeconds, writeSeconds);
  const look = () => {
    const left = since + allowed() - performance.now();
    if (left <= 1) {
      if (!isReading()) {
        const reason = new Error(`the client read nothing for ${writeSeconds} s`);
        gone(reason);
        stream?.error(reason);
        return;
      }
      since = performance.now();
      stream?.enqueue(encoder.encode(comment));
    }
    watch = setTimeout(look, left <= 1 ? shortest : Math.min(left, shortest));
  };
  let watch = setTimeout(look, shortest);

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stream = controller;
      },
      async pull(controller) {
        isAwaited = true;
        since = performance.now();
        try {
          const result = await texts.next();
          if (isOver) return;
          isAwaited = false;
          since = performance.now();
          if (result.done) {
            end();
            controller.close();
          } else controller.enqueue(encoder.encode(result.value));
        } catch (error) {
          if (isOver) return;
          end();
          controller.error(error);
        }
      },
      cancel(reason) {
        gone(reason instanceof Error ? reason : new Error("the client went away"));
      },
    },
    { highWaterMark: 0 },
  );
}

/** One server-sent event. */
export function event(data: unknown, name?: string): string {
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`;
}

export const eventHeaders: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};
