// Line, scatter and bar plots as SVG text. In: series of numbers (values that are not finite leave a gap). Out: a standalone .svg.
// Unusual: long series are averaged into at most 500 buckets, so a plot of a million steps is no larger than one of a thousand.

import {
  type Box,
  colours,
  drawHeader,
  drawYAxis,
  fixed,
  ink,
  makeScale,
  type Scale,
  size,
  svgDocument,
  svgText,
  textWidth,
  tickLabel,
  xOf,
  yLabelWidth,
  yOf,
} from "./plot-frame.ts";

export type Series = {
  readonly name: string;
  readonly x: readonly number[];
  readonly y: readonly number[];
  /** Confidence band around y: both or none. */
  readonly low?: readonly number[];
  readonly high?: readonly number[];
  /** "line" (default), "points" or both. */
  readonly draw?: "line" | "points" | "line and points";
  /** Draw the moving average over about so many points boldly, and the values themselves faintly. */
  readonly smooth?: number;
};

export type LinePlot = {
  readonly title: string;
  readonly subtitle?: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  readonly xScale?: "linear" | "log";
  readonly yScale?: "linear" | "log";
  /** Fixed ends of the y axis. */
  readonly yLow?: number;
  readonly yHigh?: number;
  /** Exactly these ticks on the x axis. */
  readonly xTicks?: readonly number[];
  readonly yFormat?: "number" | "percent";
  /** Dotted verticals with a label, such as the start of a stage. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
};

export type BarPlot = {
  readonly title: string;
  readonly subtitle?: string;
  readonly yLabel: string;
  /** Names under the groups of bars. */
  readonly groups: readonly string[];
  /** One bar in each group; `low` and `high` draw whiskers. */
  readonly series: readonly {
    readonly name: string;
    readonly values: readonly number[];
    readonly low?: readonly number[];
    readonly high?: readonly number[];
  }[];
  readonly yFormat?: "number" | "percent";
  readonly yHigh?: number;
};

const maxPoints = 500;

export function linePlot(plot: LinePlot): string {
  const format = plot.yFormat ?? "number";
  const series = plot.series.map(thin);
  const xs = series.flatMap((one) => [...one.x]);
  const ys = series.flatMap((one) => [...one.y, ...(one.low ?? []), ...(one.high ?? [])]);
  const xScale = makeScale(xs, { kind: plot.xScale, count: 8, ends: "pad", ticks: plot.xTicks });
  const yScale = makeScale(ys, { kind: plot.yScale, low: plot.yLow, high: plot.yHigh });
  const legend = series.length > 1 ? series.map((one, i) => ({ name: one.name, colour: colourOf(i) })) : [];
  const header = drawHeader(plot.title, plot.subtitle, legend);
  const box: Box = { left: 28 + yLabelWidth(yScale, format), top: header.bottom + 42, right: size.width - 24, bottom: size.height - 52 };
  const body = [...header.body, ...drawYAxis(box, yScale, plot.yLabel, format), ...drawXAxis(box, xScale, plot.xLabel)];
  for (const mark of plot.marks ?? []) {
    const x = xOf(box, xScale, mark.x);
    if (x < box.left - 0.5 || x > box.right + 0.5) continue;
    const end = x + 6 + textWidth(mark.label, 11) > box.right;
    body.push(
      `<line x1="${fixed(x)}" x2="${fixed(x)}" y1="${fixed(box.top)}" y2="${fixed(box.bottom)}" stroke="${ink.axis}" stroke-dasharray="2 3"/>`,
      svgText(end ? x - 4 : x + 4, box.top + 11, mark.label, { size: 11, colour: ink.soft, anchor: end ? "end" : "start" }),
    );
  }
  const clip = `plot-${hash(JSON.stringify([plot.title, plot.yLabel, xScale, yScale]))}`;
  body.push(
    `<clipPath id="${clip}"><rect x="${fixed(box.left - 5)}" y="${fixed(box.top - 5)}" width="${fixed(box.right - box.left + 10)}" height="${fixed(box.bottom - box.top + 10)}"/></clipPath>`,
    `<g clip-path="url(#${clip})">`,
    ...series.flatMap((one, i) => drawSeries(one, colourOf(i), box, xScale, yScale)),
    "</g>",
  );
  if (!series.some((one) => runsOf(one.x, one.y, xScale, yScale).length > 0)) body.push(nothing(box));
  return svgDocument(plot.title, `${plot.yLabel} against ${plot.xLabel}: ${plot.series.map((one) => one.name).join(", ")}`, body);
}

