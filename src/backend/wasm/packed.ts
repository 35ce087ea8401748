// Packed weights on the wasm device, host side: how large their panels are, how rows of x are made ready for them, and the commands for both. The byte
// layouts are in assembly/packed-*.ts, one file for each group of types.

import { type PackedType, packedRowBytes, packedTypes } from "../../core/dtype.ts";
import type { DeviceBuffer, Kernels, View } from "../backend.ts";
import { checkPackedSizes, checkWhole, noPackedBuffer, type PackedSizes, packedRowsOf } from "../checks.ts";
import type { SharedHeap } from "./memory.ts";
import { addressOf, chunkBytes, type Recorder, type WasmBuffer } from "./recorder.ts";

/** What this engine's relaxed dot product of bytes does with a second operand above 127; "none": there is none. */
export type DotKind = "unsigned" | "signed" | "sevenBits" | "none";

type Layout = {
  /** Bytes of a panel of 8 rows for each `step` weights along k; for 16 rows and one weight for the 16-bit types. */
  readonly bytes: number;
  readonly step: number;
  /** Scales for each 32 weights. */
  readonly halves: 1 | 2;
  readonly minimum: boolean;
  /** Weight = scale·(code - offset); "byte" where codes are signed bytes (128, or 0 where the dot product takes them signed). */
  readonly offset: number | "byte";
};

const layouts: Readonly<Record<PackedType, Layout>> = {
  f16: { bytes: 32, step: 1, halves: 1, minimum: false, offset: 0 },
  bf16: { bytes: 32, step: 1, halves: 1, minimum: false, offset: 0 },
  q8_0: { bytes: 272, step: 32, halves: 1, minimum: false, offset: "byte" },
  q4_0: { bytes: 144, step: 32, halves: 1, minimum: false, offset: 8 },
  q4_1: { bytes: 160, step: 32, halves: 1, minimum: true, offset: 0 },
  q5_0: { bytes: 176, step: 32, halves: 1, minimum: false, offset: 16 },
  q5_1: { bytes: 192, step: 32, halves: 1, minimum: true, offset: 0 },
  q2_k: { bytes: 384, step: 32, halves: 2, minimum: true, offset: 0 },
  q3_k: { bytes: 320, step: 32, halves: 2, minimum: false, offset: 4 },
  q4_k: { bytes: 1184, step: 256, halves: 1, minimum: true, offset: 0 },
  q5_k: { bytes: 1440, step: 256, halves: 1, minimum: true, offset: 0 },
  q6_k: { bytes: 1696, step: 256, halves: 2, minimum: false, offset: 32 },
  iq4_nl: { bytes: 272, step: 32, halves: 1, minimum: false, offset: "byte" },
  iq4_xs: { bytes: 288, step: 32, halves: 1, minimum: false, offset: "byte" },
  mxfp4: { bytes: 288, step: 32, halves: 1, minimum: false, offset: 12 },
};

/** The order of these names is that of the numbers in assembly/packed-matmul.ts. */
const names = Object.keys(packedTypes) as PackedType[];

export const packedTypeSet: ReadonlySet<PackedType> = new Set(names);

/** Where prepared rows lie, and of what: x and the offsets, at the version that they had. */
type PreparedRows = {
  readonly of: readonly ({ readonly buffer: WasmBuffer; readonly offset: number; readonly version: number } | undefined)[];
  readonly sizes: string;
  readonly address: number;
  readonly bytes: number;
};

type PackedShape = NonNullable<WasmBuffer["packed"]>;

/** Rows of x that are prepared and multiplied at a time. */
const mostRows = 1024;
/** Types whose panels the register blocks of assembly/packed-tiles.ts multiply as they lie. */
const tileTypes: ReadonlySet<PackedType> = new Set(["q8_0", "q4_0", "q4_1", "q4_k", "iq4_nl"]);
/** Types that lie as codes: the register blocks take them as they are, for one row too. */
const codesTypes: ReadonlySet<PackedType> = new Set(["q2_k", "q3_k", "iq4_xs", "mxfp4"]);
/**
 * Bytes of panels that a thread claims at a time, for one row 10 microseconds of reading: what the other thread may have to wait for at the end. A thread runs through
 * so many panels `together`, and slower through fewer.
 */
