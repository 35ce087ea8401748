// The page's end of the line to the engine's worker: numbers calls, hands replies to whoever asked, and turns the death of the worker into a DeviceError of
// everybody who waits.

import { DeviceError } from "../../core/errors.ts";
import { type Call, fromWire, type ToPage } from "./messages.ts";

type Done = Extract<ToPage, { kind: "done" }>;
type Listener = { readonly hear: (reply: ToPage) => void; readonly fail: (error: Error) => void };

export class Wire {
  readonly #worker: Worker;
  readonly #listeners = new Map<number, Listener>();
  #ids = 0;
  #failure: Error | undefined;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }: MessageEvent<ToPage>) => this.#listeners.get(data.id)?.hear(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault?.();
      const said = "message" in event && event.message ? String(event.message) : "a worker that did not start";
      const cure =
        "see the browser's console; serve the worker's file with the page's COEP header, and close other tabs if memory is short";
      this.#end(new DeviceError({ operation: "run the model's worker", got: said, expected: "a running worker", cure }));
    });
    worker.addEventListener("messageerror", () =>
      this.#end(
        new DeviceError({
          operation: "hear from the model's worker",
          got: "a message that cannot be read",
          expected: "one that can",
          cure: "load the model again",
        }),
      ),
    );
  }

  /** Resolves with the last reply; earlier ones go to `hear`. `signal` asks the worker to stop; the call then rejects with its reason. */
  call(call: Call, options: { readonly hear?: (reply: ToPage) => void; readonly signal?: AbortSignal } = {}): Promise<Done> {
    const { signal } = options;
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = ++this.#ids;
    return new Promise<Done>((resolve, reject) => {
      const cancel = () => this.#worker.postMessage({ id, kind: "cancel" });
      const leave = () => {
        this.#listeners.delete(id);
        signal?.removeEventListener("abort", cancel);
      };
      const fail = (error: unknown) => {
        leave();
        reject(signal?.aborted ? signal.reason : error);
      };
      const hear = (reply: ToPage) => {
        if (reply.kind === "failed") fail(fromWire(reply.error));
        else if (reply.kind === "done") {
          leave();
          resolve(reply);
        } else options.hear?.(reply);
      };
      this.#listeners.set(id, { hear, fail });
      signal?.addEventListener("abort", cancel, { once: true });
      try {
        this.#worker.postMessage({ id, ...call });
      } catch (thrown) {
        fail(thrown);
      }
    });
  }

  /** Ends the worker; who still waits gets `error`. */
  terminate(error: Error): void {
    this.#end(error);
    this.#worker.terminate();
  }

  #end(error: Error): void {
    this.#failure ??= error;
    for (const { fail } of [...this.#listeners.values()]) fail(error);
  }
}
