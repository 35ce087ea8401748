// The body of a streamed answer. In: texts as they are made. Out: bytes, made only as fast as the client takes them. While nothing is made a
// comment keeps the connection open; a client that takes nothing for too long, or goes away, ends the work behind it. Unusual: the body is a
// ReadableStream, and a host that writes to sockets takes its texts from behind it (`feedOf`): a chunk then costs it two promises, not seven.

export type EventStreamOptions = {
  readonly keepAliveSeconds: number;
  readonly writeSeconds: number;
  /** The comment; undefined: none (NDJSON has none). */
  readonly comment?: string;
  /** The client went away or does not read; called at most once, and not after the end. */
  readonly onGone: (reason: Error) => void;
};

/** Where texts go. */
export type Outlet = {
  /** Takes a comment between two texts. */
  write(text: string): void;
  /** Whether all that was given to it has been taken on. */
  isClear(): boolean;
  /** The client read nothing for too long. */
  fail(reason: Error): void;
};

/** What is to be sent next; `text` may be empty. */
export type Piece = { readonly text: string; readonly isLast: boolean };

/** Rejects with what ended the answer. */
export type Texts = () => Promise<Piece>;

/** Texts for one reader, who asks for the next one when he has room for it. */
export class Feed {
  readonly #texts: Texts;
  readonly #options: EventStreamOptions;
  #outlet: Outlet | undefined;
  #isOver = false;
  /** The client has taken all and waits for more. */
  #isAwaited = false;
  /** Milliseconds: when the client last took something, or got it. */
  #since = performance.now();
  #watch: ReturnType<typeof setTimeout>;
  #leave: (() => void) | undefined;

  constructor(texts: Texts, options: EventStreamOptions) {
    this.#texts = texts;
    this.#options = options;
    this.#watch = setTimeout(this.#look, this.#shortest);
  }

  /** To be told before the first `next`. */
  set outlet(outlet: Outlet) {
    this.#outlet = outlet;
  }

  /** Undefined after the last, and when the client is gone. */
  next(): Promise<Piece | undefined> {
    if (this.#isOver) return Promise.resolve(undefined);
    this.#isAwaited = true;
    this.#since = performance.now();
    return new Promise((resolve, reject) => {
      this.#leave = () => resolve(undefined);
      const take = (piece: Piece) => {
        if (this.#isOver) return;
        this.#isAwaited = false;
        this.#since = performance.now();
        if (piece.isLast) this.#end();
        resolve(piece);
      };
      this.#texts().then(take, (error) => {
        if (this.#isOver) return;
        this.#end();
        reject(error);
      });
    });
  }

  /** The client went away: nothing more is wanted. */
  cancel(reason: unknown): void {
    if (this.#isOver) return;
    this.#end();
    this.#options.onGone(reason instanceof Error ? reason : new Error("the client went away"));
    this.#leave?.();
  }

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#watch);
  }

  get #shortest(): number {
    return 1000 * Math.min(this.#options.keepAliveSeconds, this.#options.writeSeconds);
  }

  /** One timer for both kinds of silence, set anew only when it has run out: chunks come by the thousand. */
  readonly #look = (): void => {
    const { writeSeconds, keepAliveSeconds, comment } = this.#options;
    const isReading = this.#isAwaited && this.#outlet?.isClear() !== false; // a comment may lie there unread
    const allowed = 1000 * (!isReading ? writeSeconds : comment === undefined ? Number.POSITIVE_INFINITY : keepAliveSeconds);
    const left = this.#since + allowed - performance.now();
    if (left <= 1) {
      if (!isReading) {
        const reason = new Error(`the client read nothing for ${writeSeconds} s`);
        this.cancel(reason);
        this.#outlet?.fail(reason);
        return;
      }
      this.#since = performance.now();
      this.#outlet?.write(comment as string);
    }
    this.#watch = setTimeout(this.#look, left <= 1 ? this.#shortest : Math.min(left, this.#shortest));
  };
}

const feeds = new WeakMap<ReadableStream<Uint8Array>, Feed>();

/** The feed behind a stream of `eventStream`; who takes it must not read the stream. */
export function feedOf(stream: ReadableStream<Uint8Array>): Feed | undefined {
  return feeds.get(stream);
}

const encoder = new TextEncoder();

export function eventStream(texts: Texts, options: EventStreamOptions): ReadableStream<Uint8Array> {
  const feed = new Feed(texts, options);
  let isClosed = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        feed.outlet = {
          write: (text) => controller.enqueue(encoder.encode(text)),
          isClear: () => (controller.desiredSize ?? 0) >= 0,
          fail: (reason) => {
            isClosed = true;
            controller.error(reason);
          },
        };
      },
      async pull(controller) {
        const piece = await feed.next();
        if (isClosed) return;
        if (piece) controller.enqueue(encoder.encode(piece.text));
        if (piece?.isLast !== false) controller.close();
      },
      cancel(reason) {
        isClosed = true;
        feed.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
  feeds.set(stream, feed);
  return stream;
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
