// Records kernels into compute passes and submits them. In: programs (program.ts), which it turns into pipelines once and into dispatches each time. Parameters
// of all dispatches of a submit lie in one uniform buffer, written once. Bind groups and pipelines are kept. A dispatch of more groups than a
// dimension holds is folded; work that takes long is cut into pieces of groups that are submitted one by one, because a system resets a GPU that does not answer.

import { DeviceError } from "../../core/errors.ts";
import type { DeviceBuffer, View } from "../backend.ts";
import { releasedBuffer } from "../checks.ts";
import type { Failure } from "./failure.ts";
import { bufferUsage, computeStage } from "./flags.ts";
import type { Block, Memory } from "./memory.ts";
import { type Binding, defaultGroupSize, headerWords, type Operand, type Program, shaderText } from "./program.ts";

/** A DeviceBuffer of this device. */
export type GpuBuffer = DeviceBuffer & { readonly block: Block; released: boolean };

const slotBytes = 256; // the largest alignment that an offset of a uniform buffer may need
const slotWords = slotBytes / 4;
const slots = 512;
const mostOperands = 8;
const groupsPerDimension = 65535;
const bindGroupsKept = 8192;
/** Multiply-adds of one submit. */
const submittedWork = 2 ** 33;

type Layout = { readonly id: number; readonly group: GPUBindGroupLayout; readonly pipeline: GPUPipelineLayout };
type Pipeline = { readonly layout: Layout; readonly pipeline: GPUComputePipeline };

export class Recorder {
  readonly device: GPUDevice;
  /** Whether WGSL has dot4I8Packed here. */
  readonly hasDot: boolean;
  readonly #memory: Memory;
  readonly #failure: Failure;
  readonly #parameters: GPUBuffer;
  readonly #words = new Uint32Array(slots * slotWords);
  readonly #floats = new Float32Array(this.#words.buffer);
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #layouts = new Map<string, Layout>();
  readonly #bindGroups = new Map<string, GPUBindGroup>();
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #made: { readonly key: string; readonly buffer: GpuBuffer } | undefined;
  #used = 0;
  #work = 0;
  /** Number of the submit that is being recorded. */
  #submit = 1;

  constructor(device: GPUDevice, memory: Memory, failure: Failure, hasDot: boolean) {
    this.device = device;
    this.hasDot = hasDot;
    this.#memory = memory;
    this.#failure = failure;
    this.#parameters = device.createBuffer({ size: slots * slotBytes, usage: bufferUsage.uniform | bufferUsage.copyDestination });
    memory.beforeDestroy = () => {
      this.#flush();
      this.#bindGroups.clear();
    };
  }

