// embedding and embeddingBackward: rows of a table by id. Ids outside the table give zeros and no gradient. A GPU adds no floats in a given order by itself, so
// the rows of dy that have one id are linked into a list; for each list and column one invocation adds them to the table, in ascending order.

import type { Kernels } from "../backend.ts";
import { fill } from "./fill.ts";
import { gatherRows } from "./gather-rows.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function embedding(recorder: Recorder): Kernels["embedding"] {
  const gather = gatherRows(recorder);
  return ({ out, table, ids, rows, width, vocab }) => gather({ out, x: table, index: ids, rows, width, xRows: vocab });
}

export function embeddingBackward(recorder: Recorder): Kernels["embeddingBackward"] {
  const set = fill(recorder);
  return ({ dtable, dy, ids, rows, width, vocab }) =>
    // For each row the next one with its id, or `rows`; then, for each, whether it is the first one.
    recorder.withScratch(
      2 * rows,
      (links) => {
        set({ out: links, n: rows, value: rows });
        recorder.run({
          kernel: "embeddingBackward",
          variant: "links",
          operands: { links: write(links, "u32"), ids: read(ids, "u32") },
          integers: { vocab },
          invocations: rows,
          work: (rows * rows) / 2,
          text: ({ links, ids }) => `
  let id = ${ids("i")};
  var before = i;
  while (before > 0 && ${ids("before - 1")} != id) { before--; }
  if (before > 0) { ${links("before - 1")} = i; }
  ${links("p.invocations + i")} = select(0u, 1u, before == 0 && id < p.vocab);`,
        });
        recorder.run({
          kernel: "embeddingBackward",
          operands: { dtable: write(dtable), dy: read(dy), ids: read(ids, "u32"), links: read(links, "u32") },
          integers: { rows, width },
          invocations: rows * width,
          work: rows * width * 2,
          text: ({ dtable, dy, ids, links }) => `
  var row = i / p.width;
  if (${links("p.rows + row")} == 0) { return; }
  let column = i % p.width;
  let at = ${ids("row")} * p.width + column;
  var sum = ${dtable("at")};
  while (row < p.rows) {
    sum += ${dy("row * p.width + column")};
    row = ${links("row")};
  }
  ${dtable("at")} = sum;`,
        });
      },
      "i32",
    );
}
