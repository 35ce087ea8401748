// The Hub for verbs: hf:org/name to a path, with a progress line on standard error while a model is fetched.
//   pull      ━━━━━━━━━━━━────────  1.2 of 4.9 GiB  35 MiB/s  1 min 45 s left

import { type HubName, parseHubName, showHubName } from "../formats/hub-names.ts";
import { findOrPull, type PullProgress, type PullReport } from "../platform/hub/pull.ts";
import { type HubSettings, hubSettings } from "../platform/hub/settings.ts";
import { nodeHost } from "../platform/node.ts";
import { formatBytes, note, progressLine } from "./output.ts";

/** Seconds over which the rate is taken. */
const window = 5;

export async function readHubSettings(): Promise<HubSettings> {
  return await hubSettings(nodeHost().env);
}

/** The folder or .gguf file; fetched first when it is not there. */
export async function findHubModel(reference: string): Promise<string> {
  const name = parseHubName(reference);
  const settings = await readHubSettings();
  return await withProgress(name, (report) => findOrPull(settings, name, report));
}

export async function withProgress<T>(name: HubName, work: (report: PullReport) => Promise<T>): Promise<T> {
  const { now } = nodeHost();
  const line = progressLine(now);
  const samples: { readonly time: number; readonly fetched: number }[] = [];
  let begun = false;
  const onProgress = ({ bytes, total, fetched }: PullProgress) => {
    if (fetched === 0) return; // nothing to wait for yet, or at all
    if (!begun) line.log(`pulling ${showHubName(name)}`);
    begun = true;
    const time = now();
    if (samples.length === 0 || time - (samples.at(-1)?.time ?? 0) > 0.2) samples.push({ time, fetched });
    while (samples.length > 2 && time - (samples[0]?.time ?? 0) > window) samples.shift();
    const { time: since = time, fetched: before = fetched } = samples[0] ?? {};
    const pace = time - since > 0.2 ? (fetched - before) / (time - since) : 0;
    line.update({
      stage: "pull",
      step: bytes,
      total,
      amount: `${formatBytes(bytes)} of ${formatBytes(total)}`,
      ...(pace > 0 && { rate: `${formatBytes(Math.round(pace))}/s`, secondsLeft: (total - bytes) / pace }),
    });
  };
  try {
    return await work({ onProgress, onWait: (file, holder) => note(`waiting for process ${holder}, which fetches ${file}`) });
  } finally {
    line.finish();
  }
}
