// A conversation that has not begun: what this model can do, and questions that work at one touch.

import { model } from "../state/app.ts";
import { send } from "../state/chats.ts";
import { examples } from "../text/solver.ts";
import { Empty } from "../ui/empty.tsx";
import { t } from "../words/words.ts";

export function Opening() {
  if (!model.value) return <Empty title={t("noModel")} text={t("tabText")} />;
  if (!model.value.solves) return <Empty title={t("emptyTitle")} text={t("emptyText")} />;
  return (
    <Empty title={t("solverTitle")} text={t("solverText")}>
      <ul class="examples">
        {examples.map((example) => (
          <li key={example}>
            <button type="button" class="example" onClick={() => send(example)}>
              {example}
            </button>
          </li>
        ))}
      </ul>
    </Empty>
  );
}
