// A tensor is a plain handle: shape, dtype, storage, and (while gradients are tracked) the node that made it. Ops are free functions in
// ops/; nothing here computes. `scope(() => …)` frees every tensor that was made inside and is not returned; weights, caches
// and optimiser state are made outside any scope, or by `keep`, and live until `dispose`. Scopes are synchronous, so one
// variable holds the innermost; after an await there is none.

import type { Device, DeviceBuffer, View } from "../backend/backend.ts";
import type { DType, HostArray, PackedType } from "../core/dtype.ts";
import { DeviceError, ShapeError } from "../core/errors.ts";
import { elementCount, type Shape, showShape } from "../core/shape.ts";
import type { GradNode } from "./autograd.ts";
import { isTrackingGradients, refusePromise } from "./tracking.ts";

/** Owns one device buffer; several tensors (reshapes, row slices) may share it. */
export class Storage {
  readonly device: Device;
  #buffer: DeviceBuffer | undefined;
  /** Gradient slots that still need this storage (see autograd.ts). */
  holds = 0;
  /** The scope that will free it; undefined: it lives until disposed. */
  owner: Set<Storage> | undefined;

  constructor(device: Device, buffer: DeviceBuffer) {
    this.device = device;
    this.#buffer = buffer;
    liveStorages++;
    this.owner = current;
    current?.add(this);
  }

  get buffer(): DeviceBuffer {
    if (!this.#buffer) {
      throw new DeviceError({
        operation: "tensor",
        got: "a tensor that was freed",
        expected: "a live one",
        cure: "return it from the scope that made it, or make it outside",
      });
    }
    return this.#buffer;
  }

  get isFreed(): boolean {
    return this.#buffer === undefined;
  }

