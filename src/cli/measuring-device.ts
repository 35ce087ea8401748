// A device that owns no memory and computes nothing: it only adds up what it is asked to allocate. A model built on it has its shapes, its
// parameter count and its cache layout, so a 671B folder can be inspected on any machine.

import type { Device, DeviceBuffer, Kernels } from "../backend/backend.ts";
import { isPackedType, type PackedType, packedRowBytes, packedTypes } from "../core/dtype.ts";
import { DeviceError } from "../core/errors.ts";

export function measuringDevice(): Device {
  let used = 0;
  const refuse = (): never => {
    throw new DeviceError({ operation: "inspect", got: "a read", expected: "measuring only", cure: "report this" });
  };
  return {
    info: { name: "reference", build: "measuring", threads: 1 },
    kernels: new Proxy({} as Kernels, { get: () => () => {} }),
    allocate(dtype, length) {
      used += length * 4;
      return { dtype, length } as DeviceBuffer;
    },
    packedTypes: new Set(Object.keys(packedTypes) as PackedType[]),
    allocatePacked(dtype, matrices, rows, width) {
      used += matrices * rows * packedRowBytes(dtype, width);
      return { dtype, length: matrices * rows * width };
    },
    writePacked: () => {},
    release({ dtype, length }) {
      used -= isPackedType(dtype) ? packedRowBytes(dtype, length) : length * 4;
    },
    write: () => {},
    read: async () => refuse(),
    finish: async () => {},
    memory: () => ({ used, reserved: used }),
    close: async () => {},
  };
}