const unitBytes = 131072;
const together = 8;
/** Scratch of a product: tiles of eight panels by each 32 rows, and eight blocks of eight panels of any type as codes. */
const scratchBytes = (rows: number) => 8192 * Math.ceil(rows / 32) + 64 * 384;
/** Strips whose tiles still come and go within the second-level cache. */
const mostStrips = 32;
const headerBytes = 64;
const [dotWay, pairWay, widenWay] = [0, 1, 2];

const isHalf = (type: PackedType) => type === "f16" || type === "bf16";
const panelRows = (type: PackedType) => (isHalf(type) ? 16 : 8);
const panelBytes = (type: PackedType, width: number) => (width / layouts[type].step) * layouts[type].bytes + (type === "f16" ? 64 : 0);

/** Where commands go: the recorder, or a far memory's way through it. */
export type CommandWriter = Pick<Recorder, "record" | "submit" | "stage" | "stageChunk" | "onTape">;

export class PackedWeights {
  readonly #heap: SharedHeap;
  readonly #recorder: CommandWriter;
  readonly #threads: number;
  readonly #columns: 8 | 16;
  readonly #dots: DotKind;
  /** The rows that were made ready last. */
  #latest: PreparedRows | undefined;

  constructor(heap: SharedHeap, recorder: CommandWriter, threads: number, columns: 8 | 16, dots: DotKind) {
    this.#heap = heap;
    this.#recorder = recorder;
    this.#threads = threads;
    this.#columns = columns;
    this.#dots = dots;
    recorder.onTape(() => this.#forgetRows());
  }

  allocate(type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer {
    checkPackedSizes(type, { matrices, rows, width });
    const perRow = panelRows(type);
    const panels = Math.ceil(rows / perRow);
    const size = panelBytes(type, width);
    const bytes = headerBytes + matrices * panels * size;
    const address = this.#heap.allocateLasting(bytes);
    const buffer: WasmBuffer = {
      dtype: type,
      length: matrices * rows * width,
      bytes,
      address,
      version: 0,
      packs: undefined,
      released: false,
      packed: { type, matrices, rows, width },
    };
    this.#zero(address, headerBytes);
    // Lanes without a row: whatever lies there is multiplied too, and denormals would be slow.
    if (rows % perRow !== 0) {
      for (let matrix = 1; matrix <= matrices; matrix++) this.#zero(address + headerBytes + (matrix * panels - 1) * size, size);
    }
    return buffer;
  }

  write(buffer: WasmBuffer, firstRow: number, bytes: Uint8Array): void {
    const packed = this.#packed(buffer, "write packed");
    const { type, rows: N, width: K } = packed;
    const rowBytes = packedRowBytes(type, K);
    const rows = packedRowsOf(type, packed, firstRow, bytes.length);
    // 16 bytes to spare for vector reads.
    const chunkRows = Math.floor((chunkBytes - 16) / rowBytes);
    for (let row = 0; row < rows; row += chunkRows || 1) {
      const count = Math.min(chunkRows || 1, rows - row);
      const size = count * rowBytes;
      const source = chunkRows > 0 ? this.#recorder.stageChunk() : this.#recorder.stage(size + 16);
      new Uint8Array(this.#heap.memory.buffer, source, size).set(bytes.subarray(row * rowBytes, row * rowBytes + size));
      this.#recorder.record("packedRepack", {
        w: buffer.address,
        source,
        type: names.indexOf(type),
        firstRow: firstRow + row,
        rows: count,
        N,
        K,
        panelBytes: panelBytes(type, K),
        rowBytes,
        flip: this.#dots === "signed" ? 0 : 0x80,
      });
    }
    // The threads begin at once.
    this.#recorder.submit();
  }

  readonly kernels: Pick<Kernels, "packedMatmul" | "packedGroupedMatmul" | "packedEmbedding"> = {
    packedMatmul: ({ out, x, w, M, N, K }) => {
      this.#check(w, "packedMatmul", { matrices: 1, rows: N, width: K });
      for (let row = 0; row < M; row += mostRows) {
        const S = Math.min(mostRows, M - row);
        const [rowsOut, rowsX] = [shift(out, row * N), shift(x, row * K)];
        this.#product({ out: rowsOut, x: rowsX, w, offsets: undefined, S, E: 1, N, K, lanes: S <= this.#alone(w) ? 1 : 8 });
      }
    },
    packedGroupedMatmul: ({ out, x, w, offsets, S, E, N, K }) => {
      this.#check(w, "packedGroupedMatmul", { matrices: E, rows: N, width: K });
      this.#product({ out, x, w, offsets, S, E, N, K, lanes: S <= this.#alone(w) * E ? 1 : 8 });
    },
    packedEmbedding: ({ out, table, ids, rows, width, vocab }) => {
      const { type, matrices, rows: N } = this.#packed(table.buffer as WasmBuffer, "packedEmbedding");
      this.#check(table, "packedEmbedding", { matrices, rows: vocab / matrices, width });
      const { halves, minimum } = layouts[type];
      this.#withScratch(64 + this.#codesBytes(type, width), this.#threads, (scratch, scratchStride) =>
        this.#recorder.record("packedEmbedding", {
          out,
          table: addressOf(table),
          ids,
          rows,
          width,
          vocab,
          N,
          type: names.indexOf(type),
          halves,
          minimum,
          offset: this.#offset(type),
          panelBytes: panelBytes(type, width),
          scratch,
          scratchStride,
        }),
      );
    },
  };

  #product(a: { out: View; x: View; w: View; offsets: View | undefined; S: number; E: number; N: number; K: number; lanes: 1 | 8 }): void {
    const { out, x, w, offsets, S, E, N, K } = a;
    if (S * N === 0) return;
    const { type } = this.#packed(w.buffer as WasmBuffer, "packed product");
    const { halves, minimum } = layouts[type];
    const half = isHalf(type);
    const lanes = half && a.lanes > 1 ? 6 : a.lanes;
    const way = half ? dotWay : this.#way(type);
    const blockBytes = half ? 4 * lanes : lanes * (way === widenWay ? 76 : 44);
    const stripBytes = (half ? K : K / 32) * blockBytes;
    const strips = Math.floor(S / lanes) + E;
    const panels = Math.ceil(N / panelRows(type));
    // Half a megabyte of prepared rows stays in the second-level cache while panels come and go.
    const rowBlock = lanes * Math.max(1, Math.min(Math.ceil(S / lanes), mostStrips, Math.floor(524288 / Math.max(stripBytes, 1))));
    const rowBlocks = E > 1 ? E : Math.ceil(S / rowBlock);
    const fair = Math.max(1, Math.min(panels, Math.floor((panels * rowBlocks) / (4 * this.#threads))));
    const unit = Math.min(fair, Math.max(together, unitBytes / panelBytes(type, K)));
    const panelBlock = unit < together ? fair : together * Math.floor(unit / together);
    const record = (ready: number) =>
      this.#withScratch(576 + Math.max(scratchBytes(rowBlock), this.#codesBytes(type, K)), this.#threads, (scratch, scratchStride) =>
        this.#recorder.record(offsets ? "packedGroupedMatmul" : "packedMatmul", {
          out,
          x: ready,
          w: addressOf(w),
          offsets,
          S,
          E,
          N,
          K,
          type: names.indexOf(type),
          lanes,
          way,
          halves,
          minimum,
          codesOnly: this.#dots === "none",
          inTiles: lanes > 1 && this.#inTiles(type),
          panelBytes: panelBytes(type, K),
          rowBlock,
          panelBlock,
          columns: this.#columns,
          scratch,
          scratchStride,
        }),
      );
    if (half && lanes === 1) record(addressOf(x));
    else {
      const offset = this.#offset(type);
      const sizes = { S, E, K, lanes, wide: way === widenWay, halves, sums: minimum, offset };
      const ready = this.#rowsFor(
        x,
        offsets,
        half ? `half:${S}:${E}:${K}` : Object.values(sizes).join(":"),
        strips * stripBytes,
        (target) => {
          if (half) this.#recorder.record("packedHalfRows", { target, x, offsets, S, E, K });
          else this.#recorder.record("packedRows", { target, x, offsets, ...sizes });
        },
      );
      record(ready);
    }
  }

  /** Address of x's rows made ready: those of the product before when it had the same x, as q, k and v have, and gate and up. */
  #rowsFor(x: View, offsets: View | undefined, sizes: string, bytes: number, prepare: (target: number) => void): number {
    const of = [x, offsets].map((view) => view && { buffer: view.buffer as WasmBuffer, offset: view.offset });
    const latest = this.#latest;
    const isCurrent =
      latest?.sizes === sizes &&
      latest.of.every((was, i) => {
        const now = of[i];
        return was?.buffer === now?.buffer && was?.offset === now?.offset && was?.version === now?.buffer.version;
      });
    if (latest && isCurrent) return latest.address;
    this.#forgetRows();
    const address = this.#heap.allocate(bytes);
    this.#latest = { of: of.map((view) => view && { ...view, version: view.buffer.version }), sizes, address, bytes };
    prepare(address);
    return address;
  }

  #forgetRows(): void {
    if (this.#latest) this.#heap.release(this.#latest.address, this.#latest.bytes);
    this.#latest = undefined;
  }

  #inTiles(type: PackedType): boolean {
    return tileTypes.has(type) && this.#way(type) !== widenWay;
  }

  /** Up to so many rows by one matrix it costs less to multiply each alone. */
  #alone({ buffer }: View): number {
    const { type } = this.#packed(buffer as WasmBuffer, "packed product");
    if (codesTypes.has(type)) return this.#way(type) === widenWay ? 2 : 0;
    return this.#inTiles(type) ? 1 : 2;
  }

  /** How products of bytes are summed, see assembly/packed-codes.ts. */
  #way(type: PackedType): number {
    if (this.#dots === "none") return widenWay as number;
    if (this.#dots !== "sevenBits") return dotWay as number;
    if (layouts[type].offset === "byte") return widenWay as number;
    return (type === "q4_0" || type === "q4_1" || type === "q4_k" ? pairWay : dotWay) as number;
  }

  #offset(type: PackedType): number {
    const { offset } = layouts[type];
    return offset === "byte" ? (this.#dots === "signed" ? 0 : 128) : offset;
  }

  /** Bytes of a panel that is unpacked: codes, or f32. */
  #codesBytes(type: PackedType, width: number): number {
    const { halves, minimum } = layouts[type];
    return isHalf(type) ? 64 * width : (width / 32) * (256 + 32 * halves * (minimum ? 2 : 1));
  }

  #withScratch(bytes: number, count: number, body: (scratch: number, stride: number) => void): void {
    const stride = Math.ceil((bytes + 64) / 64) * 64;
    const scratch = this.#heap.allocate(stride * count);
    body(scratch, stride);
    this.#heap.release(scratch, stride * count);
  }

  /** Ordered with the commands, because the memory may be in use by earlier ones. */
  #zero(address: number, bytes: number): void {
    const out = { buffer: { address, dtype: "f32" } as WasmBuffer, offset: 0 };
    this.#recorder.record("fill", { out, n: bytes / 4, value: 0 });
  }

  #packed(buffer: WasmBuffer, operation: string): PackedShape {
    if (buffer.packed && !buffer.released) return buffer.packed;
    throw noPackedBuffer(buffer, operation);
  }

  #check(w: View, operation: string, expected: PackedSizes): void {
    checkWhole(w.offset, this.#packed(w.buffer as WasmBuffer, operation), expected, operation);
  }
}

function shift({ buffer, offset }: View, by: number): View {
  return { buffer, offset: offset + by };
}
