// The tape. While `trackGradients` runs, each op whose inputs need gradients attaches a node to its output; `backward` visits the nodes
// from last to first and frees each intermediate gradient as soon as it was used. Intermediate gradients may share
// storage (add hands the same dy to both inputs): `Storage.holds` counts the gradients in one storage, and a shared one is copied before
// it is added to. Gradients of leaves are never shared and live as long as their leaf.

import { ShapeError } from "../core/errors.ts";
import { sameShape, showShape } from "../core/shape.ts";
import { empty, liveWith, scope, size, type Tensor, view } from "./tensor.ts";
import { isTrackingGradients, noGradients } from "./tracking.ts";

export type GradNode = {
  /** Position on the tape: an output is always later than its inputs. */
  readonly id: number;
  readonly name: string;
  readonly inputs: readonly Tensor[];
  /** Receives the gradient of the output and hands gradients to the inputs by `giveGrad`, `addGrad` or `gradToAddTo`. */
  readonly backward: (dy: Tensor) => void;
};

let nextId = 1;

/** Called by every differentiable op: attaches the node when someone needs it. Returns `out`. */
export function attach(name: string, out: Tensor, inputs: readonly Tensor[], backward: (dy: Tensor) => void): Tensor {
  if (!isTrackingGradients()) return out;
  for (const input of inputs) {
    if (!input.requiresGrad) continue;
    out.requiresGrad = true;
    out.node = { id: nextId++, name, inputs, backward };
    break;
  }
  return out;
}

/**
 * Gives `input` its share of the gradient through a kernel that can accumulate: `write(target, accumulate)` is called with the gradient
 * tensor and whether it already holds something. Nothing happens when the input needs no gradient or has no elements.
 */
export function giveGrad(input: Tensor, write: (target: Tensor, accumulate: boolean) => void): void {
  if (!input.requiresGrad || size(input) === 0) return;
  if (input.grad) {
    write(makeOwn(input, input.grad), true);
  } else {
    const grad = empty(input.storage.device, input.shape);
    write(grad, false);
    setGrad(input, grad);
  }
}

/** For kernels that can only add: the gradient of `input`, zeros where it had none; undefined when the input needs none. */
export function gradToAddTo(input: Tensor): Tensor | undefined {
  giveGrad(input, (target, accumulate) => {
    if (!accumulate) target.storage.device.kernels.fill({ out: view(target), n: size(target), value: 0 });
  });
  return input.requiresGrad ? input.grad : undefined;
}

/**
 * Gives `input` an already computed gradient: a tensor that the op's backward has just made, or `dy` itself or an alias of it. It may become the
 * gradient without a copy, so the caller must not write to it afterwards.
 */
export function addGrad(input: Tensor, grad: Tensor): void {
  if (!input.requiresGrad || size(input) === 0) return;
  if (!sameShape(grad.shape, input.shape)) {
    throw new ShapeError({
      operation: "backward",
      got: `gradient ${showShape(grad.shape)}`,
      expected: showShape(input.shape),
      cure: "report this as a bug of the op",
    });
  }
  const mayShare = input.node !== undefined || grad.storage.holds === 0;
  if (!input.grad && mayShare) setGrad(input, grad);
  else giveGrad(input, (target, accumulate) => addInto(target, grad, accumulate));
}

function setGrad(input: Tensor, grad: Tensor): void {
  grad.storage.holds++;
  input.grad = grad;
  if (!input.node) liveWith(grad.storage, input.storage);
}

/** Before adding in place: a gradient that shares its storage with another one is copied first. */
function makeOwn(input: Tensor, grad: Tensor): Tensor {
  if (grad.storage.holds <= 1) return grad;
  const own = empty(grad.storage.device, grad.shape);
  addInto(own, grad, false);
  grad.storage.holds--;
  setGrad(input, own);
  return own;
}

function addInto(out: Tensor, x: Tensor, accumulate: boolean): void {
  out.storage.device.kernels.affine({ out: view(out), x: view(x), n: size(out), scale: 1, shift: 0, accumulate });
}

/**
 * Fills `grad` of every leaf that requires it, adding to what it already holds. `seed` is the gradient of `loss`
 * (same shape, left as it is; ones when left out). Each intermediate gradient is freed when used. Where an op had no elements, no
 * gradient flows: a leaf that is reached by nothing else keeps the gradient that it had.
 */
export function backward(loss: Tensor, seed?: Tensor): void {
  if (!loss.node) {
    throw new ShapeError({
      operation: "backward",
      got: "a tensor without a tape",
      expected: "a result computed from parameters inside trackGradients",
      cure: "wrap the forward pass in trackGradients",
    });
  }
  if (seed && !sameShape(seed.shape, loss.shape)) {
    throw new ShapeError({
      operation: "backward",
      got: `seed ${showShape(seed.shape)}`,
      expected: `the shape of the loss, ${showShape(loss.shape)}`,
      cure: "give one number for each element of the loss",
    });
  }
  if (size(loss) === 0) return;
  const tape = tapeOf(loss);
  if (seed) seed.storage.holds++; // one more than the gradients that share it, so that nobody adds to it or frees it
  try {
    noGradients(() => {
      addGrad(loss, seed ?? onesLike(loss));
      for (const tensor of tape) {
        const dy = tensor.grad;
        const node = tensor.node;
        if (!dy || !node) continue;
        scope(() => {
          node.backward(dy);
          return node.inputs;
        });
        dropGrad(tensor, dy);
      }
    });
  } finally {
    if (seed) seed.storage.holds--;
    // After an error: no stale gradient may be left for the next call to add to.
    for (const tensor of tape) if (tensor.grad) dropGrad(tensor, tensor.grad);
  }
}

function dropGrad(tensor: Tensor, grad: Tensor): void {
  tensor.grad = undefined;
  if (--grad.storage.holds === 0) grad.storage.free();
}

function onesLike(x: Tensor): Tensor {
  const ones = empty(x.storage.device, x.shape);
  x.storage.device.kernels.fill({ out: view(ones), n: size(x), value: 1 });
  return ones;
}

/** All tensors with a node that `loss` depends on, last first. */
function tapeOf(loss: Tensor): Tensor[] {
  const found = new Set<Tensor>([loss]);
  const open = [loss];
  for (let tensor = open.pop(); tensor; tensor = open.pop()) {
    for (const input of tensor.node?.inputs ?? []) {
      if (input.node && input.requiresGrad && !found.has(input)) {
        found.add(input);
        open.push(input);
      }
    }
  }
  return [...found].sort((a, b) => (b.node?.id ?? 0) - (a.node?.id ?? 0));
}
