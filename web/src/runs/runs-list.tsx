// The runs in the side bar.

import type { RunLine } from "../client/client.ts";
import { href, route } from "../state/route.ts";
import { count, t } from "../words/words.ts";
import { leftOut, runs } from "./runs-state.ts";

export function RunsList() {
  return (
    <section aria-label={t("runs")}>
      <ul class="rows">
        {(runs.value ?? []).map((run) => (
          <li key={run.id} class={route.value.item === run.id ? "row is-shown" : "row"}>
            <a href={href("runs", run.id)} title={run.id} {...(route.value.item === run.id && { "aria-current": "true" })}>
              <span class="row-title">{run.id}</span>
              <span class="small">{stateOf(run)}</span>
            </a>
          </li>
        ))}
      </ul>
      {leftOut.value > 0 && <p class="small">{t("leftOut", { count: leftOut.value })}</p>}
    </section>
  );
}

export function stateOf(run: RunLine): string {
  if (run.damaged) return t("damaged");
  if (run.finished) return t("finished");
  return `${run.stages[Math.min(run.stage, run.stages.length - 1)] ?? ""} · ${t("notFinished", { step: count(run.step) })}`;
}
