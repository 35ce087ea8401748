// The Lab: the same question at several budgets and several samples, side by side, with the vote of each row.

import { useState } from "preact/hooks";
import { isSending } from "../chat/keys.ts";
import { SamplingDialog } from "../chat/sampling-dialog.tsx";
import { client, model, start, trouble } from "../state/app.ts";
import { generation } from "../state/settings.ts";
import { examples } from "../text/solver.ts";
import { Icon } from "../ui/icon.tsx";
import { IconButton } from "../ui/icon-button.tsx";
import { Notice } from "../ui/notice.tsx";
import { t } from "../words/words.ts";
import { effortName, effortsFor } from "./efforts.ts";
import { experiment, lines, run } from "./experiment.ts";
import { Results } from "./results.tsx";

/** Greedy samples would all be the same. */
const labTemperature = 0.8;

export function LabView() {
  const [question, setQuestion] = useState("");
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set());
  const [samples, setSamples] = useState(4);
  const [isTuning, setTuning] = useState(false);
  const info = model.value;
  const efforts = effortsFor(info);
  const chosen = efforts.filter(({ id }) => !left.has(id));
  const isRunning = experiment.value !== undefined;
  const canStart = question.trim() !== "" && chosen.length > 0 && info !== undefined;
  const begin = (text: string) => {
    if (!client.value || !info) return;
    const plan = { question: text.trim(), efforts: chosen, samples, generation: { temperature: labTemperature, ...generation.value } };
    void run(client.value, info, plan);
  };
  return (
    <div class="page lab">
      <h1>{t("labTitle")}</h1>
      <p class="lead">{t("labText")}</p>
      {trouble.value && <Notice trouble={trouble.value} onRetry={() => void start()} />}
      <form
        class="lab-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (canStart) begin(question);
        }}
      >
        <label class="lab-question">
          <span class="label">{t("question")}</span>
          <textarea
            rows={1}
            value={question}
            placeholder={info?.solves ? t("askSolver") : t("ask")}
            onInput={(event) => setQuestion(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (!isSending(event)) return;
              event.preventDefault();
              if (canStart && !isRunning) begin(question);
            }}
          />
        </label>
        {info?.solves && question === "" && (
          <ul class="examples is-small">
            {examples.map((example) => (
              <li key={example}>
                <button type="button" class="example" onClick={() => setQuestion(example)}>
                  {example}
                </button>
              </li>
            ))}
          </ul>
        )}
        <fieldset class="choices">
          <legend class="label">{t("budgets")}</legend>
          {efforts.map((effort) => (
            <label key={effort.id}>
              <input
                type="checkbox"
                checked={!left.has(effort.id)}
                onChange={(event) => {
                  const next = new Set(left);
                  if (event.currentTarget.checked) next.delete(effort.id);
                  else next.add(effort.id);
                  setLeft(next);
                }}
              />
              <span>{effortName(effort)}</span>
            </label>
          ))}
        </fieldset>
        <div class="lab-start">
          <label class="lab-samples">
            <span class="label">{t("sampleCount")}</span>
            <input type="range" min={1} max={8} value={samples} onInput={(event) => setSamples(Number(event.currentTarget.value))} />
            <output>{samples}</output>
          </label>
          <IconButton icon="tune" isWide label={t("settings")} onClick={() => setTuning(true)} />
          {isRunning ? (
            <button type="button" class="button primary" onClick={() => stopAll()}>
              <Icon name="stop" />
              {t("stop")}
            </button>
          ) : (
            <button type="submit" class="button primary" disabled={!canStart}>
              {t("start")}
            </button>
          )}
        </div>
      </form>
      {lines.value.length > 0 ? <Results /> : <p class="small">{t("labEmpty")}</p>}
      {isTuning && <SamplingDialog onClose={() => setTuning(false)} />}
    </div>
  );
}

/** Cells that were not reached stay empty; those under way are left as they are. */
function stopAll(): void {
  experiment.value?.abort();
  experiment.value = undefined;
  lines.value = lines.value.map((line) => ({
    ...line,
    cells: line.cells.map((cell) => (cell.state === "running" ? { ...cell, state: "waiting" as const } : cell)),
  }));
}
