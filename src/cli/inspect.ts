// `gradually inspect FILE|DIR`: what is in a .safetensors file, a .gguf file or a model folder, and, for a model that this program runs, how many
// parameters it has, what a token takes in the cache and whether this machine's memory is enough. Only headers are read; --check
// reads every number and counts those that are not finite (hazards Q01 to Q12).

import type { Command } from "commander";
import { GraduallyError } from "../core/errors.ts";
import { formatCount } from "../core/human.ts";
import { elementCount, showShape } from "../core/shape.ts";
import { nodeHost } from "../platform/node.ts";
import { type Content, type Entry, openContent } from "./inspect-content.ts";
import { measureNeeds, type Needs } from "./inspect-needs.ts";
import { formatBytes, progressLine, say, showControls, table, writeJson } from "./output.ts";

type Flags = { readonly all?: boolean; readonly check?: boolean; readonly json?: boolean };

export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .description("Show what is in a model's files, and what running it needs.")
    .argument("[path]", "a model folder, a .gguf or .safetensors file, hf:org/name, or a bundled model's name (default: the bundled model)")
    .option("--all", "list every tensor (for people; --json always does)")
    .option("--check", "read every number, and count what is NaN or infinite in each tensor")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually inspect ./my-model\n  $ gradually inspect model-q4_k_m.gguf --all\n  $ gradually inspect ./my-model/model.safetensors --check\n  $ gradually inspect ./my-model --json",
    )
    .action(inspect);
}

async function inspect(reference: string | undefined, flags: Flags): Promise<void> {
  const content = await openContent(nodeHost().files, reference);
  try {
    const { config, checkpoint } = content;
    const needs = content.refusal ?? (config && checkpoint && measureNeeds(config, checkpoint));
    const counts = flags.check ? await countNonFinite(content) : undefined;
    if (flags.json) writeReport(content, needs, counts);
    else showReport(content, needs, counts, flags.all ?? false);
  } finally {
    await content.close();
  }
}

type NonFinite = { readonly name: string; readonly nan: number; readonly infinite: number };

function writeReport(content: Content, needs: Needs | GraduallyError | undefined, counts: readonly NonFinite[] | undefined): void {
  const { path, kind, metadata, tensors, config, warnings } = content;
  const runnable =
    needs === undefined
      ? {}
      : needs instanceof GraduallyError
        ? { runs: false, why_not: needs.message }
        : { runs: needs.memory.fits, ...needs };
  writeJson({
    path,
    kind,
    ...(config && { model_type: config.model_type ?? null }),
    tensor_count: tensors.length,
    bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
    dtypes: countDtypes(tensors),
    ...runnable,
    metadata,
    warnings,
    ...(config && { config }),
    ...(counts && { not_finite: counts }),
    tensors: tensors.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes })),
  });
}

function showReport(
  { path, metadata, tensors, config, warnings, kind }: Content,
  needs: Needs | GraduallyError | undefined,
  counts: readonly NonFinite[] | undefined,
  all: boolean,
): void {
  const rows = [["path", path]];
  if (config) rows.push(["model type", String(config.model_type ?? "not named")]);
  rows.push(["tensors", `${tensors.length}, ${formatBytes(tensors.reduce((sum, tensor) => sum + tensor.bytes, 0))}`]);
  for (const [dtype, { tensors: count, bytes }] of Object.entries(countDtypes(tensors)))
    rows.push([`  ${dtype}`, `${count}, ${formatBytes(bytes)}`]);
  if (needs instanceof GraduallyError) rows.push(["runs", `no: ${needs.message}`]);
  else if (needs) rows.push(...describeNeeds(needs));
  for (const [key, value] of Object.entries(metadata)) rows.push([`${kind === "gguf" ? "" : "metadata "}${key}`, firstLine(String(value))]);
  for (const warning of warnings) rows.push(["note", warning]);
  say(showControls(table(rows)));
  const shown = all ? tensors : tensors.slice(0, 8);
  say(`\n${showControls(table(shown.map(({ name, dtype, shape, bytes }) => [name, dtype, showShape(shape), formatBytes(bytes)])))}`);
  if (shown.length < tensors.length) say(`… and ${tensors.length - shown.length} more (--all)`);
  if (!counts) return;
  if (counts.length === 0) say("\nchecked: every number is finite");
  else say(`\nnot finite:\n${showControls(table(counts.map(({ name, nan, infinite }) => [name, `${nan} NaN`, `${infinite} infinite`])))}`);
}

function firstLine(text: string): string {
  const line = text.split("\n", 1)[0] as string;
  return line.length < text.length || line.length > 120 ? `${line.slice(0, 120)}…` : line;
}

function describeNeeds({ parameters, context_length, cache_bytes_per_token, memory }: Needs): string[][] {
  const { total, active } = parameters;
  return [
    ["parameters", `${formatCount(total)}${active === total ? "" : `, ${formatCount(active)} active for a token`}`],
    ["context", `${context_length} tokens, ${formatBytes(cache_bytes_per_token)} of cache each`],
    [
      "memory",
      `${formatBytes(memory.total)}: weights ${formatBytes(memory.weights)}, packed copies ${formatBytes(memory.packed)}, cache ${formatBytes(memory.cache)}`,
    ],
    ["runs", memory.fits ? "yes" : `no: more than the ${formatBytes(memory.limit)} that the device can have; use a smaller model or type`],
  ];
}

function countDtypes(tensors: readonly Entry[]): Record<string, { tensors: number; bytes: number }> {
  const counts: Record<string, { tensors: number; bytes: number }> = {};
  for (const { dtype, bytes } of tensors) {
    counts[dtype] ??= { tensors: 0, bytes: 0 };
    const count = counts[dtype];
    count.tensors++;
    count.bytes += bytes;
  }
  return counts;
}

/** Numbers read at a time. */
const chunkNumbers = 2 ** 21;

/** Only tensors that have such numbers. */
async function countNonFinite({ tensors }: Content): Promise<NonFinite[]> {
  const { now } = nodeHost();
  const progress = progressLine(now);
  const start = now();
  const found: NonFinite[] = [];
  try {
    for (const [i, { name, shape, read }] of tensors.entries()) {
      const width = shape.at(-1) ?? 1;
      const rows = elementCount(shape) / Math.max(1, width);
      const step = Math.max(1, Math.floor(chunkNumbers / Math.max(1, width)));
      let [nan, infinite] = [0, 0];
      for (let first = 0; first < rows; first += step) {
        for (const value of await read(first, Math.min(step, rows - first))) {
          if (Number.isNaN(value)) nan++;
          else if (!Number.isFinite(value)) infinite++;
        }
      }
      if (nan + infinite > 0) found.push({ name, nan, infinite });
      if (now() - start > 0.5) progress.update({ stage: "check", step: i + 1, total: tensors.length });
    }
  } finally {
    progress.finish();
  }
  return found;
}
