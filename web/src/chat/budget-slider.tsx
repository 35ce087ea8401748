// The slider of thinking: from none to no limit.

import { useId } from "preact/hooks";
import { model } from "../state/app.ts";
import { budgetAt, budgetSteps } from "../state/budget.ts";
import { budgetStep } from "../state/settings.ts";
import { count, t } from "../words/words.ts";

export function BudgetSlider() {
  const id = useId();
  const length = model.value?.contextLength;
  if (model.value?.thinks === false) return null;
  const last = budgetSteps(length).length - 1;
  const step = Math.min(budgetStep.value, last);
  const text = budgetText(budgetAt(step, length));
  return (
    <div class="budget">
      <label for={id}>{t("budget")}</label>
      <input
        id={id}
        type="range"
        min={0}
        max={last}
        step={1}
        value={step}
        aria-valuetext={text}
        onInput={(event) => {
          const chosen = Number(event.currentTarget.value);
          // The end of the slider means "no limit" for every model, however many steps it has.
          budgetStep.value = chosen === last ? 99 : chosen;
        }}
      />
      <output for={id}>{text}</output>
    </div>
  );
}

export function budgetText(tokens: number | undefined): string {
  if (tokens === undefined) return t("budgetFree");
  return tokens === 0 ? t("budgetNone") : t("budgetTokens", { count: count(tokens) });
}
