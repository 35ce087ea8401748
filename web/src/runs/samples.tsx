// What the model wrote during reinforcement and the reward it got, the newest first.

import { useMemo, useState } from "preact/hooks";
import { Empty } from "../ui/empty.tsx";
import { count, t, type WordName } from "../words/words.ts";
import type { Row } from "./log.ts";
import { short } from "./series.ts";

const filters = { all: "allRewards", right: "onlyRight", wrong: "onlyWrong" } as const satisfies Record<string, WordName>;
type Filter = keyof typeof filters;
const page = 30;

export function Samples({ rows }: { readonly rows: readonly Row[] }) {
  const [filter, setFilter] = useState<Filter>("all");
  const [shown, setShown] = useState(page);
  const chosen = useMemo(
    () => rows.filter(({ reward }) => filter === "all" || (filter === "right") === (typeof reward === "number" && reward >= 1)).reverse(),
    [rows, filter],
  );
  if (rows.length === 0) return <Empty title={t("samples")} text={t("noSamples")} />;
  return (
    <div class="samples">
      <fieldset class="choices">
        <legend class="unseen">{t("sampleReward", { reward: "" })}</legend>
        {(Object.keys(filters) as Filter[]).map((name) => (
          <label key={name}>
            <input
              type="radio"
              name="filter"
              checked={filter === name}
              onChange={() => {
                setFilter(name);
                setShown(page);
              }}
            />
            <span>{t(filters[name])}</span>
          </label>
        ))}
      </fieldset>
      <ol class="sample-list">
        {chosen.slice(0, shown).map((row, i) => (
          // rows have no name of their own
          <Sample key={`${row.step} ${i}`} row={row} />
        ))}
      </ol>
      {chosen.length > shown && (
        <button type="button" class="button" onClick={() => setShown(shown + page)}>
          {t("older")}
        </button>
      )}
    </div>
  );
}

function Sample({ row }: { readonly row: Row }) {
  const reward = typeof row.reward === "number" ? row.reward : 0;
  return (
    <li class="sample card">
      <p class="sample-head">
        <span class={reward >= 1 ? "tag is-right" : "tag"}>{t("sampleReward", { reward: short(reward) })}</span>
        <span class="small">
          {row.stage} · {t("sampleStep", { step: count(row.step) })}
        </span>
      </p>
      <p class="trace">
        <b>{String(row.prompt ?? "")}</b>
        {String(row.completion ?? "")}
      </p>
    </li>
  );
}
