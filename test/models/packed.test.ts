// Models whose weights stay as the file stores them: 16-bit checkpoints give the logits of the same weights decoded to f32, what must stay
// f32 does, saving decodes exactly, and a gradient through a packed weight is refused.

import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { isPackedType } from "../../src/core/dtype.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { loadModel, saveModel } from "../../src/models/load.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { dispose, read, scope } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";
import { fixturePath, packed } from "./fixtures.ts";

const ids = [
  [1, 5, 2, 9, 4, 3],
  [7, 7, 0],
];

for (const [name, type] of [
  ["llama-f16", "f16"],
  ["qwen3-moe-bf16", "bf16"],
  ["deepseek-v2-bf16", "bf16"],
] as const) {
  describe(name, () => {
    test("stored weights give the logits of decoded ones", async () => {
      const device = openReference({ precision: "f64" });
      const folder = await openHfFolder(nodeFiles, fixturePath(name));
      const decoded = await loadModel(device, folder);
      const stored = await loadModel(device, folder, { weights: "stored" });
      const kept = [...stored.parameters].filter(([, { dtype }]) => isPackedType(dtype));
      expect(kept.length).toBeGreaterThan(5);
      expect(kept.every(([, { dtype, requiresGrad }]) => dtype === type && !requiresGrad)).toBe(true);
      const exact = [...stored.parameters].filter(([at]) => /norm|bias|mlp\.gate\.weight/.test(at));
      expect(exact.map(([at, { dtype }]) => `${at} ${dtype}`)).toEqual(exact.map(([at]) => `${at} f32`));
      const logits = async (model: typeof stored) => {
        const out = scope(() => model.forward(packed(device, ids)).logits);
        const values = await read(out);
        dispose(out);
        return values;
      };
      expect(await logits(stored)).toEqual(await logits(decoded));

      const [saved, expected] = [saveModel(stored), saveModel(decoded)];
      for (const [i, tensor] of saved.tensors.entries()) expect(await tensor.readF32()).toEqual(await expected.tensors[i]?.readF32());
      expect(() => scope(() => trackGradients(() => stored.forward(packed(device, ids))))).toThrow(/packed weight.*weights as f32/);
      stored.dispose();
      decoded.dispose();
      expect(device.memory().used).toBe(0);
      await folder.close();
    });
  });
}
