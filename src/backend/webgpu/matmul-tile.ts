// The tile of every matrix product: a group of 64 invocations brings tiles of A and B into workgroup memory, where each invocation multiplies a block of rows by
// columns; few rows of A (decoding) have tiles of their own. In: where the product's elements lie, as text. Out: the text that follows `row0` and `column0`.
// Every element is one chain of fused multiply-adds over k, whatever the tile, so kernels that share this text give equal bits.

export const tileGroupSize = 64;

/** How much of k a tile holds. SwiftShader compiles a kernel the longer the more workgroup memory it has: half a second for 8 KiB. */
const depth = 16;

/** Invocations of a group over rows and columns, and rows and columns of each. */
export type Tiling = { readonly down: number; readonly across: number; readonly rows: number; readonly columns: number };

const square: Tiling = { down: 8, across: 8, rows: 4, columns: 4 };

/** `rows`: of A, or how many are to be expected. */
export function tilingFor(rows: number): Tiling {
  return rows > 4 ? square : { down: 1, across: tileGroupSize, rows: rows > 1 ? 4 : 1, columns: 1 };
}

/** Rows and columns of the result that a group computes. */
export function tileSize({ down, across, rows, columns }: Tiling): { readonly height: number; readonly width: number } {
  return { height: down * rows, width: across * columns };
}

export type Product = {
  /** Expressions, the same for all invocations of a group: where rows, columns and k end. */
  readonly rowEnd: string;
  readonly columnEnd: string;
  readonly kEnd: string;
  /** Elements A[m, k] and B[k, n]; transposed where elements that differ by 1 in m, or in k for B, are neighbours in memory. */
  readonly a: (m: string, k: string) => string;
  readonly b: (k: string, n: string) => string;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  /** Statements that do away with a finished sum. */
  readonly store: (m: string, n: string, sum: string) => string;
};

/** Expects `row0` and `column0`, the first of the tile; all invocations of the group must come here. */
export function tileText(tiling: Tiling, product: Product): { readonly declarations: string; readonly body: string } {
  const { across, rows, columns } = tiling;
  const { height, width } = tileSize(tiling);
  const { rowEnd, columnEnd, kEnd, a, b, transposeA, transposeB, store } = product;
  const all = (count: number, line: (i: number) => string) => Array.from({ length: count }, (_, i) => line(i)).join("\n");
  const cells = (line: (r: number, c: number) => string) => all(rows, (r) => all(columns, (c) => line(r, c)));
  return {
    declarations: `
var<workgroup> a_tile: array<f32, ${height * depth}>;
var<workgroup> b_tile: array<f32, ${depth * width}>;`,
    body: `
  let y = local / ${across};
  let x = local % ${across};
${cells((r, c) => `  var sum_${r}_${c} = 0.0;`)}
  for (var k0 = 0u; k0 < ${kEnd}; k0 += ${depth}) {
    // Neighbours read neighbours; the tiles lie as [k, row] and [k, column].
    for (var e = local; e < ${height * depth}; e += ${tileGroupSize}) {
      ${transposeA ? `let tile_row = e % ${height}; let tile_k = e / ${height};` : `let tile_k = e % ${depth}; let tile_row = e / ${depth};`}
      let m = row0 + tile_row;
      let k = k0 + tile_k;
      if (m < ${rowEnd} && k < ${kEnd}) { a_tile[tile_k * ${height} + tile_row] = ${a("m", "k")}; }
    }
    for (var e = local; e < ${depth * width}; e += ${tileGroupSize}) {
      ${transposeB ? `let tile_k = e % ${depth}; let tile_column = e / ${depth};` : `let tile_column = e % ${width}; let tile_k = e / ${width};`}
      let n = column0 + tile_column;
      let k = k0 + tile_k;
      if (n < ${columnEnd} && k < ${kEnd}) { b_tile[tile_k * ${width} + tile_column] = ${b("k", "n")}; }
    }
    workgroupBarrier();
    let end = min(${depth}u, ${kEnd} - k0);
    for (var k = 0u; k < end; k++) {
${all(rows, (r) => `      let a_${r} = a_tile[k * ${height} + y * ${rows} + ${r}];`)}
${all(columns, (c) => `      let b_${c} = b_tile[k * ${width} + x + ${c * across}];`)}
${cells((r, c) => `      sum_${r}_${c} = fma(a_${r}, b_${c}, sum_${r}_${c});`)}
    }
    workgroupBarrier();
  }
${cells(
  (r, c) => `  {
    let m = row0 + y * ${rows} + ${r};
    let n = column0 + x + ${c * across};
    if (m < ${rowEnd} && n < ${columnEnd}) { ${store("m", "n", `sum_${r}_${c}`)} }
  }`,
)}`,
  };
}
