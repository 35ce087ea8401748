// The budgets that the Lab offers: those of a solver's short notes, or those of a model that thinks in words.

import { budgetText } from "../chat/budget-slider.tsx";
import type { ModelInfo } from "../client/client.ts";
import { t } from "../words/words.ts";
import type { Effort } from "./ballot.ts";

/** Without an end a solver that is made to wait thinks on beyond anything that it was trained on. */
const forSolvers: readonly Effort[] = [
  { id: "0", budget: 0 },
  { id: "24", budget: 24 },
  { id: "48", budget: 48 },
  { id: "96", budget: 96 },
  { id: "free" },
  { id: "wait", waits: 1, budget: 144 },
];
const forTalkers: readonly Effort[] = [
  { id: "0", budget: 0 },
  { id: "128", budget: 128 },
  { id: "512", budget: 512 },
  { id: "2048", budget: 2048 },
  { id: "free" },
  { id: "wait", waits: 1 },
];

export function effortsFor(model: ModelInfo | undefined): readonly Effort[] {
  const all = model?.solves ? forSolvers : forTalkers;
  return model?.thinks === false ? all.filter(({ id }) => id === "free") : all;
}

export function effortName({ budget, waits }: Effort): string {
  if (waits) return t("waits", { count: waits });
  return budget === 0 ? t("budgetZero") : budgetText(budget);
}
