// The load of experts over time: a cell for each measurement and expert, from cool (idle) through the middle (even) to warm (twice the even load).
// In: one layer's table. Out: a canvas that tells the number under the pointer.

import { useEffect, useRef, useState } from "preact/hooks";
import { colour, isDark } from "../ui/theme.ts";
import { count, t } from "../words/words.ts";
import { type LoadTable, short } from "./series.ts";

export function HeatMap({ table }: { readonly table: LoadTable }) {
  const ref = useRef<HTMLCanvasElement>(null);
  const [told, setTold] = useState("");
  const experts = table.shares[0]?.length ?? 0;
  // colours follow light and dark
  useEffect(() => {
    if (ref.current) draw(ref.current, table, experts);
  }, [table, experts, isDark.value]);
  const tell = (event: PointerEvent) => {
    const box = ref.current?.getBoundingClientRect();
    if (!box) return;
    const column = Math.floor(((event.clientX - box.left) / box.width) * table.steps.length);
    const expert = Math.floor(((event.clientY - box.top) / box.height) * experts);
    const share = table.shares[column]?.[expert];
    setTold(share === undefined ? "" : t("expertCell", { step: count(table.steps[column] ?? 0), expert, share: short(share) }));
  };
  return (
    <figure class="card">
      <figcaption>{t("expertLoad")}</figcaption>
      <p class="small">{t("expertLoadText", { layer: table.layer })}</p>
      <canvas
        ref={ref}
        class="heat"
        width={Math.max(1, table.steps.length)}
        height={Math.max(1, experts)}
        role="img"
        aria-label={summary(table)}
        onPointerMove={tell}
        onPointerLeave={() => setTold("")}
      />
      <p class="small heat-scale" aria-hidden="true">
        <span>{t("loadIdle")}</span>
        <span>{t("loadTwice")}</span>
      </p>
      <p class="small heat-told">{told || `${t("step")} ${count(table.steps[0] ?? 0)} – ${count(table.steps.at(-1) ?? 0)}`}</p>
    </figure>
  );
}

/** One pixel a cell; the style sheet makes them large and keeps their edges. */
function draw(canvas: HTMLCanvasElement, { shares }: LoadTable, experts: number): void {
  const context = canvas.getContext("2d");
  if (!context || experts === 0) return;
  const image = context.createImageData(shares.length, experts);
  const [cool, even, warm] = ["heat-cool", "heat-even", "heat-warm"].map(parts);
  for (const [column, row] of shares.entries()) {
    for (let expert = 0; expert < experts; expert++) {
      const share = Math.min(2, row[expert] ?? 0);
      const [from, to, part] = share < 1 ? [cool, even, share] : [even, warm, share - 1];
      const at = 4 * (expert * shares.length + column);
      for (let i = 0; i < 3; i++) image.data[at + i] = Math.round((from?.[i] ?? 0) + part * ((to?.[i] ?? 0) - (from?.[i] ?? 0)));
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** Red, green and blue of one of the style sheet's colours, which are written as #rrggbb. */
function parts(name: string): number[] {
  const digits = colour(name);
  return [1, 3, 5].map((at) => Number.parseInt(digits.slice(at, at + 2), 16));
}

function summary({ layer, shares }: LoadTable): string {
  const last = shares.at(-1) ?? [];
  return `${t("expertLoadText", { layer })} ${last.map((share, i) => `${i}: ${short(share)}`).join(", ")}`;
}
