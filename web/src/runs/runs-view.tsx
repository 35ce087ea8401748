// The Runs view: one run, or what to do when there is none.

import { useEffect } from "preact/hooks";
import { formatCount, formatUsd } from "../../../src/core/human.ts";
import { client } from "../state/app.ts";
import { href, route } from "../state/route.ts";
import { CopyButton } from "../ui/copy-button.tsx";
import { Empty } from "../ui/empty.tsx";
import { Notice } from "../ui/notice.tsx";
import { seconds, t } from "../words/words.ts";
import { RunView } from "./run-view.tsx";
import { stateOf } from "./runs-list.tsx";
import { folder, refreshRuns, runs, runsTrouble, watchRuns } from "./runs-state.ts";

const command = "npx gradually train tiny";

export function RunsView() {
  const at = client.value;
  // begins when the client is there
  useEffect(() => watchRuns(), [at]);
  const { item } = route.value;
  const list = runs.value;
  return (
    <div class="page">
      {runsTrouble.value && <Notice trouble={runsTrouble.value} onRetry={() => void refreshRuns()} />}
      {at && !at.runs && <Empty title={t("noRuns")} text={t("noRunsTab")} />}
      {list?.length === 0 && (
        <Empty title={t("noRuns")} text={t("noRunsText", { folder: folder.value })}>
          <p class="command">
            <code>{command}</code>
            <CopyButton text={command} />
          </p>
        </Empty>
      )}
      {list && list.length > 0 && (item === undefined ? <Overview /> : <RunView key={item} id={item} />)}
    </div>
  );
}

function Overview() {
  return (
    <section>
      <h1>{t("pickRun")}</h1>
      <ul class="run-cards">
        {(runs.value ?? []).map((run) => (
          <li key={run.id}>
            <a class="card run-card" href={href("runs", run.id)}>
              <b>{run.id}</b>
              <span class="small">{run.stages.join(" → ")}</span>
              <span class={run.finished ? "tag is-right" : "tag"}>{stateOf(run)}</span>
              {run.tokens !== null && run.seconds !== null && run.cost_usd !== null && (
                <span class="small">
                  {t("costShort", { tokens: formatCount(run.tokens), time: seconds(run.seconds), usd: formatUsd(run.cost_usd) })}
                </span>
              )}
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
