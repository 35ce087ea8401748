// Follows the logs of some runs. In: ids. Out: their rows, read again every second while a page is looked at and a run grows, more seldom when
// nothing is new. Each run's logs are kept while the page lives, so going back to a run shows it at once.

import { useEffect, useState } from "preact/hooks";
import type { LogName, RunsClient } from "../client/client.ts";
import { client, type Trouble, troubleOf } from "../state/app.ts";
import { Log, type RunRows } from "./log.ts";

const names: readonly LogName[] = ["metrics", "timing", "samples"];
const logs = new Map<string, Readonly<Record<LogName, Log>>>();

function logsOf(runs: RunsClient, id: string): Readonly<Record<LogName, Log>> {
  let found = logs.get(id);
  if (!found) {
    found = { metrics: new Log(runs, id, "metrics"), timing: new Log(runs, id, "timing"), samples: new Log(runs, id, "samples") };
    logs.set(id, found);
  }
  return found;
}

const quick = 1000;
const slow = 5000;

export function useRows(ids: readonly string[]): { readonly runs: readonly RunRows[]; readonly trouble: Trouble | undefined } {
  const [runs, setRuns] = useState<readonly RunRows[]>([]);
  const [trouble, setTrouble] = useState<Trouble | undefined>(undefined);
  const at = client.value?.runs;
  const key = ids.join("\n");
  // key says what ids are
  useEffect(() => {
    if (!at) return;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const grewAt = new Map<string, number>();
    let isFirst = true;
    const look = async () => {
      let isNew = isFirst;
      try {
        if (!document.hidden || isFirst) {
          for (const id of ids) {
            const before = logsOf(at, id).metrics.rows.length;
            for (const name of names) isNew = (await logsOf(at, id)[name].read(stop.signal)) || isNew;
            if (!isFirst && logsOf(at, id).metrics.rows.length !== before) grewAt.set(id, performance.now());
          }
        }
        setTrouble(undefined);
      } catch (error) {
        if (stop.signal.aborted) return;
        setTrouble(troubleOf(error));
      }
      const now = performance.now();
      if (isNew || grewAt.size > 0) {
        setRuns(ids.map((id) => snapshot(at, id, now - (grewAt.get(id) ?? Number.NEGATIVE_INFINITY) < 3 * slow)));
        for (const [id, time] of grewAt) if (now - time > 3 * slow) grewAt.delete(id);
      }
      isFirst = false;
      timer = setTimeout(() => void look(), isNew ? quick : slow);
    };
    void look();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [at, key]);
  return { runs: runs.filter(({ id }) => ids.includes(id)), trouble };
}

function snapshot(at: RunsClient, id: string, isLive: boolean): RunRows {
  const { metrics, timing, samples } = logsOf(at, id);
  const damaged = metrics.damagedLines + timing.damagedLines + samples.damagedLines;
  return { id, isLive, damaged, metrics: metrics.rows, timing: timing.rows, samples: samples.rows };
}
