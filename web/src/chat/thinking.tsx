// The thinking above an answer: open while it goes on, folded when it is done, unless the reader decided otherwise.

import { useEffect, useState } from "preact/hooks";
import type { Version } from "../state/conversation.ts";
import { attempts } from "../text/solver.ts";
import { count, seconds, t } from "../words/words.ts";

type Props = { readonly version: Version; readonly isSolver: boolean };

export function Thinking({ version, isSolver }: Props) {
  const { reasoning, thoughtSeconds, usage, extend } = version;
  const isThinking = version.state === "running" && thoughtSeconds === undefined && version.content === "";
  const [wish, setWish] = useState<boolean | undefined>(undefined);
  const isOpen = wish ?? isThinking;
  return (
    <details
      class="thinking"
      open={isOpen}
      onToggle={(event) => {
        if (event.currentTarget.open !== isOpen) setWish(event.currentTarget.open);
      }}
    >
      <summary>
        <span class={isThinking ? "pulse" : ""}>
          {isThinking ? <Clock /> : headline(thoughtSeconds ?? 0, usage?.thinkingTokens)}
          {extend > 0 && <span class="tag">{t("waited", { count: extend })}</span>}
        </span>
      </summary>
      <div class="thoughts">{isSolver ? attempts(reasoning) : reasoning.trim()}</div>
      {isSolver && <p class="small">{t("solverLegend")}</p>}
    </details>
  );
}

function headline(time: number, tokens: number | undefined): string {
  return tokens ? t("thoughtTokens", { time: seconds(time), count: count(tokens) }) : t("thought", { time: seconds(time) });
}

function Clock() {
  const [start] = useState(() => performance.now());
  const [now, setNow] = useState(start);
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 200);
    return () => clearInterval(timer);
  }, []);
  return <>{t("thinking", { time: seconds((now - start) / 1000) })}</>;
}
