// What went wrong on the GPU. WebGPU does not throw: an error arrives later, by an error scope, by the device's loss or by an event, and commands go on with
// memory that was never there. So the first failure is kept, every read waits for the scopes that are open before it, and throws what they found.

import { DeviceError } from "../../core/errors.ts";
import { noMemory } from "../backend.ts";

export class Failure {
  readonly #device: GPUDevice;
  readonly #checks = new Set<Promise<void>>();
  #first: DeviceError | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
    device.lost.then(({ reason, message }) => this.#fail("run on the webgpu device", `a lost device (${reason}): ${message}`));
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault?.();
      this.#fail("run on the webgpu device", event.error.message);
    });
  }

  /** True from the first failure on: what is in the buffers can no longer be trusted. */
  get isLost(): boolean {
    return this.#first !== undefined;
  }

  /** Runs `body` under error scopes; what they find is the failure of `operation`. */
  watch<T>(operation: string, filters: readonly GPUErrorFilter[], body: () => T): T {
    for (const filter of filters) this.#device.pushErrorScope(filter);
    try {
      return body();
    } finally {
      for (const filter of filters.toReversed()) this.#await(operation, filter);
    }
  }

  /** Waits for all scopes so far; throws DeviceError once something has failed. */
  async settle(): Promise<void> {
    while (this.#checks.size > 0) await Promise.all(this.#checks);
    this.throwIfFailed();
  }

  throwIfFailed(): void {
    if (this.#first) throw this.#first;
  }

  /** The host's own reason, e.g. a map that was refused; the first reason stays. */
  fail(operation: string, got: string): void {
    this.#fail(operation, got);
  }

  #await(operation: string, filter: GPUErrorFilter): void {
    const check = this.#device
      .popErrorScope()
      .then((error) => {
        if (error) this.#fail(filter === "out-of-memory" ? noMemory : operation, error.message);
      })
      .catch((error: unknown) => this.#fail(operation, String(error)))
      .finally(() => this.#checks.delete(check));
    this.#checks.add(check);
  }

  #fail(operation: string, got: string): void {
    const isMemory = operation === noMemory;
    this.#first ??= new DeviceError({
      operation,
      got,
      expected: isMemory ? "what this GPU's memory holds" : "a device that computes",
      cure: isMemory ? "use a smaller batch, context or model, and open the device again" : "open the device again, or use the cpu",
    });
  }
}
