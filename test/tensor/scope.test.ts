// Who frees what, and when: scopes, keep, the tape, gradients of intermediates and of leaves. Fresh memory of the reference device is NaN and
// released memory throws, so anything freed too early shows.

import { beforeEach, describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { DeviceError, ShapeError } from "../../src/core/errors.ts";
import { add, mul } from "../../src/ops/binary.ts";
import { slice } from "../../src/ops/copy.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { fillWith, full, ones, zeros } from "../../src/ops/fill.ts";
import { linear } from "../../src/ops/matmul.ts";
import { reshape } from "../../src/ops/reshape.ts";
import { rmsNorm } from "../../src/ops/rms-norm.ts";
import { mean, sum } from "../../src/ops/sum-axis.ts";
import { exp, square, tanh } from "../../src/ops/unary.ts";
import { addGrad, attach, backward } from "../../src/tensor/autograd.ts";
import { alias, dispose, empty, fromArray, keep, liveStorageCount, read, scope, type Tensor, view } from "../../src/tensor/tensor.ts";
import { isTrackingGradients, noGradients, trackGradients } from "../../src/tensor/tracking.ts";

const device = openReference({ precision: "f32" });
let start = 0;
beforeEach(() => {
  start = liveStorageCount();
});

const grown = (): number => liveStorageCount() - start;
const values = async (x: Tensor | undefined): Promise<number[]> => [...(await read(x as Tensor))];

function parameter(data: readonly number[], shape: readonly number[] = [data.length]): Tensor {
  const x = fromArray(device, data, shape);
  x.requiresGrad = true;
  return x;
}

describe("scope", () => {
  test("frees everything but the returned tensor", async () => {
    let inner: Tensor | undefined;
    const out = scope(() => {
      inner = full(device, [2], 3);
      zeros(device, [100]);
      return exp(add(inner, inner));
    });
    expect(grown()).toBe(1);
    expect(inner?.storage.isFreed).toBe(true);
    expect((await values(out))[0]).toBeCloseTo(Math.exp(6), 2);
    dispose(out);
    expect(grown()).toBe(0);
  });

  test("finds tensors in arrays, maps, sets and plain objects", () => {
    const result = scope(() => {
      zeros(device, [1]);
      return { a: [ones(device, [1])], b: new Map([["x", { y: ones(device, [2]) }]]), c: new Set([ones(device, [3])]), d: null, e: "text" };
    });
    expect(grown()).toBe(3);
    const all = [...result.a, result.b.get("x")?.y as Tensor, ...result.c];
    expect(all.every((x) => !x.storage.isFreed)).toBe(true);
    dispose(...all);
    expect(grown()).toBe(0);
  });

  test("a returned view keeps the storage that it shares", async () => {
    const out = scope(() => reshape(alias(fromArray(device, [1, 2, 3, 4, 5, 6], [6]), [4], 2), [2, 2]));
    expect(await values(out)).toEqual([3, 4, 5, 6]);
    expect(grown()).toBe(1);
    dispose(out);
  });

  test("nested: what an inner scope returns belongs to the outer one", () => {
    const seen: number[] = [];
    scope(() => {
      const a = scope(() => {
        const b = scope(() => add(ones(device, [2]), ones(device, [2])));
        seen.push(grown());
        return add(b, b);
      });
      seen.push(grown());
      expect(a.storage.isFreed).toBe(false);
    });
    expect(seen).toEqual([1, 1]);
    expect(grown()).toBe(0);
  });

  test("leaves tensors of outer scopes alone, returned or not", () => {
    scope(() => {
      const outer = ones(device, [2]);
      scope(() => add(outer, outer));
      expect(scope(() => outer)).toBe(outer);
      expect(outer.storage.isFreed).toBe(false);
    });
    expect(grown()).toBe(0);
  });

  test("an error frees what the scope made, of every level", () => {
    const outer = ones(device, [2]);
    expect(() =>
      scope(() => {
        exp(outer);
        scope(() => {
          exp(outer);
          add(outer, zeros(device, [3]));
        });
      }),
    ).toThrow(ShapeError);
    expect(grown()).toBe(1);
    // The scopes are closed: what is made now belongs to none.
    const after = scope(() => exp(outer));
    expect(grown()).toBe(2);
    dispose(outer, after);
    expect(grown()).toBe(0);
  });

  test("an error while gradients are tracked frees too, and tracking ends", () => {
    const p = parameter([1, 2]);
    expect(() => scope(() => trackGradients(() => scope(() => add(exp(p), zeros(device, [3])))))).toThrow(ShapeError);
    expect(isTrackingGradients()).toBe(false);
    dispose(p);
    expect(grown()).toBe(0);
  });

  test("refuses an async body, which would outlive it", () => {
    expect(() => scope(async () => ones(device, [1]))).toThrow(DeviceError);
    expect(() => scope(() => read(ones(device, [1])))).toThrow(/scope: got a body that returned a promise/);
    expect(() => trackGradients(async () => 1)).toThrow(/trackGradients: got/);
    expect(isTrackingGradients()).toBe(false);
    expect(grown()).toBe(0);
  });

  test("using a freed tensor is a clear error, disposing it twice is none", () => {
    const x = ones(device, [1]);
    dispose(x);
    dispose(x);
    expect(grown()).toBe(0);
    expect(() => read(x)).toThrow(DeviceError);
    expect(() => exp(x)).toThrow(/exp: got x \[1\], which was freed/);
  });
});

describe("keep", () => {
  test("what it makes outlives all scopes", () => {
    let kept: Tensor | undefined;
    let inside: Tensor | undefined;
    scope(() => {
      scope(() => {
        kept = keep(() => {
          inside = ones(device, [3]);
          return scope(() => exp(ones(device, [2])));
        });
        ones(device, [4]);
      });
      ones(device, [5]);
    });
    expect(grown()).toBe(2);
    expect(kept?.storage.isFreed || inside?.storage.isFreed).toBe(false);
    dispose(kept as Tensor, inside as Tensor);
    expect(grown()).toBe(0);
  });

  test("the scope around it goes on", () => {
    let kept: Tensor | undefined;
    scope(() => {
      kept = keep(() => ones(device, [1]));
      ones(device, [2]);
    });
    expect(grown()).toBe(1);
    dispose(kept as Tensor);
  });

  test("an error frees what it had made", () => {
    expect(() =>
      scope(() =>
        keep(() => {
          ones(device, [2]);
          throw new Error("full");
        }),
      ),
    ).toThrow("full");
    expect(grown()).toBe(0);
  });
});

describe("tape", () => {
  test("scopes free nothing while gradients are tracked; the one around does", async () => {
    const p = parameter([1, 2]);
    scope(() => {
      const loss = trackGradients(() => scope(() => sum(scope(() => square(exp(p))))));
      expect(grown()).toBe(1 + 3);
      backward(loss);
    });
    const [a, b] = await values(p.grad);
    expect(a).toBeCloseTo(2 * Math.exp(2), 4);
    expect(b).toBeCloseTo(2 * Math.exp(4), 3);
    expect(grown()).toBe(2);
    dispose(p);
    expect(p.grad).toBeUndefined();
    expect(grown()).toBe(0);
  });

  test("without gradients inside a tracked pass, scopes free as ever and nothing is attached", () => {
    const p = parameter([1, 2]);
    scope(() =>
      trackGradients(() => {
        const metric = noGradients(() => scope(() => sum(exp(p))));
        expect(grown()).toBe(2);
        expect(metric.requiresGrad).toBe(false);
        expect(metric.node).toBeUndefined();
        expect(isTrackingGradients()).toBe(true);
      }),
    );
    dispose(p);
    expect(grown()).toBe(0);
  });

  test("nothing is attached without a parameter or without tracking", () => {
    const p = parameter([1]);
    const x = ones(device, [1]);
    scope(() => {
      expect(exp(p).node).toBeUndefined();
      expect(trackGradients(() => exp(x)).node).toBeUndefined();
      expect(trackGradients(() => exp(p)).node?.name).toBe("exp");
      expect(() => backward(exp(p))).toThrow(/without a tape/);
    });
    dispose(p, x);
  });

  test("a training-like step leaves nothing, 20 times; gradients made by the optimiser are added to", async () => {
    const table = keep(() => parameter([0.1, 0.2, -0.3, 0.4, 0.5, -0.6, 0.7, -0.8], [4, 2]));
    const norm = keep(() => parameter([1, 1]));
    const head = keep(() => parameter([0.3, -0.1, 0.2, 0.2, 0.1, -0.4, 0, 0.5], [4, 2]));
    const parameters = [table, norm, head];
    for (const p of parameters) p.grad = keep(() => zeros(device, p.shape));
    const grads = parameters.map((p) => p.grad);
    const before = liveStorageCount();
    const losses: number[] = [];
    for (let step = 0; step < 20; step++) {
      const loss = scope(() => {
        const ids = fromArray(device, [0, 1, 2], [3], "i32");
        const targets = fromArray(device, [1, 2, -1], [3], "i32");
        const tracked = trackGradients(() => {
          let x = embedding(table, ids);
          for (let layer = 0; layer < 2; layer++) x = scope(() => add(x, tanh(rmsNorm(x, norm, 1e-6))));
          return mean(crossEntropy(linear(x, head), targets));
        });
        backward(tracked);
        for (const p of parameters) {
          const grad = p.grad as Tensor;
          device.kernels.affine({ out: view(p), x: view(grad), n: grad.storage.buffer.length, scale: -0.5, shift: 0, accumulate: true });
          fillWith(grad, 0);
        }
        return tracked;
      });
      losses.push((await values(loss))[0] as number);
      dispose(loss);
      expect(liveStorageCount()).toBe(before);
    }
    expect(losses[19]).toBeLessThan((losses[0] as number) / 4);
    expect(parameters.every((p, i) => p.grad === grads[i])).toBe(true);
    dispose(...parameters, ...(grads as Tensor[]));
    expect(grown()).toBe(0);
  });
});

describe("gradients", () => {
  test("of parameters accumulate over two backward calls, and outlive the scope of the step", async () => {
    const p = parameter([1, -2]);
    scope(() => backward(trackGradients(() => sum(square(p)))));
    expect(await values(p.grad)).toEqual([2, -4]);
    const first = p.grad;
    scope(() => backward(trackGradients(() => sum(mul(p, full(device, [2], 10))))));
    expect(p.grad).toBe(first);
    expect(await values(p.grad)).toEqual([12, 6]);
    expect(grown()).toBe(2);
    dispose(p);
    expect(grown()).toBe(0);
  });

  test("backward twice over one tape", async () => {
    const p = parameter([3]);
    scope(() => {
      const loss = trackGradients(() => sum(square(tanh(square(p)))));
      backward(loss);
      backward(loss);
    });
    const t = Math.tanh(9);
    expect((await values(p.grad))[0]).toBeCloseTo(2 * 2 * t * (1 - t * t) * 6, 6);
    dispose(p);
  });

  test("of a leaf made inside a scope go with it", () => {
    scope(() => {
      const x = parameter([1, 2]);
      backward(trackGradients(() => sum(exp(x))));
      expect(x.grad).toBeDefined();
    });
    expect(grown()).toBe(0);
  });

  test("can be returned", async () => {
    const grad = scope(() => {
      const x = parameter([1, 2]);
      backward(trackGradients(() => sum(square(x))));
      return x.grad as Tensor;
    });
    expect(await values(grad)).toEqual([2, 4]);
    expect(grown()).toBe(1);
    dispose(grad);
  });

  test("of intermediates are freed during the backward pass", () => {
    const p = parameter(new Array<number>(1000).fill(0.1));
    let most = 0;
    scope(() => {
      const loss = trackGradients(() => {
        let x: Tensor = p;
        for (let i = 0; i < 30; i++) {
          x = tanh(x);
          x = attach("spy", alias(x, x.shape), [x], spyOn(x));
        }
        return sum(x);
      });
      const before = liveStorageCount();
      function spyOn(input: Tensor): (dy: Tensor) => void {
        return (dy) => {
          most = Math.max(most, liveStorageCount() - before);
          addGrad(input, dy);
        };
      }
      backward(loss);
      expect(liveStorageCount() - before).toBe(1); // p.grad
    });
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(2);
    dispose(p);
    expect(grown()).toBe(0);
  });

  test("two parameters that receive the same dy do not share it", async () => {
    const [p, q] = [parameter([1, 2]), parameter([3, 4])];
    for (const twice of [1, 2]) {
      scope(() => backward(trackGradients(() => sum(add(p, q)))));
      expect(p.grad?.storage).not.toBe(q.grad?.storage);
      expect(await values(p.grad)).toEqual([twice, twice]);
      expect(await values(q.grad)).toEqual([twice, twice]);
    }
    dispose(p);
    expect(await values(q.grad)).toEqual([2, 2]);
    dispose(q);
    expect(grown()).toBe(0);
  });

  test("an optimiser may lay all gradients in one storage: they are added to in place", async () => {
    const [p, q] = [parameter([1, 2]), parameter([3])];
    const flat = zeros(device, [3]);
    p.grad = alias(flat, [2], 0);
    q.grad = alias(flat, [1], 2);
    for (let i = 0; i < 2; i++) scope(() => backward(trackGradients(() => add(sum(mul(p, q)), sum(q)))));
    expect(await values(flat)).toEqual([6, 6, 8]);
    dispose(p, q);
    expect(flat.storage.isFreed).toBe(false);
    dispose(flat);
    expect(grown()).toBe(0);
  });

  test("a seed is used, and stays as it was", async () => {
    const p = parameter([1, 2, 3, 4]);
    const seed = fromArray(device, [1, 10, 100, 1000], [2, 2]);
    scope(() => {
      // y gets its gradient from the seed through a reshape and then from itself: the second must not be added to the seed.
      const out = trackGradients(() => {
        const y = square(p);
        const flat = reshape(y, [2, 2]);
        return add(flat, reshape(mul(y, full(device, [], 2)), [2, 2]));
      });
      backward(out, seed);
    });
    expect(await values(seed)).toEqual([1, 10, 100, 1000]);
    expect(await values(p.grad)).toEqual([6, 120, 1800, 24000]);
    dispose(p);
    scope(() => {
      const x = parameter([1, 2]);
      backward(
        trackGradients(() => add(x, ones(device, [2]))),
        fromArray(device, [5, 6], [2]),
      );
    });
    expect(() =>
      scope(() =>
        backward(
          trackGradients(() => exp(parameter([1, 2]))),
          seed,
        ),
      ),
    ).toThrow(/backward: got seed \[2, 2\]; expected the shape of the loss, \[2\]/);
    dispose(seed);
    expect(grown()).toBe(0);
  });

  test("a seed through a reshape straight to a parameter", async () => {
    const p = parameter([1, 2]);
    const seed = fromArray(device, [5, 6], [2, 1]);
    for (let i = 0; i < 2; i++)
      scope(() =>
        backward(
          trackGradients(() => reshape(p, [2, 1])),
          seed,
        ),
      );
    expect(await values(seed)).toEqual([5, 6]);
    expect(await values(p.grad)).toEqual([10, 12]);
    dispose(p, seed);
    expect(grown()).toBe(0);
  });

  test("an error in a backward pass leaves no gradient behind on the tape", async () => {
    const p = parameter([1, 2]);
    scope(() => {
      let isBroken = true;
      const loss = trackGradients(() => {
        const y = square(p);
        const bad = attach("bad", alias(y, y.shape), [y], (dy) => {
          if (isBroken) throw new Error("broken");
          addGrad(y, dy);
        });
        const early = add(y, bad); // y already holds a gradient when bad fails
        return sum(early);
      });
      expect(() => backward(loss)).toThrow("broken");
      isBroken = false;
      backward(loss);
    });
    expect(await values(p.grad)).toEqual([4, 8]);
    dispose(p);
    expect(grown()).toBe(0);
  });

  test("a gradient of the wrong shape is refused", () => {
    scope(() => {
      const p = parameter([1, 2]);
      const loss = trackGradients(() => sum(attach("odd", empty(device, [2]), [p], () => addGrad(p, ones(device, [3])))));
      expect(() => backward(loss)).toThrow(/gradient \[3\]; expected \[2\]/);
    });
    expect(grown()).toBe(0);
  });

  test("an unused part of the tape is not visited", async () => {
    const p = parameter([2]);
    scope(() => {
      const loss = trackGradients(() => {
        const y = square(p);
        attach("never", alias(y, y.shape), [y], () => expect.fail("visited"));
        return sum(slice(y, 0, 0, 1));
      });
      backward(loss);
    });
    expect(await values(p.grad)).toEqual([4]);
    dispose(p);
  });
});