export function barPlot(plot: BarPlot): string {
  const format = plot.yFormat ?? "number";
  const values = plot.series.flatMap((one) => [...one.values, ...(one.low ?? []), ...(one.high ?? [])]);
  const scale = makeScale([0, ...values], { high: plot.yHigh });
  const legend = plot.series.length > 1 ? plot.series.map((one, i) => ({ name: one.name, colour: colourOf(i) })) : [];
  const header = drawHeader(plot.title, plot.subtitle, legend);
  const box: Box = { left: 28 + yLabelWidth(scale, format), top: header.bottom + 42, right: size.width - 24, bottom: size.height - 40 };
  const body = [...header.body, ...drawYAxis(box, scale, plot.yLabel, format)];
  const slot = (box.right - box.left) / Math.max(1, plot.groups.length);
  const width = Math.min(64, (slot * 0.72) / Math.max(1, plot.series.length));
  plot.groups.forEach((group, g) => {
    const middle = box.left + slot * (g + 0.5);
    body.push(svgText(middle, box.bottom + 20, group, { anchor: "middle", size: 13 }));
    plot.series.forEach((one, s) => {
      const value = one.values[g];
      if (value === undefined || !Number.isFinite(value)) return;
      const x = middle + (s - plot.series.length / 2) * width + 2;
      const bar = width - 4;
      const [zero, top] = [yOf(box, scale, 0), yOf(box, scale, value)];
      body.push(
        `<rect x="${fixed(x)}" y="${fixed(Math.min(zero, top))}" width="${fixed(bar)}" height="${fixed(Math.max(Math.abs(zero - top), 1))}" fill="${colourOf(s)}" fill-opacity="0.85"/>`,
      );
      const [low, high] = [one.low?.[g], one.high?.[g]];
      let above = Math.min(zero, top);
      if (low !== undefined && high !== undefined && Number.isFinite(low) && Number.isFinite(high)) {
        above = Math.min(above, yOf(box, scale, high));
        body.push(whisker(x + bar / 2, yOf(box, scale, low), yOf(box, scale, high)));
      }
      const label = format === "percent" ? `${(value * 100).toFixed(1)}` : tickLabel(Number(value.toPrecision(3)));
      body.push(svgText(x + bar / 2, above - 6, label, { anchor: "middle", size: 11 }));
    });
  });
  body.push(baseline(box, yOf(box, scale, 0)));
  if (plot.groups.length === 0) body.push(nothing(box));
  return svgDocument(plot.title, `${plot.yLabel} of ${plot.groups.join(", ")}`, body);
}

function drawXAxis(box: Box, scale: Scale, label: string): string[] {
  const body = [
    baseline(box, box.bottom),
    svgText((box.left + box.right) / 2, box.bottom + 40, label, { anchor: "middle", colour: ink.soft }),
  ];
  let free = Number.NEGATIVE_INFINITY;
  for (const tick of scale.ticks) {
    const x = xOf(box, scale, tick);
    const text = tickLabel(tick);
    const half = textWidth(text, 12) / 2;
    // Labels that would touch the one before are left out.
    if (x < box.left - 0.5 || x > box.right + 0.5 || x - half < free) continue;
    free = x + half + 6;
    body.push(
      `<line x1="${fixed(x)}" x2="${fixed(x)}" y1="${fixed(box.bottom)}" y2="${fixed(box.bottom + 5)}" stroke="${ink.axis}"/>`,
      svgText(x, box.bottom + 19, text, { anchor: "middle", colour: ink.soft }),
    );
  }
  return body;
}

