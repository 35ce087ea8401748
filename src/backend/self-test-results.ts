// The trials of the self-test, run: operands drawn, what a device makes of them, and what the reference made of them when the kernels were built
// (tools/build-kernels.ts), so that no start has to compute it again. In: a device. Out: numbers, or all results as words: for each operand of each trial
// 1 and its new numbers where the kernel changed it, else 0.

import type { HostArray, PackedType } from "../core/dtype.ts";
import { Random } from "../core/random.ts";
import type { Device, KernelName, View } from "./backend.ts";
import { packedSamples } from "./packed-samples.ts";
import { type Trial, trials } from "./self-test-trials.ts";

export function allTrials(): [KernelName, Trial][] {
  return (Object.keys(trials) as KernelName[]).flatMap((name) => [trials[name]].flat().map((trial): [KernelName, Trial] => [name, trial]));
}

export type Given = {
  readonly numbers: readonly (readonly [name: string, HostArray])[];
  readonly weights: readonly (readonly [string, Uint8Array])[];
};

/** Drawn once, in -0.5..0.5; the operands of a trial are stretches of it, one behind the other. A prime length: rows of a long operand begin elsewhere in each round. */
const pool = drawPool(new Random(5), 4099);

function drawPool(random: Random, length: number): Float32Array {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = random.uniform() - 0.5;
  return values;
}

/** The same for every device. */
export function drawOperands(name: KernelName, { floats, indices = {}, weights = {} }: Trial): Given {
  const numbers: [string, HostArray][] = [];
  let from = 0;
  for (const [key, length] of Object.entries(floats)) {
    const values = new Float32Array(length);
    for (let at = 0; at < length; ) {
      const stretch = pool.subarray(from, from + length - at);
      values.set(stretch, at);
      at += stretch.length;
      from = (from + stretch.length) % pool.length;
    }
    // Small positive and negative numbers keep weights and sums in range; a sum of squares is positive.
    if (key === "sumSquares") values.fill(0.75);
    numbers.push([key, values]);
  }
  for (const [key, values] of Object.entries(indices)) numbers.push([key, Int32Array.from(values)]);
  return {
    numbers,
    weights: Object.entries(weights).map(([key, [type, matrices, rows, width]]) => [
      key,
      packedSamples(new Random(5).fork(name), type, matrices * rows * width),
    ]),
  };
}

/** All numbers after the kernel ran. */
export async function outcome(device: Device, { weights = {}, run }: Trial, given: Given): Promise<HostArray[]> {
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

/** What `reference` gives for every trial. */
export async function recordResults(reference: Device): Promise<Int32Array> {
  const words: number[] = [];
  for (const [name, trial] of allTrials()) {
    const given = drawOperands(name, trial);
    for (const [i, values] of (await outcome(reference, trial, given)).entries()) {
      const [before, after] = [wordsOf((given.numbers[i] as Given["numbers"][number])[1]), wordsOf(values)];
      const isChanged = after.some((word, at) => word !== before[at]);
      words.push(isChanged ? 1 : 0);
      if (isChanged) words.push(...after);
    }
  }
  return Int32Array.from(words);
}

/** What recordResults wrote: the numbers of each operand of each trial; undefined where they stay as they were given. */
export function readResults(words: Int32Array<ArrayBuffer>): Map<Trial, readonly (HostArray | undefined)[]> {
  const results = new Map<Trial, readonly (HostArray | undefined)[]>();
  let at = 0;
  const take = (length: number): Int32Array<ArrayBuffer> => {
    at += length;
    return words.subarray(at - length, at);
  };
  for (const [, trial] of allTrials()) {
    const floats = Object.values(trial.floats).map((length) => (words[at++] === 0 ? undefined : floatsOf(take(length))));
    const indices = Object.values(trial.indices ?? {}).map(({ length }) => (words[at++] === 0 ? undefined : take(length)));
    results.set(trial, [...floats, ...indices]);
  }
  return results;
}

function wordsOf(values: HostArray): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.length);
}

function floatsOf(words: Int32Array<ArrayBuffer>): Float32Array {
  return new Float32Array(words.buffer, words.byteOffset, words.length);
}
