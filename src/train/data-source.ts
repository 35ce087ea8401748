// Where the documents of pretraining and fine-tuning come from: a task's worked examples, made without end or a fixed number of them, or a JSONL
// file. In: plain data from a recipe. Out: document number i, a pure function of i, so that a checkpoint needs one integer.

import { ConfigError, quote } from "../core/errors.ts";
import { readJsonlRows } from "../data/jsonl.ts";
import type { Document } from "../data/pack.ts";
import { encodePair, encodeRow, type RowEncoder } from "../data/rows.ts";
import { type DocumentSource, generatedSource, listSource } from "../data/stream.ts";
import { object, oneOf, orNull, resolveOptions, text, type Values, whole } from "./options.ts";
import type { StageContext } from "./stage.ts";
import { checkTraceOptions, type TrainingTask } from "./task-table.ts";

export const dataFields = {
  /** "task": worked examples of the recipe's task; "file": rows of a JSONL file. */
  kind: oneOf("task", ["task", "file"]),
  /** Task: so many different problems, epoch after epoch, each trace verified; null: new ones without end. */
  examples: orNull(whole(1, { min: 1, max: 1e7 })),
  /** Task: how traces are written, as the task takes it. */
  trace: object<Readonly<Record<string, unknown>>>({}),
  /** File: rows of {"prompt", "completion"} or {"text"}. */
  path: orNull(text("")),
  /** File: documents longer than the sequence length. */
  long: oneOf("error", ["error", "split", "truncate"]),
} as const;

export type DataConfig = Values<typeof dataFields>;

export type OpenSource = {
  readonly source: DocumentSource;
  /** Documents in an epoch; undefined when there is no end. */
  readonly count: number | undefined;
};

/** `learnPrompts`: the prompt counts in the loss too. Throws ConfigError or FormatError. */
export async function openSource(
  config: DataConfig,
  context: StageContext,
  encoder: RowEncoder,
  T: number,
  learnPrompts: boolean,
): Promise<OpenSource> {
  const random = context.random.fork("data");
  const seed = random.uint32();
  const shaped = (document: Document): Document => (learnPrompts ? { ids: document.ids } : document);
  if (config.kind === "file") {
    const documents = (await readRows(config, context, encoder)).map(shaped);
    return listSource(documents, { seed, long: config.long, T });
  }
  const task = context.task;
  if (!task)
    throw new ConfigError({
      operation: `open the data of ${context.name}`,
      got: "no task",
      expected: "a task, or a file",
      cure: "name a task in the recipe, or set data.kind to file",
    });
  const { examples, trace } = config;
  if (examples === null) {
    return {
      count: undefined,
      source: generatedSource((draws) => {
        const { prompt, completion } = task.drawTrace(draws, trace, false);
        return shaped(encodePair(prompt, completion, encoder));
      }, seed),
    };
  }
  const documents = distinctTraces(task, examples, trace, context).map(({ prompt, completion }) =>
    shaped(encodePair(prompt, completion, encoder)),
  );
  return listSource(documents, { seed, T });
}

/** Checks what can be checked before the run. */
export function checkDataConfig(operation: string, config: unknown, taskName: string | undefined): DataConfig {
  const values = resolveOptions(operation, dataFields, config);
  if (values.kind === "file" && values.path === null) {
    throw new ConfigError({ operation, got: "kind file without a path", expected: "a JSONL file", cure: "set path" });
  }
  if (values.kind === "task" && values.path !== null) {
    throw new ConfigError({
      operation,
      got: "a path beside kind task",
      expected: "kind file with a path",
      cure: "set kind to file, or leave path out",
    });
  }
  if (values.kind === "task" && taskName !== undefined) checkTraceOptions(`${operation}.trace`, taskName, values.trace);
  return values;
}

async function readRows(config: DataConfig, context: StageContext, encoder: RowEncoder): Promise<Document[]> {
  const { files } = context.host;
  const path = config.path as string;
  const file = await files.open(path);
  try {
    const rows = await readJsonlRows(file);
    await context.noteInput(path, await file.read(0, file.size));
    return rows.map((row) => encodeRow(row, encoder));
  } finally {
    await file.close();
  }
}

/** One verified trace for each of `count` different problems. */
function distinctTraces(task: TrainingTask, count: number, trace: object, context: StageContext): { prompt: string; completion: string }[] {
  const draws = context.random.fork("examples");
  const found = new Map<string, { prompt: string; completion: string }>();
  for (let index = 0, misses = 0; found.size < count; index++) {
    const { row, prompt, completion } = task.drawTrace(draws.fork(index), trace, true);
    const key = task.task.key(row);
    if (!found.has(key)) {
      found.set(key, { prompt, completion });
      misses = 0;
    } else if (++misses > 20_000) {
      throw new ConfigError({
        operation: `make the examples of ${context.name}`,
        got: `only ${found.size} different problems of ${quote(task.task.name)}`,
        expected: `${count}`,
        cure: "ask for fewer examples, or widen the task's ranges",
      });
    }
  }
  return [...found.values()];
}
