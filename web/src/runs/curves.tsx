// The charts of a run, or of several on each other.

import { useMemo } from "preact/hooks";
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
    <div class="cards">
      {charts.map((chart) => (
        <Plot key={chart.kind.name} chart={chart} stages={runs.length === 1 ? stages : []} />
      ))}
      {runs.length === 1 && tables.map((table) => <HeatMap key={table.layer} table={table} />)}
    </div>
  );
}