  /** Records one kernel; nothing where it has no invocations. */
  run<O extends Readonly<Record<string, Operand | undefined>>>(given: Program<O>): void {
    const program = given as unknown as Program;
    const { kernel, variant = "", operands, invocations, groupSize = defaultGroupSize } = program;
    const blocks = program.workgroups ?? Math.ceil((invocations as number) / groupSize);
    if (blocks === 0) return;
    const blocksOf: Block[] = [];
    const bindings: Binding[] = [];
    const places: number[] = [];
    const offsets: number[] = [];
    let key = `${kernel} ${variant} ${groupSize}`;
    for (const operand of Object.values(operands)) {
      if (!operand) {
        key += " -";
        continue;
      }
      const { view, type, isWritten } = operand;
      const { block, released } = view.buffer as GpuBuffer;
      if (released) throw releasedBuffer(kernel);
      let place = blocksOf.findIndex((other, i) => other === block && bindings[i]?.type === type);
      if (place < 0) {
        place = blocksOf.push(block) - 1;
        bindings.push({ type, isWritten });
      } else if (isWritten) bindings[place] = { type, isWritten };
      places.push(place);
      offsets.push(type.startsWith("vec4") ? view.offset / 4 : view.offset);
      key += ` ${place}${type}${isWritten ? "w" : "r"}`;
    }
    if (
      bindings.some(
        ({ isWritten }, i) => isWritten && blocksOf.indexOf(blocksOf[i] as Block) !== blocksOf.lastIndexOf(blocksOf[i] as Block),
      )
    ) {
      throw complaint(kernel, "a buffer that is written, as elements of two types", "one type", "read the other by bitcast");
    }
    if (blocksOf.length > mostOperands) {
      throw complaint(kernel, `${blocksOf.length} buffers`, `at most ${mostOperands}`, "copy small ones into one scratch buffer first");
    }
    const { pipeline, layout } = this.#pipelineOf(key, program, bindings, places);
    const work = Math.max(program.work ?? 0, blocks * groupSize);
    const pieces = Math.min(blocks, Math.ceil(work / submittedWork));
    for (let piece = 0; piece < pieces; piece++) {
      if (this.#used === slots || (this.#work > 0 && this.#work + work / pieces > submittedWork)) this.#flush();
      const first = Math.floor((blocks * piece) / pieces);
      const end = Math.floor((blocks * (piece + 1)) / pieces);
      this.#dispatch(pipeline, this.#bindGroupOf(layout, blocksOf), program, offsets, first, end - first);
      this.#work += work / pieces;
    }
    for (const [i, block] of blocksOf.entries()) {
      block.lastUse = this.#submit;
      if (bindings[i]?.isWritten) block.version++;
    }
  }

  /** Runs `body` with uninitialised memory of `length` elements, freed for the commands after it. */
  withScratch(length: number, body: (scratch: View) => void, dtype: "f32" | "i32" = "f32"): void {
    const block = this.#memory.allocate(length * 4);
    const buffer: GpuBuffer = { dtype, length, block, released: false };
    body({ buffer, offset: 0 });
    buffer.released = true;
    this.#memory.release(block);
  }

  /**
   * Memory of `length` elements that holds what `make` records from `source`: made now, or what was made last, where that was from the same numbers under the same
   * `name` and the host has asked for no results since. For the command that is recorded next.
   */
  madeFrom(source: View, name: string, length: number, make: (made: View) => void): View {
    const { block, released } = source.buffer as GpuBuffer;
    const key = `${name} of ${block.id} at ${source.offset}, ${block.version}`;
    if (this.#made?.key === key && !released) return { buffer: this.#made.buffer, offset: 0 };
    this.#forget();
    const buffer: GpuBuffer = { dtype: "i32", length, block: this.#memory.allocate(length * 4), released: false };
    make({ buffer, offset: 0 });
    this.#made = { key, buffer };
    return { buffer, offset: 0 };
  }

  /** Ordered with the commands: what is recorded and uses the block is submitted before. */
  write(block: Block, byteOffset: number, data: Float32Array | Int32Array | Uint32Array | Uint8Array): void {
    block.version++;
    if (block.lastUse === this.#submit) this.#flush();
    this.#failure.watch("write to the webgpu device", ["validation", "out-of-memory"], () =>
      this.device.queue.writeBuffer(block.buffer, byteOffset, data as Uint8Array<ArrayBuffer>),
    );
  }

  /** Copies out of a block after everything recorded so far, and submits. */
  copyOut(block: Block, byteOffset: number, target: GPUBuffer, bytes: number): void {
    this.#endPass();
    this.#encoder ??= this.device.createCommandEncoder();
    this.#encoder.copyBufferToBuffer(block.buffer, byteOffset, target, 0, bytes);
    this.submit();
  }

  /** Starts what is recorded. */
  submit(): void {
    this.#flush();
    this.#forget();
  }

  #flush(): void {
    this.#endPass();
    const encoder = this.#encoder;
    if (!encoder) return;
    this.#encoder = undefined;
    this.#failure.watch("run on the webgpu device", ["validation", "out-of-memory", "internal"], () => {
      if (this.#used > 0) this.device.queue.writeBuffer(this.#parameters, 0, this.#words, 0, this.#used * slotWords);
      this.device.queue.submit([encoder.finish()]);
    });
    this.#used = 0;
    this.#work = 0;
    this.#submit++;
  }

  #forget(): void {
    const made = this.#made;
    this.#made = undefined;
    // Whoever gets the memory comes after the commands that read it.
    if (made) this.#memory.release(made.buffer.block);
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  #dispatch(
    pipeline: GPUComputePipeline,
    group: GPUBindGroup,
    { integers, numbers, invocations = 0 }: Program,
    offsets: readonly number[],
    first: number,
    blocks: number,
  ): void {
    let at = this.#used * slotWords;
    const end = at + slotWords;
    const words = this.#words;
    words[at] = first;
    words[at + 1] = first + blocks;
    words[at + 2] = invocations;
    words[at + 3] = 0;
    at += headerWords;
    for (const offset of offsets) words[at++] = offset;
    for (const name in integers) words[at++] = integers[name] as number;
    for (const name in numbers) this.#floats[at++] = numbers[name] as number;
    if (at > end)
      throw complaint("record a kernel", `${at - end + slotWords} parameters`, `at most ${slotWords}`, "put them into a buffer");
    if (!this.#pass) {
      this.#encoder ??= this.device.createCommandEncoder();
      this.#pass = this.#encoder.beginComputePass();
    }
    this.#pass.setPipeline(pipeline);
    this.#pass.setBindGroup(0, group, [this.#used * slotBytes]);
    const rows = Math.ceil(blocks / groupsPerDimension);
    this.#pass.dispatchWorkgroups(Math.ceil(blocks / rows), rows);
    this.#used++;
  }

