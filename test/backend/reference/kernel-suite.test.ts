// The kernel suite on the f32 reference (its storage rounding must stay within the bounds that every device is held to), and a check of the
// suite itself: devices with deliberate faults must be caught.

import { describe, expect, test } from "vitest";
import type { Device, Kernels } from "../../../src/backend/backend.ts";
import { contents } from "../../../src/backend/reference/buffer.ts";
import { openReference } from "../../../src/backend/reference/open.ts";
import { Random } from "../../../src/core/random.ts";
import { checkCase } from "../kernel-case.ts";
import { kernelCases, runKernelSuite } from "../kernel-cases.ts";

runKernelSuite("reference f32", () => openReference({ precision: "f32" }), { twin: () => openReference({ precision: "f32" }) });

/** Complaints about `kernel` on a device where the given kernels are replaced. */
async function complaintsAbout(kernel: keyof Kernels, faults: (kernels: Kernels) => Partial<Kernels>): Promise<string[]> {
  const good = openReference({ precision: "f32" });
  const device: Device = Object.create(good, {
    kernels: { value: { ...good.kernels, ...faults(good.kernels) } },
    allocate: { value: good.allocate.bind(good) },
    release: { value: good.release.bind(good) },
    write: { value: good.write.bind(good) },
    read: { value: good.read.bind(good) },
  });
  const complaints: string[] = [];
  for (const c of kernelCases[kernel](new Random(1).fork(kernel))) complaints.push(...(await checkCase(device, c)));
  return complaints;
}

describe("the suite catches", () => {
  test("nothing on a device without faults", async () => {
    expect(await complaintsAbout("fill", () => ({}))).toEqual([]);
  });

  test("a write past the end", async () => {
    const found = await complaintsAbout("fill", () => ({
      fill: ({ out, n, value }) => void contents(out.buffer).fill(value, out.offset, out.offset + n + 1),
    }));
    expect(found.join()).toMatch(/out\[0\] of 0 was overwritten/);
  });

  test("a read past the end", async () => {
    const found = await complaintsAbout("sumSquares", (k) => ({ sumSquares: (a) => k.sumSquares({ ...a, n: Math.ceil(a.n / 4) * 4 }) }));
    expect(found.join()).toMatch(/sumSquares.*got NaN/);
  });

  test("an ignored accumulate", async () => {
    expect(await complaintsAbout("matmul", (k) => ({ matmul: (a) => k.matmul({ ...a, accumulate: false }) }))).not.toEqual([]);
    expect(await complaintsAbout("copy", (k) => ({ copy: (a) => k.copy({ ...a, accumulate: false }) }))).not.toEqual([]);
  });

  test("an error of one part in 10,000", async () => {
    const found = await complaintsAbout("unary", (k) => ({
      unary: (a) => {
        k.unary(a);
        if (a.kind !== "exp") return;
        const out = contents(a.out.buffer);
        for (let i = a.out.offset; i < a.out.offset + a.n; i++) out[i] = out[i]! * 1.0001;
      },
    }));
    expect(found.length).toBeGreaterThan(5);
    expect(found.every((complaint) => complaint.includes('kind "exp"'))).toBe(true);
  });

  test("an input that was changed", async () => {
    const found = await complaintsAbout("softmax", (k) => ({
      softmax: (a) => {
        k.softmax({ ...a, out: a.x });
        k.affine({ out: a.out, x: a.x, n: a.rows * a.width, scale: 1, shift: 0 });
      },
    }));
    expect(found.join()).toMatch(/x\[0\].*was overwritten/);
  });

  test("a row that depends on the number of rows", async () => {
    // The last bit only: far below the error bound.
    const found = await complaintsAbout("rmsNorm", (k) => ({
      rmsNorm: (a) => {
        k.rmsNorm(a);
        if (a.rows > 1) k.affine({ out: a.out, x: a.out, n: a.rows * a.width, scale: 1 + 2 ** -23, shift: 0 });
      },
    }));
    expect(found.length).toBeGreaterThan(5);
    expect(found.every((complaint) => complaint.includes("bitwise law"))).toBe(true);
  });

  test("attention that multiplies masked keys by zero", async () => {
    const found = await complaintsAbout("attention", (k) => ({
      attention: (a) => {
        k.attention(a);
        const v = contents(a.v.buffer);
        const out = contents(a.out.buffer);
        if (a.R * a.S > 0) out[a.out.offset] = out[a.out.offset]! + 0 * v[a.v.offset + (a.S - 1) * a.vRowStride]!;
      },
    }));
    expect(found.some((complaint) => complaint.includes("got NaN"))).toBe(true);
  });

  test("indices that are not bounded", async () => {
    const unbounded = await complaintsAbout("embedding", (k) => ({
      embedding: (a) => {
        k.embedding(a);
        const ids = contents(a.ids.buffer);
        for (let r = 0; r < a.rows; r++) {
          if (ids[a.ids.offset + r] === a.vocab)
            contents(a.out.buffer).fill(1, a.out.offset + r * a.width, a.out.offset + (r + 1) * a.width);
        }
      },
    }));
    expect(unbounded).not.toEqual([]);
  });
});
