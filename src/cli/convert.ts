// `gradually convert IN OUT`: a Hugging Face folder from a GGUF file, and back. The end of OUT says which: `.gguf` is a file, anything else a
// folder. Numbers stream, whatever the size; what is written appears whole or not at all.

import { type Command, Option } from "commander";
import { ConfigError, quote } from "../core/errors.ts";
import { formatCount, formatDuration } from "../core/human.ts";
import { openModelFiles } from "../models/files.ts";
import { isGgufPath, type ModelFiles } from "../models/model-files.ts";
import { modelHelp } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { isMix, mixes } from "../quantize/mix.ts";
import { type FolderType, writeFolderModel } from "../quantize/write-folder-model.ts";
import { checkOutput, type WriteReport, writeGgufModel } from "../quantize/write-gguf-model.ts";
import { findModel } from "./find-model.ts";
import { formatBytes, note, progressLine, say, shellWord, writeJson } from "./output.ts";

const folderTypes = ["f32", "bf16", "f16"] as const;

export type ConvertFlags = {
  /** Absent: as the weights are stored now. */
  readonly type?: string;
  readonly name?: string;
  readonly force?: boolean;
  readonly json?: boolean;
};

export function convertCommand(program: Command): void {
  program
    .command("convert")
    .description("Write a model in the other format: a GGUF file, or a Hugging Face folder.")
    .argument("<in>", modelHelp)
    .argument("<out>", "a name that ends in .gguf: that file; anything else: a folder")
    .addOption(
      new Option(
        "--type <type>",
        "how weights are stored: f32, bf16, f16; for GGUF also what quantize takes (default: as in IN, packed ones as bf16)",
      ).choices(mixes),
    )
    .option("--name <name>", "the model's name in a GGUF file (default: of IN)")
    .option("--force", "write over what is there")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually convert ./my-model my-model.gguf\n  $ gradually convert model-q4_k_m.gguf ./model --type f32\n  $ gradually convert hf:org/name name.gguf --type f16",
    )
    .action((reference: string, out: string, flags: ConvertFlags) => convertModel("convert", reference, out, flags));
}

/** Shared with quantize. */
export async function convertModel(verb: string, reference: string, out: string, flags: ConvertFlags): Promise<void> {
  const host = nodeHost();
  const { files } = host;
  const path = await findModel(files, reference);
  await checkOutput(files, verb, out, path);
  if (!flags.force && (await files.exists(out)))
    throw new ConfigError({
      operation: verb,
      got: `${quote(out, 300)}, which is there`,
      expected: "a new name",
      cure: "name another OUT, or add --force",
    });
  const opened = await openModelFiles(files, path);
  try {
    for (const warning of opened.warnings) note(`note: ${warning}`);
    const type = flags.type ?? storedType(opened);
    const progress = progressLine(host.now);
    const start = host.now();
    const onProgress = (done: number, total: number) => {
      const seconds = host.now() - start;
      if (seconds < 0.5) return; // nobody waits for that
      progress.update({
        stage: verb,
        step: done,
        total,
        amount: `${formatCount(done)} of ${formatCount(total)} weights`,
        rate: `${formatCount(Math.round(done / seconds))}/s`,
        secondsLeft: ((total - done) / done) * seconds,
      });
    };
    let report: WriteReport;
    try {
      if (isGgufPath(out)) {
        if (!isMix(type)) throw new Error(type);
        const name = flags.name ?? files.baseName(path).replace(/\.gguf$/i, "");
        if (isQuantised(opened) && !(folderTypes as readonly string[]).includes(type))
          note("note: IN is quantised already; rounding twice costs accuracy");
        report = await writeGgufModel(files, out, opened, { mix: type, name, onProgress });
      } else {
        report = await writeFolderModel(files, out, opened, { type: folderType(verb, type), onProgress });
      }
    } finally {
      progress.finish();
    }
    const seconds = host.now() - start;
    for (const line of report.notes) note(`note: ${line}`);
    const { tensors, parameters, bytes, types } = report;
    if (flags.json) {
      writeJson({
        path: out,
        type,
        tensors,
        parameters,
        bytes,
        bits_per_weight: (8 * bytes) / parameters,
        types,
        seconds,
        notes: report.notes,
      });
      return;
    }
    const bits = ((8 * bytes) / parameters).toFixed(2);
    say(
      `${out}: ${tensors} tensors, ${formatCount(parameters)} weights, ${formatBytes(bytes)}, ${bits} bits a weight, in ${formatDuration(seconds)}`,
    );
    say(
      Object.entries(types)
        .map(([name, count]) => `${name} ${count}`)
        .join(", "),
    );
    note(`next: gradually run ${shellWord(out)}`);
  } finally {
    await opened.close();
  }
}

function isQuantised({ tensors }: ModelFiles): boolean {
  return [...tensors.values()].some(({ packed }) => packed && packed.type !== "f16" && packed.type !== "bf16");
}

/** The type of the largest tensor where that is a float, else bf16. */
function storedType({ tensors }: ModelFiles): FolderType {
  const size = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);
  const [largest] = [...tensors.values()].sort((a, b) => size(b.shape) - size(a.shape));
  const type = largest?.dtype.toLowerCase() ?? "f32";
  return folderTypes.find((name) => name === type) ?? (type === "f64" ? "f32" : "bf16");
}

function folderType(operation: string, type: string): FolderType {
  const found = folderTypes.find((name) => name === type);
  if (found) return found;
  throw new ConfigError({
    operation: `${operation}: --type`,
    got: type,
    expected: `${folderTypes.join(", ")} for a folder`,
    cure: "write a GGUF file: let OUT end in .gguf",
  });
}
