// A quick trial of a device against the reference, in this process, before the experimental wide build is trusted: every kernel once (self-test-trials.ts).
// In: an open device, and which packed weights it will hold. Out: the names of the kernels that failed. Takes some tens of milliseconds.

import { base64Bytes } from "../core/base64.ts";
import type { HostArray, PackedType } from "../core/dtype.ts";
import type { Device, KernelName } from "./backend.ts";
import { allTrials, drawOperands, outcome, readResults } from "./self-test-results.ts";
import { referenceResults } from "./wasm/generated/reference-results.ts";

const tolerance = 1e-4;

/** Types whose products run the code of another. */
const codeOf: Readonly<Partial<Record<PackedType, PackedType>>> = { iq4_nl: "q8_0", mxfp4: "iq4_xs" };

/**
 * Names of the kernels whose results differ from the reference by more than 1e-4; [] when the device may be trusted. `types`: the packed weights that it
 * will hold; all when absent.
 */
export async function selfTest(device: Device, types: Iterable<PackedType> = device.packedTypes): Promise<KernelName[]> {
  const tried = new Set([...types].filter((type) => device.packedTypes.has(type)).map((type) => codeOf[type] ?? type));
  const failed = new Set<KernelName>();
  const results = readResults(new Int32Array(base64Bytes(referenceResults).buffer));
  for (const [name, trial] of allTrials()) {
    if (failed.has(name) || Object.values(trial.weights ?? {}).some(([type]) => !tried.has(type))) continue;
    const given = drawOperands(name, trial);
    const want = results.get(trial);
    const got = await outcome(device, trial, given);
    const isRight = given.numbers.every(([, values], i) => areClose(got[i] as HostArray, want?.[i] ?? values));
    if (!isRight) failed.add(name);
  }
  return [...failed];
}

function areClose(got: HostArray, want: HostArray): boolean {
  for (let i = 0; i < want.length; i++) {
    const value = want[i] as number;
    // So written that NaN is not close to anything.
    if (!(Math.abs((got[i] as number) - value) <= tolerance * (1 + Math.abs(value)))) return false;
  }
  return true;
}
