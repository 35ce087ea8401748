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
  let next: Promise<IteratorResult<string>> | undefined;
  let unread: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;

  const gone = (reason: Error) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(unread);
    onGone(reason);
  };

  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  const armed = () =>
    setTimeout(() => {
      const reason = new Error(`the client read nothing for ${writeSeconds} s`);
      gone(reason);
      stream?.error(reason);
    }, writeSeconds * 1000);

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stream = controller;
        unread = armed();
      },
      async pull(controller) {
        clearTimeout(unread);
        try {
          next ??= texts.next();
          const result = comment === undefined ? await next : await orSilence(next, keepAliveSeconds);
          if (isOver) return;
          if (result === undefined) controller.enqueue(encoder.encode(comment));
          else {
            next = undefined;
            if (result.done) {
              isOver = true;
              controller.close();
              return;
            }
            controller.enqueue(encoder.encode(result.value));
          }
          unread = armed();
        } catch (error) {
          if (isOver) return;
          isOver = true;
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

/** What comes, or undefined after so many seconds of silence. */
async function orSilence<T>(promise: Promise<T>, seconds: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), seconds * 1000);
  });
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
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