function drawSeries(series: Series, colour: string, box: Box, xScale: Scale, yScale: Scale): string[] {
  const body: string[] = [];
  const at = (x: number, y: number) => `${fixed(xOf(box, xScale, x))} ${fixed(yOf(box, yScale, y))}`;
  const { x, y, low, high, draw = "line", smooth } = series;
  if (low && high) {
    // A band is the run of points above, and the same points below on the way back.
    for (const run of runsOf(x, y, xScale, yScale)) {
      const edge = run.filter((i) => usable(low[i], yScale) && usable(high[i], yScale));
      if (edge.length < 2) continue;
      const above = edge.map((i) => at(x[i] as number, high[i] as number));
      const below = edge.map((i) => at(x[i] as number, low[i] as number)).reverse();
      body.push(`<path d="M${[...above, ...below].join("L")}Z" fill="${colour}" fill-opacity="0.14"/>`);
    }
  }
  const line = (values: readonly number[], width: number, opacity: number) => {
    for (const run of runsOf(x, values, xScale, yScale)) {
      if (run.length < 2) continue;
      const path = run.map((i) => at(x[i] as number, values[i] as number)).join("L");
      body.push(
        `<path d="M${path}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-opacity="${opacity}" stroke-linejoin="round" stroke-linecap="round"/>`,
      );
    }
  };
  if (draw !== "points" && smooth !== undefined && smooth > 1) {
    line(y, 1, 0.3);
    line(movingAverage(y, smooth), 2.2, 1);
  } else if (draw !== "points") {
    line(y, 2, 1);
  }
  // A run of a single point would be invisible as a line.
  const alone = new Set(runsOf(x, y, xScale, yScale).flatMap((run) => (run.length === 1 ? run : [])));
  for (let i = 0; i < y.length; i++) {
    if (draw === "line" && !alone.has(i)) continue;
    const [a, b] = [x[i], y[i]];
    if (!usable(a, xScale) || !usable(b, yScale)) continue;
    const [cx, cy] = at(a, b).split(" ");
    body.push(`<circle cx="${cx}" cy="${cy}" r="3.2" fill="${colour}" stroke="${ink.paper}" stroke-width="1"/>`);
  }
  return body;
}

/** Indices of points that can be drawn, in runs without a gap. */
function runsOf(x: readonly number[], y: readonly number[], xScale: Scale, yScale: Scale): number[][] {
  const runs: number[][] = [];
  let open = false;
  for (let i = 0; i < y.length; i++) {
    const fine = usable(x[i], xScale) && usable(y[i], yScale);
    if (fine && open) (runs.at(-1) as number[]).push(i);
    else if (fine) runs.push([i]);
    open = fine;
  }
  return runs;
}

function usable(value: number | undefined, scale: Scale): value is number {
  return value !== undefined && Number.isFinite(value) && (scale.kind === "linear" || value > 0);
}

/** Mean of about so many points around each one. The window shrinks on both sides alike near the ends, so a trend is not bent. */
function movingAverage(values: readonly number[], points: number): number[] {
  const reach = Math.floor(points / 2);
  return values.map((value, i) => {
    if (!Number.isFinite(value)) return value;
    const half = Math.min(reach, i, values.length - 1 - i);
    const part = values.slice(i - half, i + half + 1).filter(Number.isFinite);
    return part.reduce((sum, one) => sum + one, 0) / part.length;
  });
}

/** Averages neighbours into buckets; a value that is not finite makes no gap there unless the whole bucket is such. */
function thin(series: Series): Series {
  const n = Math.min(series.x.length, series.y.length);
  if (n <= maxPoints) return series;
  const pack = (values: readonly number[]) =>
    Array.from({ length: maxPoints }, (_, bucket) => {
      const part = values.slice(Math.floor((bucket * n) / maxPoints), Math.floor(((bucket + 1) * n) / maxPoints)).filter(Number.isFinite);
      return part.reduce((sum, value) => sum + value, 0) / part.length;
    });
  const { low, high, smooth } = series;
  return {
    ...series,
    x: pack(series.x),
    y: pack(series.y),
    ...(low && high ? { low: pack(low), high: pack(high) } : {}),
    ...(smooth === undefined ? {} : { smooth: (smooth * maxPoints) / n }),
  };
}

function whisker(x: number, low: number, high: number): string {
  const path = `M${fixed(x)} ${fixed(low)}V${fixed(high)}M${fixed(x - 5)} ${fixed(low)}h10M${fixed(x - 5)} ${fixed(high)}h10`;
  return `<path d="${path}" stroke="${ink.text}" stroke-width="1.2" fill="none"/>`;
}

function baseline(box: Box, y: number): string {
  return `<line x1="${fixed(box.left)}" x2="${fixed(box.right)}" y1="${fixed(y)}" y2="${fixed(y)}" stroke="${ink.axis}"/>`;
}

function nothing(box: Box): string {
  return svgText((box.left + box.right) / 2, (box.top + box.bottom) / 2, "no data", { anchor: "middle", colour: ink.soft });
}

function colourOf(index: number): string {
  return colours[index % colours.length] as string;
}

/** Ids of several plots in one page must differ. */
function hash(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(36);
}
