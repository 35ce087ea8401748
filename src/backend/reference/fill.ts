// fill: sets n elements to one value, f32 or i32.

import type { Kernels } from "../backend.ts";
import { elements } from "./buffer.ts";

export const fill: Kernels["fill"] = ({ out, n, value }) => {
  elements(out, n).fill(value);
};
