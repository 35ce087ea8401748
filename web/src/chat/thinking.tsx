// The thinking above an answer: open while it goes on, folded when it is done, unless the reader decided otherwise.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Version } from "../state/conversation.ts";
import { attempts } from "../text/solver.ts";
import { count, seconds, t } from "../words/words.ts";

type Props = { readonly version: Version; readonly isSolver: boolean };

export function Thinking({ version, isSolver }: Props) {
  const { reasoning, thoughtSeconds, usage, extend } = version;
  const isThinking = version.state === "running" && thoughtSeconds === undefined && version.content === "";
  const [wish, setWish] = useState<boolean | undefined>(undefined);
  const isOpen = wish ?? isThinking;
  const ref = useFollowing(reasoning, isThinking);
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
      <div class={isSolver ? "thoughts is-notes" : "thoughts"} ref={ref}>
        {isSolver ? attempts(reasoning) : reasoning.trim()}
      </div>
      {isSolver && <p class="small">{t("solverLegend")}</p>}
    </details>
  );
}

/** A long thought is shown from its end while it grows, unless the reader went back in it. */
function useFollowing(text: string, isGrowing: boolean) {
  const ref = useRef<HTMLDivElement>(null);
  const height = useRef(0);
  useLayoutEffect(() => {
    const place = ref.current;
    if (!place || !isGrowing) return;
    if (height.current - place.scrollTop - place.clientHeight < 60) place.scrollTop = place.scrollHeight;
    height.current = place.scrollHeight;
  }, [text, isGrowing]);
  return ref;
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
