// The exams of `gradually speedrun`: the model of each stage answers the same held-out problems, greedily and sampled, and the last one also under thinking
// budgets. In: the events of a run. Out: accuracies, the curve, sample answers, and what it cost in the run's ledger. Every exam that is over is
// kept in exams.json of the run folder, so that a run that goes on takes none twice. An exam that is broken off leaves nothing.

import { ConfigError, FormatError, quote } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { isJsonObject, type JsonValue, parseJson } from "../core/json.ts";
import { Random } from "../core/random.ts";
import { flopShape } from "../cost/flop.ts";
import { Engine } from "../engine/engine.ts";
import { type Answer, type Codec, type EvaluateOptions, evaluate, type Generate, type Outcome } from "../eval/accuracy.ts";
import { type BudgetPoint, budgetCurve } from "../eval/budget-curve.ts";
import type { StageAccuracy } from "../eval/report.ts";
import type { ProgressLine } from "../eval/terminal.ts";
import { assertDisjoint, distinctRows } from "../tasks/split.ts";
import type { StageEvent } from "../train/run.ts";

const caps = [0, 12, 24, 48, 72, 96, 144, 192];
const maxTokens = 248;
const slots = 256;
const format = 1;

export type ExaminerOptions = {
  /** The run folder. */
  readonly out: string;
  readonly host: Host;
  readonly line: ProgressLine;
  readonly seed: number;
  /** Held-out problems of each exam. */
  readonly problems: number;
  /** Breaks an exam off: it rejects with the signal's reason. */
  readonly signal: AbortSignal;
};

type ShownAnswer = Pick<Answer, "prompt" | "completion" | "right">;

/** An exam that is over. */
type Exam = {
  /** Steps that the examined model was trained for. */
  readonly step: number;
  readonly accuracy?: StageAccuracy;
  readonly curve?: readonly BudgetPoint[];
  readonly answers?: readonly ShownAnswer[];
  /** For the ledger: what each round of answers made the model read. */
  readonly costs: readonly { readonly tokens: number; readonly keys: number }[];
  readonly seconds: number;
};

type Kept = { readonly format: typeof format; readonly problems: number; readonly exams: Record<string, Exam> };

type Examined = Pick<StageEvent, "model" | "tokenizer" | "task" | "ledger"> & { readonly step: number };

type Paper = {
  readonly task: NonNullable<StageEvent["task"]>["task"];
  readonly rows: unknown[];
  readonly codec: Codec;
  readonly options: Pick<EvaluateOptions, "maxTokens" | "stop" | "bos" | "thinkEnd">;
};

type Take = (generate: Generate, paper: Paper) => Promise<Omit<Exam, "step" | "costs" | "seconds"> & { readonly outcomes: Outcome[] }>;

export class Examiner {
  readonly #options: ExaminerOptions;
  readonly #path: string;
  readonly #exams: Record<string, Exam>;

  private constructor(options: ExaminerOptions, path: string, exams: Record<string, Exam>) {
    this.#options = options;
    this.#path = path;
    this.#exams = exams;
  }

  /** With the exams that the folder of a run to `resume` keeps. Throws ConfigError when they were of other problems, FormatError when they are damaged. */
  static async open(options: ExaminerOptions, resume: boolean): Promise<Examiner> {
    const { files } = options.host;
    const path = files.join(options.out, "exams.json");
    if (!resume || !(await files.exists(path))) return new Examiner(options, path, {});
    const kept = readKept(await files.readText(path, 10_000_000), path);
    if (kept.problems !== options.problems) {
      throw new ConfigError({
        operation: `resume ${quote(options.out, 300)}`,
        got: `exams of ${options.problems} problems`,
        expected: `${kept.problems}, as many as the exams before had`,
        cure: `give --problems ${kept.problems}, or another folder`,
      });
    }
    return new Examiner(options, path, kept.exams);
  }

  /** By stage, in the order of the run. */
  get accuracy(): Record<string, StageAccuracy> {
    const entries = Object.entries(this.#exams).sort(([, a], [, b]) => a.step - b.step);
    return Object.fromEntries(entries.flatMap(([stage, { accuracy }]) => (accuracy ? [[stage, accuracy]] : [])));
  }

  /** Three greedy answers of the last stage: two right ones and a wrong one where there are such. */
  get samples(): readonly ShownAnswer[] {
    const stages = Object.values(this.#exams).filter(({ answers }) => answers !== undefined);
    return stages.sort((a, b) => a.step - b.step).at(-1)?.answers ?? [];
  }

  async examine(event: StageEvent): Promise<void> {
    const { seed, line, signal } = this.#options;
    const stage = event.name === "start" ? "random" : event.name;
    await this.#hold(event, stage, async (generate, { task, rows, codec, options }) => {
      const result = await evaluate(generate, task, rows, codec, {
        ...options,
        // Random weights never end an answer: the first tokens tell as much as all of them.
        maxTokens: event.name === "start" ? 32 : options.maxTokens,
        samples: 1,
        seed,
        onProgress: (done, total) => line.update({ stage: `eval ${stage}`, step: done, total }),
      });
      const [greedy, sampled] = [result.greedy, result.sampled as Outcome];
      const accuracy = { greedy: greedy.accuracy, sampled: sampled.accuracy };
      return { accuracy, answers: shown(greedy.answers), outcomes: [greedy, sampled] };
    });
    signal.throwIfAborted();
  }

