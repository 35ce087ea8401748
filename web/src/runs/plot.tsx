// One chart, by uPlot. In: a table of lines, how much to smooth. Out: a canvas, and the same in one sentence for those who do not see it. A smoothed line has
// what was measured behind it, pale. Colours are those of the style sheet, taken again when light and dark change; the size follows the card. The
// pointer's step is shown in all charts at once; without a pointer the legend tells the last values.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { language } from "../state/settings.ts";
import { colour, isDark } from "../ui/theme.ts";
import { t } from "../words/words.ts";
import { type Chart, short, smoothed } from "./series.ts";

type Props = {
  readonly chart: Chart;
  /** Weight of the past, 0 to below 1. */
  readonly smoothing: number;
  readonly stages: readonly { readonly step: number; readonly name: string }[];
};

export const lineColours = ["line-1", "line-2", "line-3", "line-4", "line-5", "line-6"] as const;
const height = 200;

export function Plot({ chart, smoothing, stages }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const now = useRef({ stages });
  now.current = { stages };
  const isSmooth = smoothing > 0;
  const shape = [isSmooth, ...chart.lines.map(({ name, run }) => `${name} ${run}`)].join("\n");

  // a new drawing for other lines and colours only
  useEffect(() => {
    const target = place.current;
    if (!target) return;
    const drawing = new uPlot(
      options(chart, isSmooth, target.clientWidth, () => now.current.stages),
      dataOf(chart, smoothing),
      target,
    );
    plot.current = drawing;
    const watcher = new ResizeObserver(() => drawing.setSize({ width: target.clientWidth, height }));
    watcher.observe(target);
    return () => {
      watcher.disconnect();
      drawing.destroy();
      plot.current = undefined;
    };
  }, [shape, isDark.value, language.value]);
  useEffect(() => {
    plot.current?.setData(dataOf(chart, smoothing));
  }, [chart, smoothing]);
  return (
    <figure class="card">
      <figcaption>{t(chart.kind.name)}</figcaption>
      <div ref={place} class="plot" role="img" aria-label={summary(chart)} />
    </figure>
  );
}

function dataOf({ x, lines }: Chart, smoothing: number): uPlot.AlignedData {
  const measured = lines.map(({ values }) => [...values]);
  return [[...x], ...measured, ...(smoothing > 0 ? measured.map((values) => smoothed(values, smoothing)) : [])];
}

function options(chart: Chart, isSmooth: boolean, width: number, stages: () => Props["stages"]): uPlot.Options {
  const [ink, grid] = [colour("ink-2"), colour("edge")];
  const axis: uPlot.Axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width,
    height,
    padding: [10, 30, 0, 0],
    scales: { x: { time: false } },
    cursor: { y: false, points: { size: 6 }, sync: { key: "step" } },
    legend: { live: true, markers: { width: 2 } },
    axes: [
      {
        ...axis,
        size: 30,
        label: t("step"),
        labelSize: 20,
        labelFont: axis.font as string,
        values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en-US") : "")),
      },
      { ...axis, size: 58, values: (_, ticks) => ticks.map(short) },
    ],
    series: [
      { label: t("step"), value: (drawing, value) => (value ?? lastOf(drawing.data[0]) ?? "–").toLocaleString("en-US") },
      ...(isSmooth ? chart.lines.map((line) => ({ ...series(line, chart.x.length), class: "is-measured", alpha: 0.3 })) : []),
      ...chart.lines.map((line) => series(line, chart.x.length)),
    ],
    hooks: { draw: [(drawing) => drawStages(drawing, stages(), ink)] },
  };
}

function series({ name, run }: Chart["lines"][number], length: number): uPlot.Series {
  return {
    label: name,
    stroke: colour(lineColours[run % lineColours.length] ?? "line-1"),
    width: 1.5,
    spanGaps: true,
    points: { show: length < 30 },
    // Without a pointer there is no place either.
    value: (drawing, value, index, at) => {
      const told = at === null ? lastOf(drawing.data[index] ?? []) : value;
      return typeof told === "number" ? short(told) : "–";
    },
  };
}

function lastOf(values: ArrayLike<number | null | undefined>): number | undefined {
  for (let i = values.length - 1; i >= 0; i--) {
    const value = values[i];
    if (typeof value === "number") return value;
  }
  return undefined;
}

/** A thin line where another stage begins, with its name. */
function drawStages(drawing: uPlot, stages: Props["stages"], ink: string): void {
  const { ctx, bbox } = drawing;
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.fillStyle = ink;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.globalAlpha = 0.7;
  ctx.lineWidth = devicePixelRatio;
  ctx.font = `${10 * devicePixelRatio}px system-ui, sans-serif`;
  for (const { step, name } of stages.length > 1 ? stages : []) {
    const x = drawing.valToPos(step, "x", true);
    // The first stage begins at the axis, where a line would say nothing.
    if (x < bbox.left + 4 || x > bbox.left + bbox.width) continue;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const space = bbox.left + bbox.width - x;
    if (ctx.measureText(name).width + 8 < space) ctx.fillText(name, x + 4 * devicePixelRatio, bbox.top);
  }
  ctx.restore();
}

function summary({ kind, x, lines }: Chart): string {
  const values = lines[0]?.values ?? [];
  const first = values.findIndex((value) => value !== null);
  const last = values.findLastIndex((value) => value !== null);
  if (first < 0) return t(kind.name);
  return t("chartSummary", {
    name: t(kind.name),
    first: short(values[first] ?? 0),
    from: x[first] ?? 0,
    last: short(values[last] ?? 0),
    to: x[last] ?? 0,
  });
}
