// N12: the builds of the kernels beside one another on the bundled model. They round differently (relaxed SIMD fuses a multiplication and an addition), so they are
// not the same bits; what they say of the next token is the same to a divergence of 1e-9 nats.

import * as path from "node:path";
import { expect, test } from "vitest";
import { availableWasmBuilds, openDevice } from "../../src/backend/open.ts";
import { openModelFiles } from "../../src/models/files.ts";
import { loadModel } from "../../src/models/load.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { dispose, fromArray, read, scope } from "../../src/tensor/tensor.ts";
import { noGradients } from "../../src/tensor/tracking.ts";

const folder = path.join(import.meta.dirname, "../../models/countdown-reasoner");

/** Log-probabilities [64, V] under one build. */
async function rowsOf(build: string): Promise<Float64Array[]> {
  const host = nodeHost();
  const device = await openDevice(
    host,
    build === "reference" ? { device: "reference" } : { device: "cpu", build: build as "relaxed", threads: 1 },
  );
  const opened = await openModelFiles(host.files, folder);
  const { tokenizer } = await opened.openText();
  const ids = tokenizer
    .encode("3,5,7=22<think>3+5=8 8+7=15 no. 3*5=15 15+7=22 yes</think>3*5+7;2,9,4=17<think>2+9=11", { addSpecialTokens: false })
    .slice(0, 64);
  const model = await loadModel(device, opened, { weights: "stored" });
  await opened.close();
  const make = (values: readonly number[]) => fromArray(device, values, [values.length], "i32");
  const logits = noGradients(() =>
    scope(
      () =>
        model.forward({
          ids: make(ids),
          positions: make(ids.map((_, i) => i)),
          first: make(ids.map(() => 0)),
          last: make(ids.map((_, i) => i)),
        }).logits,
    ),
  );
  const values = await read(logits);
  const V = model.vocabSize;
  dispose(logits);
  model.dispose();
  await device.close();
  return ids.map((_, row) => {
    const part = Float64Array.from(values.slice(row * V, (row + 1) * V));
    const most = Math.max(...part);
    const sum = Math.log(part.reduce((total, x) => total + Math.exp(x - most), 0)) + most;
    return part.map((x) => x - sum);
  });
}

const divergence = (p: Float64Array, q: Float64Array) => p.reduce((sum, log, i) => sum + Math.exp(log) * (log - (q[i] as number)), 0);

test("N12: every build diverges from the reference by at most 1e-9 nats a token, and they choose the same token", async () => {
  const builds = await availableWasmBuilds(nodeHost());
  expect(builds.length).toBeGreaterThan(0);
  const base = await rowsOf("reference");
  for (const build of builds) {
    const rows = await rowsOf(build);
    const mean = rows.reduce((sum, row, i) => sum + divergence(base[i] as Float64Array, row), 0) / rows.length;
    expect(mean, build).toBeLessThan(1e-9);
    expect(rows.map((row) => row.indexOf(Math.max(...row)))).toEqual(base.map((row) => row.indexOf(Math.max(...row))));
  }
});
