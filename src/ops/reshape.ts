// The same elements under another shape. Shares the storage, so it costs nothing; what is written to one is seen by the other.

import { elementCount, type Shape, showShape } from "../core/shape.ts";
import { addGrad, attach } from "../tensor/autograd.ts";
import { alias, size, type Tensor } from "../tensor/tensor.ts";
import { expectAny, wrong } from "./check.ts";

/** x of any shape -> shape, with as many elements. f32 or i32. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  expectAny("reshape", "x", x);
  if (elementCount(shape, "reshape") !== size(x)) {
    throw wrong(
      "reshape",
      `x ${showShape(x.shape)} to ${showShape(shape)}`,
      `a shape of ${size(x)} elements`,
      "choose sizes whose product is the same",
    );
  }
  return attach("reshape", alias(x, shape), [x], (dy) => addGrad(x, alias(dy, x.shape)));
}