  free(): void {
    if (!this.#buffer) return;
    this.device.release(this.#buffer);
    this.#buffer = undefined;
    liveStorages--;
    this.owner?.delete(this);
    this.owner = undefined;
  }
}

export type Tensor = {
  readonly shape: Shape;
  /** A packed type only for weights: ops/packed-matmul.ts and ops/packed-embedding.ts alone take them. */
  readonly dtype: DType | PackedType;
  readonly storage: Storage;
  /** First element inside the storage. */
  readonly offset: number;
  /** True for parameters that are trained and for everything computed from them while gradients are tracked. */
  requiresGrad: boolean;
  /** Same shape, filled by backward. For parameters it is allocated by the optimiser and added to; backward makes it where it is missing, and it lives as long as the parameter. */
  grad?: Tensor | undefined;
  /** How this tensor was computed; undefined for leaves. */
  node?: GradNode | undefined;
};

let current: Set<Storage> | undefined;
let liveStorages = 0;

/** How many storages exist now: a leak detector for tests and long runs. */
export function liveStorageCount(): number {
  return liveStorages;
}

/** Uninitialised tensor. */
export function empty(device: Device, shape: Shape, dtype: DType = "f32"): Tensor {
  return handle(new Storage(device, device.allocate(dtype, elementCount(shape))), [...shape], dtype, 0);
}

/** Uninitialised weight of a packed type: [N, K], or a stack [E, N, K]. Its rows are filled by device.writePacked. */
export function emptyPacked(device: Device, type: PackedType, shape: Shape): Tensor {
  const width = shape.at(-1) ?? 0;
  const rows = shape.at(-2) ?? 1;
  const matrices = elementCount(shape.slice(0, -2));
  return handle(new Storage(device, device.allocatePacked(type, matrices, rows, width)), [...shape], type, 0);
}

export function fromArray(device: Device, data: HostArray | readonly number[], shape: Shape, dtype: DType = "f32"): Tensor {
  if (data.length !== elementCount(shape)) {
    throw new ShapeError({
      operation: "fromArray",
      got: `${data.length} numbers`,
      expected: `${elementCount(shape)} for shape ${showShape(shape)}`,
      cure: "give one number for each element",
    });
  }
  const tensor = empty(device, shape, dtype);
  device.write(tensor.storage.buffer, 0, data);
  return tensor;
}

/** The same elements under another shape or from another first element. Gradients do not flow; ops/reshape.ts is the differentiable form. */
export function alias(x: Tensor, shape: Shape, offset = x.offset): Tensor {
  if (offset < 0 || offset + elementCount(shape) > x.storage.buffer.length) {
    throw new ShapeError({
      operation: "alias",
      got: `${showShape(shape)} at ${offset}`,
      expected: `at most ${x.storage.buffer.length} elements`,
      cure: "stay inside the storage",
    });
  }
  return handle(x.storage, [...shape], x.dtype, offset);
}

/** All tensors are born with the same fields in the same order: V8 then keeps one hidden class for them. */
function handle(storage: Storage, shape: Shape, dtype: DType | PackedType, offset: number): Tensor {
  return { shape, dtype, storage, offset, requiresGrad: false, grad: undefined, node: undefined };
}

/** A tensor as `like` over a buffer that is there already, freed with it. */
export function over(buffer: DeviceBuffer, like: Tensor): Tensor {
  return handle(new Storage(like.storage.device, buffer), like.shape, like.dtype, like.offset);
}

export function view(x: Tensor): View {
  return { buffer: x.storage.buffer, offset: x.offset };
}

export function size(x: Tensor): number {
  return elementCount(x.shape);
}

/** Copies the elements to the host; the only await of a step. */
export function read(x: Tensor): Promise<HostArray> {
  return x.storage.device.read(x.storage.buffer, x.offset, size(x));
}

/** Overwrites all elements, ordered with the recorded commands. */
export function write(x: Tensor, data: HostArray | readonly number[]): void {
  if (data.length !== size(x)) {
    throw new ShapeError({
      operation: "write",
      got: `${data.length} numbers`,
      expected: `${size(x)} for shape ${showShape(x.shape)}`,
      cure: "give one number for each element",
    });
  }
  x.storage.device.write(x.storage.buffer, x.offset, data);
}

/** Frees the storage (for all tensors that share it) and the gradient that backward made for it. */
export function dispose(...tensors: readonly Tensor[]): void {
  for (const tensor of tensors) {
    tensor.storage.free();
    const grad = tensor.grad;
    if (grad && grad.storage.holds > 0) {
      tensor.grad = undefined;
      if (--grad.storage.holds === 0) grad.storage.free();
    }
  }
}

/** From now on `storage` is freed by the scope that frees `other`, or lives until disposed if that one does. */
export function liveWith(storage: Storage, other: Storage): void {
  if (storage.owner === other.owner) return;
  storage.owner?.delete(storage);
  storage.owner = other.owner;
  other.owner?.add(storage);
}

/**
 * Runs `body` and frees every tensor made inside, except those found in the returned value (a tensor, or arrays, sets, maps and plain objects
 * of them), which pass to the enclosing scope. While gradients are tracked nothing is freed: the tape needs it; the
 * enclosing scope that does not track gradients frees it all. `body` must not be async.
 */
export function scope<T>(body: () => T): T {
  const parent = current;
  const mine = new Set<Storage>();
  current = mine;
  try {
    const result = refusePromise("scope", body());
    for (const storage of isTrackingGradients() ? mine : storagesIn(result, new Set())) {
      if (storage.owner !== mine) continue;
      mine.delete(storage);
      storage.owner = parent;
      parent?.add(storage);
    }
    return result;
  } finally {
    current = parent;
    for (const storage of mine) storage.free();
  }
}

/** Runs `body` outside every scope: what it makes lives until disposed (or is freed at once when `body` throws). For weights, caches, optimiser state. */
export function keep<T>(body: () => T): T {
  const before = current;
  const mine = new Set<Storage>();
  current = mine;
  try {
    const result = body();
    for (const storage of mine) storage.owner = undefined;
    mine.clear();
    return result;
  } finally {
    current = before;
    for (const storage of mine) storage.free();
  }
}

function isTensor(value: object): value is Tensor {
  return "storage" in value && value.storage instanceof Storage;
}

function storagesIn(value: unknown, found: Set<Storage>): Set<Storage> {
  if (typeof value !== "object" || value === null) return found;
  if (isTensor(value)) {
    found.add(value.storage);
    if (value.grad) found.add(value.grad.storage);
  } else if (Array.isArray(value) || value instanceof Map || value instanceof Set) {
    for (const item of value.values()) storagesIn(item, found);
  } else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) storagesIn(item, found);
  }
  return found;
}
