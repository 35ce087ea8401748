// Opens the reference device. "f32" stores what the other devices store; "f64" is for finite differences and as the oracle of tests.

import { ConfigError } from "../../core/errors.ts";
import type { Device } from "../backend.ts";
import { type Precision, ReferenceDevice } from "./device.ts";

export function openReference(options: { readonly precision: Precision } = { precision: "f32" }): Device {
  const { precision } = options;
  if (precision !== "f32" && precision !== "f64") {
    throw new ConfigError({
      operation: "openReference",
      got: `precision ${String(precision)}`,
      expected: "f32 or f64",
      cure: "name one of them",
    });
  }
  return new ReferenceDevice(precision);
}
