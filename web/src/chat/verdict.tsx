// Whether the solver's answer is right: checked here by the rules of its training, not believed.

import { judge, problemOf } from "../text/solver.ts";
import { Icon } from "../ui/icon.tsx";
import { t } from "../words/words.ts";

export function VerdictLine({ question, answer }: { readonly question: string; readonly answer: string }) {
  const problem = problemOf(question);
  if (!problem || answer.trim() === "") return null;
  const { isRight, value } = judge(problem, answer);
  const text = isRight
    ? t("right", { value: `${answer.trim()} = ${problem.target}` })
    : value === undefined || value === String(problem.target)
      ? t("wrong")
      : t("wrongValue", { value });
  return (
    <p class={isRight ? "verdict is-right" : "verdict is-wrong"}>
      <Icon name={isRight ? "check" : "close"} />
      {text}
    </p>
  );
}
