// balanceBias: raises the bias of experts with less than the mean load, lowers it above (DeepSeek-V3 section 2.1.2).

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const balanceBias: Kernels["balanceBias"] = ({ bias, counts, E, gamma }) => {
  const b = floats(bias, E);
  const load = floats(counts, E);
  let sum = 0;
  for (let e = 0; e < E; e++) sum += load[e]!;
  for (let e = 0; e < E; e++) b[e]! += gamma * Math.sign(sum / E - load[e]!);
};
