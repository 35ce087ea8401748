// The charts of a run, or of several on each other.

import { useMemo } from "preact/hooks";
import { smoothing } from "../state/settings.ts";
import { Empty } from "../ui/empty.tsx";
import { t } from "../words/words.ts";
import { HeatMap } from "./heat-map.tsx";
import type { RunRows } from "./log.ts";
import { Plot } from "./plot.tsx";
import { chartsOf, loadTables, stagesOf } from "./series.ts";

export function Curves({ runs }: { readonly runs: readonly RunRows[] }) {
  const charts = useMemo(() => chartsOf(runs), [runs]);
  const first = runs[0];
  const [stages, tables] = useMemo(() => [stagesOf(first?.metrics ?? []), loadTables(first?.metrics ?? [])], [first]);
  if (charts.length === 0) return <Empty title={t("curves")} text={t("noCurves")} />;
  return (
    <>
      <label class="smoothing">
        <span class="label">{t("smoothing")}</span>
        <input
          type="range"
          min={0}
          max={0.99}
          step={0.01}
          value={smoothing.value}
          onInput={(event) => {
            smoothing.value = Number(event.currentTarget.value);
          }}
        />
        <output>{smoothing.value}</output>
      </label>
      <div class="cards">
        {charts.map((chart) => (
          <Plot
            key={chart.kind.name}
            chart={chart}
            smoothing={chart.kind.isSet ? 0 : smoothing.value}
            stages={runs.length === 1 ? stages : []}
          />
        ))}
        {runs.length === 1 && tables.map((table) => <HeatMap key={table.layer} table={table} />)}
      </div>
    </>
  );
}