  #pipelineOf(key: string, program: Program, bindings: readonly Binding[], places: readonly number[]): Pipeline {
    const known = this.#pipelines.get(key);
    if (known) return known;
    const code = shaderText(program, bindings, places);
    const layout = this.#layoutOf(bindings);
    const made = this.#failure.watch(`compile the kernel ${program.kernel}`, ["validation", "internal"], () => {
      const module = this.device.createShaderModule({ label: program.kernel, code });
      const compute = { module, entryPoint: "main" };
      return { layout, pipeline: this.device.createComputePipeline({ label: program.kernel, layout: layout.pipeline, compute }) };
    });
    this.#pipelines.set(key, made);
    return made;
  }

  #layoutOf(bindings: readonly Binding[]): Layout {
    const key = bindings.map(({ isWritten }) => (isWritten ? "w" : "r")).join("");
    const known = this.#layouts.get(key);
    if (known) return known;
    const storage = bindings.map(({ isWritten }, i): GPUBindGroupLayoutEntry => {
      return { binding: i + 1, visibility: computeStage, buffer: { type: isWritten ? "storage" : "read-only-storage" } };
    });
    const parameters = { binding: 0, visibility: computeStage, buffer: { type: "uniform", hasDynamicOffset: true } } as const;
    const group = this.device.createBindGroupLayout({ entries: [parameters, ...storage] });
    const layout = { id: this.#layouts.size, group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) };
    this.#layouts.set(key, layout);
    return layout;
  }

  #bindGroupOf(layout: Layout, blocks: readonly Block[]): GPUBindGroup {
    let key = `${layout.id}`;
    for (const { id } of blocks) key += ` ${id}`;
    const known = this.#bindGroups.get(key);
    if (known) return known;
    if (this.#bindGroups.size >= bindGroupsKept) this.#bindGroups.clear();
    const parameters = { binding: 0, resource: { buffer: this.#parameters, size: slotBytes } };
    const storage = blocks.map(({ buffer }, i) => ({ binding: i + 1, resource: { buffer } }));
    const group = this.device.createBindGroup({ layout: layout.group, entries: [parameters, ...storage] });
    this.#bindGroups.set(key, group);
    return group;
  }
}

function complaint(operation: string, got: string, expected: string, cure: string): DeviceError {
  return new DeviceError({ operation, got, expected, cure });
}
