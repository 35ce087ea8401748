// What the run cost, on one line, beside what others published.

import { formatCount, formatScientific, formatUsd } from "../../../src/core/human.ts";
import { formatPublished, publishedCosts } from "../../../src/cost/published.ts";
import type { CostTable } from "../client/client.ts";
import { seconds, t } from "../words/words.ts";

/** Those of the command line's own cost line. */
const compared: readonly string[] = ["DeepSeek-V3", "DeepSeek-R1", "s1"];

export function CostLine({ cost }: { readonly cost: CostTable | null }) {
  if (!cost) return <p class="small">{t("costLater")}</p>;
  return (
    <p class="cost">
      {t("costLine", {
        tokens: formatCount(cost.tokens),
        flop: formatScientific(cost.flop),
        time: seconds(cost.seconds),
        usd: formatUsd(cost.cost_usd),
        hourly: `$${cost.hourly_usd}`,
      })}
      <span class="small">
        {t("costOthers", {
          list: publishedCosts
            .filter(({ name }) => compared.includes(name))
            .map((one) => `${one.name} ${formatPublished(one)}`)
            .join(", "),
        })}
      </span>
    </p>
  );
}
