// AdamW over a model's parameters. Gradients and both moments lie in three flat storages made once, outside every scope: one command
// clears all gradients, one takes their norm. In: parameters whose `grad` backward fills. Out: parameters changed in place. Unusual: whether a step counts
// is decided on the device (clip factor -1 when the loss or a gradient is not finite: adamw then leaves everything as it is); the
// caller learns it at its next read and tells `settle`, so that bias correction counts applied steps only.

import type { Device, View } from "../backend/backend.ts";
import { FormatError } from "../core/errors.ts";
import { alias, dispose, empty, keep, read, size, type Tensor, view, write } from "../tensor/tensor.ts";
import { orNull, real, type Values } from "./options.ts";

export const adamwFields = {
  beta1: real(0.9, { min: 0, below: 1 }),
  beta2: real(0.95, { min: 0, below: 1 }),
  eps: real(1e-8, { above: 0, max: 1 }),
  /** Decoupled; on weights of two and more axes only, never on norms and biases. */
  weightDecay: real(0.1, { min: 0, max: 10 }),
  /** Gradients are scaled down to this global norm; null: no clipping. */
  maxGradNorm: orNull(real(1, { above: 0 }), 1),
} as const;

export type AdamWOptions = Values<typeof adamwFields>;

type Slot = { readonly name: string; readonly parameter: Tensor; readonly m: Tensor; readonly v: Tensor; readonly decays: boolean };

/** Moments by parameter name, as PyTorch calls them. */
export type OptimizerTensor = { readonly name: string; readonly shape: readonly number[]; readonly data: () => Promise<Float32Array> };

/** Elements to which each parameter's place in the flat storages is aligned: 64 bytes. */
const alignment = 16;

export class AdamW {
  readonly #device: Device;
  readonly #options: AdamWOptions;
  readonly #slots: Slot[] = [];
  readonly #grads: Tensor;
  readonly #moments: readonly [Tensor, Tensor];
  #steps = 0;

  /** Gives every parameter its gradient. Throws DeviceError when the memory is not there. */
  constructor(device: Device, parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions) {
    this.#device = device;
    this.#options = options;
    let length = 0;
    const places = Array.from(parameters, ([name, parameter]) => {
      const at = length;
      length += Math.ceil(size(parameter) / alignment) * alignment;
      return { name, parameter, at };
    });
    const make = () => {
      const made = empty(device, [length]);
      this.#clear(made);
      return made;
    };
    const [grads, m, v] = keep(() => [make(), make(), make()] as const);
    this.#grads = grads;
    this.#moments = [m, v];
    for (const { name, parameter, at } of places) {
      const { shape } = parameter;
      parameter.grad = alias(grads, shape, at);
      this.#slots.push({ name, parameter, m: alias(m, shape, at), v: alias(v, shape, at), decays: shape.length >= 2 });
    }
  }

  /** Steps that changed the parameters. */
  get steps(): number {
    return this.#steps;
  }

  zeroGrads(): void {
    this.#clear(this.#grads);
  }

  /**
   * Records one step with the gradients as they are. Writes the sum of their squares (before clipping) and the clip factor to the two views;
   * a factor of -1 says that nothing was changed. `guard` is a number that must be finite too: the loss.
   */
  step(learningRate: number, out: { readonly sumSquares: View; readonly factor: View; readonly guard: View }): void {
    const { kernels } = this.#device;
    const { beta1, beta2, eps, weightDecay, maxGradNorm } = this.#options;
    const step = this.#steps + 1;
    kernels.sumSquares({ out: out.sumSquares, x: view(this.#grads), n: size(this.#grads) });
    kernels.clipFactor({ out: out.factor, sumSquares: out.sumSquares, guard: out.guard, maxNorm: maxGradNorm ?? Number.POSITIVE_INFINITY });
    for (const { parameter, m, v, decays } of this.#slots) {
      kernels.adamw({
        param: view(parameter),
        grad: view(parameter.grad as Tensor),
        m: view(m),
        v: view(v),
        n: size(parameter),
        factor: out.factor,
        lr: learningRate,
        beta1,
        beta2,
        eps,
        weightDecay: decays ? weightDecay : 0,
        c1: 1 - beta1 ** step,
        c2: 1 - beta2 ** step,
      });
    }
  }

  /** Tells whether the step recorded last was applied (factor >= 0). */
  settle(applied: boolean): void {
    if (applied) this.#steps++;
  }

  /** Names of parameters and gradients that hold NaN or infinity, for the message after a skipped step. */
  async findNonFinite(): Promise<string[]> {
    const gradients = this.#slots.map(({ name, parameter }) => [`gradient of ${name}`, parameter.grad as Tensor] as const);
    const weights = this.#slots.map(({ name, parameter }) => [name, parameter] as const);
    return await nonFinite(this.#device, [...weights, ...gradients]);
  }

  /** Both moments of every parameter; each is read from the device when asked for. */
  tensors(): OptimizerTensor[] {
    return this.#slots.flatMap(({ name, m, v }) =>
      [["exp_avg", m] as const, ["exp_avg_sq", v] as const].map(([kind, moment]) => ({
        name: `${kind}.${name}`,
        shape: moment.shape,
        data: async () => Float32Array.from(await read(moment)),
      })),
    );
  }

  /** The inverse of `tensors`. Throws FormatError when one is missing or has another size. */
  async restore(steps: number, readTensor: (name: string) => Promise<Float32Array>): Promise<void> {
    for (const { name, m, v } of this.#slots) {
      for (const [kind, moment] of [["exp_avg", m] as const, ["exp_avg_sq", v] as const]) {
        const data = await readTensor(`${kind}.${name}`);
        if (data.length !== size(moment)) {
          const operation = `restore the optimiser state of ${name}`;
          throw new FormatError({
            operation,
            got: `${data.length} numbers`,
            expected: String(size(moment)),
            cure: "resume from a checkpoint of this recipe",
          });
        }
        write(moment, data);
      }
    }
    this.#steps = steps;
  }

  dispose(): void {
    for (const { parameter } of this.#slots) parameter.grad = undefined;
    dispose(this.#grads, ...this.#moments);
  }

  #clear(x: Tensor): void {
    if (size(x) > 0) this.#device.kernels.fill({ out: view(x), n: size(x), value: 0 });
  }
}

/** Names of the tensors that hold NaN or infinity (or numbers whose squares overflow). One read. */
export async function nonFinite(device: Device, tensors: Iterable<readonly [string, Tensor]>): Promise<string[]> {
  const named = [...tensors].filter(([, tensor]) => size(tensor) > 0);
  const sums = keep(() => empty(device, [named.length]));
  for (const [i, [, tensor]] of named.entries()) {
    device.kernels.sumSquares({ out: { buffer: sums.storage.buffer, offset: i }, x: view(tensor), n: size(tensor) });
  }
  const values = await read(sums);
  dispose(sums);
  return named.filter((_, i) => !Number.isFinite(values[i])).map(([name]) => name);
}
