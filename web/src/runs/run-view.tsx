// One run: how far it is, what it cost, its curves (with those of other runs), samples, report and recipe.

import { useEffect, useState } from "preact/hooks";
import type { Run } from "../client/client.ts";
import { client, type Trouble, troubleOf } from "../state/app.ts";
import { href } from "../state/route.ts";
import { Empty } from "../ui/empty.tsx";
import { Notice } from "../ui/notice.tsx";
import { t, type WordName } from "../words/words.ts";
import { CostLine } from "./cost-line.tsx";
import { Curves } from "./curves.tsx";
import { lineColours } from "./plot.tsx";
import { Report } from "./report.tsx";
import { stateOf } from "./runs-list.tsx";
import { runs } from "./runs-state.ts";
import { Samples } from "./samples.tsx";
import { useRows } from "./watch.ts";

const tabs = ["curves", "samples", "report", "recipe"] as const satisfies readonly WordName[];
type Tab = (typeof tabs)[number];

export function RunView({ id }: { readonly id: string }) {
  const [tab, setTab] = useState<Tab>("curves");
  const [others, setOthers] = useState<readonly string[]>([]);
  const { run, trouble, reload } = useRun(id);
  const followed = useRows([id, ...others]);
  if (trouble && runs.value?.every((one) => one.id !== id))
    return (
      <Empty title={t("noSuchRun", { name: id })} text={t("noSuchRunText")}>
        <a href={href("runs")}>{t("allRuns")}</a>
      </Empty>
    );
  if (trouble && !run) return <Notice trouble={trouble} onRetry={reload} />;
  if (!run) return null;
  const rows = followed.runs;
  const mine = rows.find((one) => one.id === id);
  const last = mine?.metrics.at(-1);
  return (
    <section class="run">
      <header class="run-head">
        <h1>{id}</h1>
        <p class="run-state">
          {mine?.isLive && (
            <span class="tag is-live">
              <span class="dot" aria-hidden="true" />
              {t("live")}
            </span>
          )}
          <span class={run.finished ? "tag is-right" : "tag"}>
            {stateOf(last ? { ...run, step: last.step, stage: Math.max(0, run.stages.indexOf(last.stage)) } : run)}
          </span>
          <span class="small">{run.stages.join(" → ")}</span>
        </p>
        <CostLine cost={run.cost} />
      </header>
      {followed.trouble && <Notice trouble={followed.trouble} />}
      {mine !== undefined && mine.damaged > 0 && <p class="small">{t("damagedLines", { count: mine.damaged })}</p>}
      <div class="tabs" role="tablist" onKeyDown={(event) => goAlong(event, tab, setTab)}>
        {tabs.map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`tab-${name}`}
            aria-selected={tab === name}
            aria-controls="run-panel"
            tabIndex={tab === name ? 0 : -1}
            onClick={() => setTab(name)}
          >
            {t(name)}
          </button>
        ))}
      </div>
      <div id="run-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "curves" && (
          <>
            <Comparison id={id} chosen={others} onChange={setOthers} />
            {rows.length > 0 && <Curves runs={rows} />}
          </>
        )}
        {tab === "samples" && <Samples rows={mine?.samples ?? []} />}
        {tab === "report" && (run.has_report ? <Report id={id} /> : <Empty title={t("report")} text={t("noReport")} />)}
        {tab === "recipe" && <pre class="recipe">{JSON.stringify(run.recipe, null, 2)}</pre>}
      </div>
    </section>
  );
}

/** Arrows go from tab to tab, as in every row of tabs. */
function goAlong(event: KeyboardEvent, tab: Tab, choose: (tab: Tab) => void): void {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const next = way === undefined ? undefined : tabs[(tabs.indexOf(tab) + way + tabs.length) % tabs.length];
  if (!next) return;
  event.preventDefault();
  choose(next);
  document.getElementById(`tab-${next}`)?.focus();
}

/** Asked for again when the list says that the run went on. */
function useRun(id: string): { run: Run | undefined; trouble: Trouble | undefined; reload: () => void } {
  const [run, setRun] = useState<Run | undefined>(undefined);
  const [trouble, setTrouble] = useState<Trouble | undefined>(undefined);
  const [tries, setTries] = useState(0);
  const line = runs.value?.find((one) => one.id === id);
  const mark = `${line?.step} ${line?.finished} ${line?.seconds} ${line?.has_report} ${tries}`;
  // mark says when something changed
  useEffect(() => {
    let isGone = false;
    client.value?.runs?.one(id).then(
      (found) => {
        if (isGone) return;
        setRun(found);
        setTrouble(undefined);
      },
      (error: unknown) => {
        if (!isGone) setTrouble(troubleOf(error));
      },
    );
    return () => {
      isGone = true;
    };
  }, [id, mark]);
  return { run, trouble, reload: () => setTries(tries + 1) };
}

type ComparisonProps = { readonly id: string; readonly chosen: readonly string[]; readonly onChange: (ids: readonly string[]) => void };

/** As many runs as there are colours. */
function Comparison({ id, chosen, onChange }: ComparisonProps) {
  const others = (runs.value ?? []).filter((run) => run.id !== id);
  if (others.length === 0) return null;
  const isFull = chosen.length + 1 >= lineColours.length;
  return (
    <fieldset class="choices">
      <legend>{t("compare")}</legend>
      {others.map((run) => (
        <label key={run.id}>
          <input
            type="checkbox"
            checked={chosen.includes(run.id)}
            disabled={isFull && !chosen.includes(run.id)}
            onChange={(event) => onChange(event.currentTarget.checked ? [...chosen, run.id] : chosen.filter((one) => one !== run.id))}
          />
          <span title={run.id}>{run.id}</span>
        </label>
      ))}
    </fieldset>
  );
}