  /** The curve, on half as many problems. */
  async budgets(examined: Examined): Promise<readonly BudgetPoint[]> {
    const { line } = this.#options;
    const exam = await this.#hold(examined, "budget", async (generate, { task, rows, codec, options }) => {
      const outcomes: Outcome[] = [];
      const curve = await budgetCurve(generate, task, rows.slice(0, Math.ceil(rows.length / 2)), codec, {
        ...options,
        caps,
        extensions: { times: [1, 2], ids: codec.encode("Wait") },
        onPoint: (_, outcome) => {
          outcomes.push(outcome);
          line.update({ stage: "eval budget", step: outcomes.length, total: caps.length + 3 });
        },
      });
      return { curve, outcomes };
    });
    return exam.curve ?? [];
  }

  /** Takes the exam, or what was kept of it; either way the ledger has its cost. */
  async #hold(examined: Examined, name: string, take: Take): Promise<Exam> {
    const { model, ledger, step } = examined;
    let exam = Object.hasOwn(this.#exams, name) ? this.#exams[name] : undefined;
    if (exam?.step !== step) exam = undefined; // of a model that is gone, with a checkpoint that was damaged
    exam ??= await this.#take(examined, name, take);
    const shape = flopShape(model);
    for (const { tokens, keys } of exam.costs) ledger.infer(`eval ${name}`, shape, tokens, keys);
    ledger.time(`eval ${name}`, exam.seconds);
    return exam;
  }

  async #take({ model, tokenizer, task, step }: Examined, name: string, take: Take): Promise<Exam> {
    const { seed, problems, signal, host } = this.#options;
    if (!task) throw new ConfigError({ operation: "speedrun", got: "a recipe without a task", expected: "one", cure: "set task" });
    const began = host.now();
    const rows = distinctRows(task.task, "test", problems, new Random(seed).fork("test problems"), task.testShare);
    assertDisjoint(task.task, task.seenKeys, rows);
    const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    const { bos, eos } = tokenizer.specialIds;
    const engine = new Engine(model, { slots, contextLength: 320, prefillTokens: 2048, absorbed: true, seed });
    try {
      const { outcomes, ...found } = await take((requests) => engine.generate(requests, { signal }), {
        task: task.task,
        rows,
        codec: { encode, decode: (ids) => tokenizer.decode(ids) },
        options: { maxTokens, stop: eos === undefined ? [] : [eos], ...(bos !== undefined && { bos }), thinkEnd: encode("</think>") },
      });
      const costs = outcomes.map((outcome) => ({ tokens: outcome.promptTokens + outcome.generatedTokens, keys: outcome.keys }));
      const exam = { step, ...found, costs, seconds: host.now() - began };
      this.#exams[name] = exam;
      const kept: Kept = { format, problems, exams: this.#exams };
      await host.files.writeAtomic(this.#path, `${JSON.stringify(kept, null, 2)}\n`);
      return exam;
    } finally {
      await engine.dispose();
    }
  }
}

function shown(answers: readonly Answer[]): ShownAnswer[] {
  const right = answers.filter((answer) => answer.right).slice(0, 2);
  const three = [...right, ...answers.filter((answer) => !answer.right)].slice(0, 3);
  return three.map(({ prompt, completion, right }) => ({ prompt, completion, right }));
}

function readKept(text: string, path: string): Kept {
  const kept = parseJson(text, { source: path });
  if (isJsonObject(kept) && kept.format === format && isJsonObject(kept.exams) && Object.values(kept.exams).every(isExam)) {
    return kept as unknown as Kept;
  }
  throw new FormatError({
    operation: `read ${quote(path, 300)}`,
    got: "something else",
    expected: `exams of format ${format}, as this version writes them`,
    cure: "remove the file: the report will lack the exams of the stages that are over",
  });
}

function isExam(exam: JsonValue | undefined): boolean {
  if (!isJsonObject(exam)) return false;
  const { step, seconds, costs, accuracy, curve = [], answers = [] } = exam;
  return (
    isCount(step) &&
    isNumber(seconds) &&
    isListOf(costs, (cost) => isJsonObject(cost) && isCount(cost.tokens) && isNumber(cost.keys)) &&
    (accuracy === undefined || (isJsonObject(accuracy) && isInterval(accuracy.greedy) && isInterval(accuracy.sampled))) &&
    isListOf(
      curve,
      (point) => isJsonObject(point) && isNumber(point.budget) && isNumber(point.thinking_tokens) && isInterval(point.accuracy),
    ) &&
    isListOf(answers, (one) => isJsonObject(one) && typeof one.prompt === "string" && typeof one.completion === "string")
  );
}

function isListOf(list: JsonValue | undefined, isItem: (item: JsonValue) => boolean): boolean {
  return Array.isArray(list) && list.every(isItem);
}

function isInterval(value: JsonValue | undefined): boolean {
  return isListOf(value, isNumber) && (value as readonly JsonValue[]).length === 3;
}

function isNumber(value: JsonValue | undefined): boolean {
  return typeof value === "number" && value >= 0;
}

function isCount(value: JsonValue | undefined): boolean {
  return Number.isSafeInteger(value) && isNumber(value);
}
