// Which ONNX model is the counterpart of a GGUF file, and making it. In: the GGUF file's path. Out: the folder beside it, the file in it, and the name
// that transformers.js has for its number format.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export type OnnxModel = { readonly folder: string; readonly file: string; readonly dtype: "q4" | "q8" };

/** Nothing for a type that has no counterpart: q4_k_m has none. */
export function onnxOf(gguf: string): OnnxModel | undefined {
  const [, name, type] = /^(.+)-(q4_0|q8_0)\.gguf$/.exec(basename(gguf)) ?? [];
  if (name === undefined) return undefined;
  const folder = join(dirname(gguf), `${name}-onnx`);
  return type === "q4_0"
    ? { folder, file: join(folder, "onnx/model_q4.onnx"), dtype: "q4" }
    : { folder, file: join(folder, "onnx/model_quantized.onnx"), dtype: "q8" };
}

/** Makes what is missing, with the Python that $PYTHON names (python3). Says why, and goes on, where it cannot. */
export function makeOnnx(gguf: string): void {
  const onnx = onnxOf(gguf);
  if (!onnx || existsSync(onnx.file)) return;
  const script = fileURLToPath(new URL("../tools/reference/make_onnx_model.py", import.meta.url));
  const python = process.env.PYTHON ?? "python3";
  try {
    execFileSync(python, [script, gguf, onnx.folder, "--dtype", onnx.dtype], { stdio: "inherit" });
  } catch {
    process.stderr.write(
      `could not make ${onnx.file}: ${python} needs the packages onnx and gguf (pip install onnx gguf), or set PYTHON\n`,
    );
  }
}
