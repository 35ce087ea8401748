// The answers of an experiment: a row for each budget with its vote, a cell for each sample; a touch on a cell shows its thinking.

import { useState } from "preact/hooks";
import { Prose } from "../text/prose.tsx";
import { attempts } from "../text/solver.ts";
import { Dialog } from "../ui/dialog.tsx";
import { Icon } from "../ui/icon.tsx";
import { Notice } from "../ui/notice.tsx";
import { count, t } from "../words/words.ts";
import { ballot, type Cell, type Line, resultOf } from "./ballot.ts";
import { effortName } from "./efforts.ts";
import { asked, experiment, lines } from "./experiment.ts";

export function Results() {
  const [shown, setShown] = useState<Cell | undefined>(undefined);
  return (
    <section class="results" aria-live="polite" aria-busy={experiment.value !== undefined}>
      <h2 class="asked">{asked.value}</h2>
      {lines.value.map((line) => (
        <LineView key={line.effort.id} line={line} onShow={setShown} />
      ))}
      {shown && <CellDialog cell={shown} onClose={() => setShown(undefined)} />}
    </section>
  );
}

function LineView({ line, onShow }: { readonly line: Line; readonly onShow: (cell: Cell) => void }) {
  const { value, votes, done, right, tokens } = resultOf(line);
  const judged = line.cells.some(({ verdict }) => verdict);
  return (
    <article class="card line">
      <header>
        <h3>{effortName(line.effort)}</h3>
        {done > 0 && (
          <p class="line-vote">
            <span class="small">{t("vote")}</span> <b>{value ?? t("noVote")}</b>
            {value !== undefined && <span class="small"> {t("votes", { count: votes, all: done })}</span>}
          </p>
        )}
        <p class="small">
          {done > 0 && t("meanTokens", { count: count(tokens) })}
          {judged && done > 0 && ` · ${t("solved", { count: right, all: done })}`}
        </p>
      </header>
      <ol class="cells">
        {line.cells.map((cell, i) => (
          // a cell is its column
          <li key={i}>
            <CellView cell={cell} index={i} isWinner={value !== undefined && ballot(cell) === value} onShow={onShow} />
          </li>
        ))}
      </ol>
    </article>
  );
}

type CellProps = { readonly cell: Cell; readonly index: number; readonly isWinner: boolean; readonly onShow: (cell: Cell) => void };

function CellView({ cell, index, isWinner, onShow }: CellProps) {
  const { state, content, verdict, usage } = cell;
  const kind = verdict ? (verdict.isRight ? "is-right" : "is-wrong") : "";
  return (
    <button
      type="button"
      class={`cell ${kind} ${isWinner ? "is-winner" : ""}`}
      disabled={state === "waiting" || state === "running"}
      onClick={() => onShow(cell)}
    >
      <span class="unseen">{t("sample", { index: index + 1 })}: </span>
      {state === "waiting" && <span class="small">{t("waiting")}</span>}
      {state === "running" && <span class="small pulse">…</span>}
      {state === "failed" && (
        <>
          <Icon name="close" />
          <span class="unseen">{t("broken")}</span>
        </>
      )}
      {state === "done" && <span class="cell-text">{content === "" ? t("noVote") : content.slice(0, 300)}</span>}
      {state === "done" && (
        <span class="small">
          {verdict && <Icon name={verdict.isRight ? "check" : "close"} />}
          {verdict && <span class="unseen">{t(verdict.isRight ? "cellRight" : "cellWrong")}, </span>}
          {usage && t("tokens", { count: count(usage.thinkingTokens) })}
        </span>
      )}
    </button>
  );
}

function CellDialog({ cell, onClose }: { readonly cell: Cell; readonly onClose: () => void }) {
  return (
    <Dialog title={t("answer")} onClose={onClose}>
      {cell.trouble && <Notice trouble={cell.trouble} />}
      {cell.reasoning !== "" && (
        <div class={cell.verdict ? "thoughts is-notes" : "thoughts"}>{cell.verdict ? attempts(cell.reasoning) : cell.reasoning.trim()}</div>
      )}
      {cell.verdict ? <p class="expression">{cell.content}</p> : <Prose text={cell.content} />}
    </Dialog>
  );
}
