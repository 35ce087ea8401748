// A quick trial of a device against the reference, in this process, before the experimental wide build is trusted: every kernel once (self-test-trials.ts).
// In: an open device, and which packed weights it will hold. Out: the names of the kernels that failed. Takes some tens of milliseconds.

import type { HostArray, PackedType } from "../core/dtype.ts";
import { Random } from "../core/random.ts";
import type { Device, KernelName, View } from "./backend.ts";
import { packedSamples } from "./packed-samples.ts";
import { openReference } from "./reference/open.ts";
import { type Trial, trials } from "./self-test-trials.ts";

const tolerance = 1e-4;

/** Types whose products run the code of another. */
const codeOf: Readonly<Partial<Record<PackedType, PackedType>>> = { iq4_nl: "q8_0", mxfp4: "iq4_xs" };

type Expected = { readonly given: Given; readonly want: readonly HostArray[] };

/** What prepareSelfTest computed and no test took yet. */
const prepared = new Map<Trial, Promise<Expected>>();

async function expect(name: KernelName, trial: Trial): Promise<Expected> {
  const given = drawOperands(name, trial);
  return { given, want: await outcome(openReference({ precision: "f32" }), trial, given) };
}

/** Computes what the reference gives, while the engine compiles the kernels: half of the test's time. Packed weights wait until their types are known. */
export function prepareSelfTest(): void {
  for (const [name, trial] of allTrials()) {
    if (!trial.weights && !prepared.has(trial)) prepared.set(trial, expect(name, trial));
  }
}

/**
 * Names of the kernels whose results differ from the reference by more than 1e-4; [] when the device may be trusted. `types`: the packed weights that it
 * will hold; all when absent.
 */
export async function selfTest(device: Device, types: Iterable<PackedType> = device.packedTypes): Promise<KernelName[]> {
  const tried = new Set([...types].filter((type) => device.packedTypes.has(type)).map((type) => codeOf[type] ?? type));
  const failed = new Set<KernelName>();
  for (const [name, trial] of allTrials()) {
    if (failed.has(name) || Object.values(trial.weights ?? {}).some(([type]) => !tried.has(type))) continue;
    const { given, want } = await (prepared.get(trial) ?? expect(name, trial));
    prepared.delete(trial);
    const got = await outcome(device, trial, given);
    if (!got.every((values, i) => areClose(values, want[i] as HostArray))) failed.add(name);
  }
  return [...failed];
}

function allTrials(): [KernelName, Trial][] {
  return (Object.keys(trials) as KernelName[]).flatMap((name) => [trials[name]].flat().map((trial): [KernelName, Trial] => [name, trial]));
}

function areClose(got: HostArray, want: HostArray): boolean {
  for (let i = 0; i < want.length; i++) {
    const value = want[i] as number;
    // So written that NaN is not close to anything.
    if (!(Math.abs((got[i] as number) - value) <= tolerance * (1 + Math.abs(value)))) return false;
  }
  return true;
}

type Given = {
  readonly numbers: readonly (readonly [name: string, HostArray])[];
  readonly weights: readonly (readonly [string, Uint8Array])[];
};

/** The same for every device. */
function drawOperands(name: KernelName, { floats, indices = {}, weights = {} }: Trial): Given {
  const random = new Random(5).fork(name);
  const numbers: [string, HostArray][] = [];
  for (const [key, length] of Object.entries(floats)) {
    const values = new Float32Array(length);
    // Squares and weights of sums stay in range when small positive and negative numbers alternate.
    const middle = key === "sumSquares" ? 0.5 : -0.5;
    for (let i = 0; i < length; i++) values[i] = middle + random.uniform();
    numbers.push([key, values]);
  }
  for (const [key, values] of Object.entries(indices)) numbers.push([key, Int32Array.from(values)]);
  return {
    numbers,
    weights: Object.entries(weights).map(([key, [type, matrices, rows, width]]) => [
      key,
      packedSamples(random, type, matrices * rows * width),
    ]),
  };
}

/** All numbers after the kernel ran. */
async function outcome(device: Device, { weights = {}, run }: Trial, given: Given): Promise<HostArray[]> {
  const operands: Record<string, View> = {};
  for (const [key, values] of given.numbers) {
    const buffer = device.allocate(values instanceof Int32Array ? "i32" : "f32", values.length);
    device.write(buffer, 0, values);
    operands[key] = { buffer, offset: 0 };
  }
  const read = Object.values(operands);
  for (const [key, bytes] of given.weights) {
    const [type, matrices, rows, width] = weights[key] as readonly [PackedType, number, number, number];
    const buffer = device.allocatePacked(type, matrices, rows, width);
    device.writePacked(buffer, 0, bytes);
    operands[key] = { buffer, offset: 0 };
  }
  run(device.kernels, operands);
  const found: HostArray[] = [];
  for (const { buffer } of read) found.push(await device.read(buffer, 0, buffer.length));
  for (const { buffer } of Object.values(operands)) device.release(buffer);
  return found;
}
