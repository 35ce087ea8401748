// An experiment: one question, some budgets, some samples of each. In: the plan. Out: cells that fill as answers come, through a signal. Several
// requests run at once, as many as a browser keeps connections to one server; samples of one column share their seed across the rows, so rows
// differ by the budget alone.

import { signal } from "@preact/signals";
import type { Client, ModelInfo } from "../client/client.ts";
import { troubleOf } from "../state/app.ts";
import type { Generation } from "../state/settings.ts";
import { judge, problemOf } from "../text/solver.ts";
import type { Cell, Effort, Line } from "./ballot.ts";

export type Plan = {
  readonly question: string;
  readonly efforts: readonly Effort[];
  readonly samples: number;
  readonly generation: Generation;
};

export const lines = signal<readonly Line[]>([]);
export const asked = signal<string>("");
export const experiment = signal<AbortController | undefined>(undefined);

const atOnce = 5;
const fresh: Cell = { state: "waiting", reasoning: "", content: "" };

export async function run(client: Client, model: ModelInfo, plan: Plan): Promise<void> {
  const stop = new AbortController();
  experiment.value?.abort();
  experiment.value = stop;
  asked.value = plan.question;
  lines.value = plan.efforts.map((effort) => ({ effort, cells: Array.from({ length: plan.samples }, () => fresh) }));
  const seed = plan.generation.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  const work = plan.efforts.flatMap((_, row) => Array.from({ length: plan.samples }, (_, column) => ({ row, column })));
  const worker = async () => {
    for (let place = work.shift(); place && !stop.signal.aborted; place = work.shift())
      await fill(client, model, plan, place.row, place.column, seed, stop.signal);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (experiment.value === stop) experiment.value = undefined;
}

async function fill(
  client: Client,
  model: ModelInfo,
  plan: Plan,
  row: number,
  column: number,
  seed: number,
  signal: AbortSignal,
): Promise<void> {
  const { system, maxTokens, seed: _seed, ...sampling } = plan.generation;
  const effort = plan.efforts[row];
  let cell: Cell = { ...fresh, state: "running" };
  const set = (more: Partial<Cell>) => {
    cell = { ...cell, ...more };
    // A newer experiment has lines of its own.
    if (!signal.aborted) place(row, column, cell);
  };
  set({});
  try {
    const turns = [...(system ? [{ role: "system", content: system } as const] : []), { role: "user", content: plan.question } as const];
    const wish = {
      model: model.name,
      turns,
      sampling,
      seed: seed + column,
      ...(maxTokens !== undefined && { maxTokens }),
      ...(effort?.budget !== undefined && { budget: effort.budget }),
      ...(effort?.waits && { extend: effort.waits }),
      signal,
    };
    let [reasoning, content] = ["", ""];
    for await (const piece of client.ask(wish)) {
      if (piece.kind === "end") {
        const problem = model.solves ? problemOf(plan.question) : undefined;
        set({
          state: "done",
          reasoning,
          content: content.trim(),
          ...(piece.usage && { usage: piece.usage }),
          ...(problem && { verdict: judge(problem, content) }),
        });
      } else if (piece.kind === "reasoning") reasoning += piece.text;
      else content += piece.text;
    }
  } catch (error) {
    if (!signal.aborted) set({ state: "failed", trouble: troubleOf(error) });
  }
}

function place(row: number, column: number, cell: Cell): void {
  lines.value = lines.value.map((line, r) =>
    r === row ? { ...line, cells: line.cells.map((one, c) => (c === column ? cell : one)) } : line,
  );
}
