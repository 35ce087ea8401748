import { describe, expect, test } from "vitest";
import { barPlot, type LinePlot, linePlot } from "../../src/eval/plot.ts";
import { along, escapeXml, makeScale, niceStep, tickLabel } from "../../src/eval/plot-frame.ts";

const base: LinePlot = { title: "T", xLabel: "x", yLabel: "y", series: [{ name: "a", x: [0, 1, 2], y: [1, 3, 2] }] };

/** A small strict reader: every tag closed in order, attributes quoted, no stray < or &. */
function checkXml(svg: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  let rest = svg;
  while (rest !== "") {
    const text = /^[^<&]+|^&(?:amp|lt|gt|quot);/.exec(rest);
    const tag = /^<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z][a-zA-Z0-9-]*="[^"<&]*(?:&(?:amp|lt|gt|quot);[^"<&]*)*")*)\s*(\/?)>/.exec(rest);
    const found = text ?? tag;
    if (!found) throw new Error(`not XML at: ${rest.slice(0, 60)}`);
    if (tag) {
      const [, closing, name, , single] = tag;
      if (closing) expect(open.pop()).toBe(name);
      else names.push(name!);
      if (!closing && !single) open.push(name!);
    }
    rest = rest.slice(found[0].length);
  }
  expect(open).toEqual([]);
  return names;
}

describe("scales", () => {
  test.each([
    [0.3, 0.5],
    [1, 1],
    [1.1, 2],
    [0.021, 0.05],
    [7, 10],
    [1500, 2000],
  ])("niceStep(%d) = %d", (step, nice) => expect(niceStep(step)).toBeCloseTo(nice, 12));

  test("round ticks that cover the data", () => {
    expect(makeScale([0.12, 3.7])).toEqual({ kind: "linear", low: 0, high: 4, ticks: [0, 1, 2, 3, 4] });
    expect(makeScale([0, 0.3]).ticks).toEqual([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
    expect(makeScale([-5, 5]).ticks).toEqual([-6, -4, -2, 0, 2, 4, 6]);
    expect(makeScale([0.2, 0.9], { low: 0, high: 1 }).ticks).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    const padded = makeScale([0, 100], { ends: "pad" });
    expect([padded.low, padded.high, padded.ticks[0], padded.ticks.at(-1)]).toEqual([-2, 102, 0, 100]);
  });

  test("log scales, and values that cannot be drawn", () => {
    expect(makeScale([3, 700], { kind: "log" })).toEqual({ kind: "log", low: 1, high: 1000, ticks: [1, 10, 100, 1000] });
    expect(makeScale([3, 60], { kind: "log" }).ticks).toEqual([2, 5, 10, 20, 50, 100]);
    expect(makeScale([0, -4, 10, 1000], { kind: "log" }).low).toBe(10);
    expect(along(makeScale([1, 100], { kind: "log" }), 10)).toBeCloseTo(0.5, 12);
    for (const values of [[], [Number.NaN], [Number.POSITIVE_INFINITY]]) expect(makeScale(values)).toMatchObject({ low: 0, high: 1 });
    for (const kind of ["linear", "log"] as const) {
      for (const value of [0.001, 7, 7e9]) {
        const scale = makeScale([value], { kind });
        expect(scale.low).toBeLessThanOrEqual(value);
        expect(scale.high).toBeGreaterThanOrEqual(value);
        expect(scale.low).toBeLessThan(scale.high);
        expect(scale.ticks.length).toBeGreaterThan(0);
      }
    }
  });

  test("tick labels", () => {
    const labels = [0, 0.05, 1, 1500, 2000, 20_000, 1_500_000, 3e9, 1e13, 0.00001, -1500, 0.1 + 0.2].map((value) => tickLabel(value));
    expect(labels).toEqual(["0", "0.05", "1", "1,500", "2,000", "20K", "1.5M", "3B", "1e13", "1e-5", "-1,500", "0.3"]);
    expect(tickLabel(1234.5678)).toBe("1,234.57");
    expect(tickLabel(0.25, "percent")).toBe("25 %");
    expect(tickLabel(0.07, "percent")).toBe("7 %");
  });
});

describe("linePlot", () => {
  test("is a standalone, well-formed SVG of 720 × 420", () => {
    const svg = linePlot({ ...base, subtitle: "s", marks: [{ x: 1, label: "m" }] });
    const names = checkXml(svg);
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="720" height="420"/);
    expect(names.filter((name) => name === "path")).toHaveLength(1);
    expect(svg).not.toMatch(/NaN|undefined|Infinity|href|script/);
    expect(linePlot({ ...base, subtitle: "s", marks: [{ x: 1, label: "m" }] })).toBe(svg);
  });

  test("puts points where they belong", () => {
    const svg = linePlot({ ...base, yLow: 0, yHigh: 4, series: [{ name: "a", x: [0, 1, 2], y: [0, 4, 2], draw: "points" }] });
    const points = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
    expect(points).toHaveLength(3);
    const [a, b, c] = points as [number[], number[], number[]];
    expect(b[0]! - a[0]!).toBeCloseTo(c[0]! - b[0]!, 0);
    expect(a[1]! - b[1]!).toBeCloseTo(2 * (a[1]! - c[1]!), 0);
    const grid = [...svg.matchAll(/<line x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)" y2="\1" stroke="#e6e8eb"/g)].map(([, y]) => Number(y));
    expect(grid[0]).toBeCloseTo(a[1]!, 0);
    expect(grid.at(-1)).toBeCloseTo(b[1]!, 0);
  });

  test("values that are not finite leave a gap; a lone point is a dot; no data is said", () => {
    const svg = linePlot({
      ...base,
      series: [{ name: "a", x: [0, 1, 2, 3, 4, 5], y: [1, 2, Number.NaN, 3, Number.POSITIVE_INFINITY, 2] }],
    });
    expect(checkXml(svg).filter((name) => name === "path")).toHaveLength(1);
    expect(checkXml(svg).filter((name) => name === "circle")).toHaveLength(2);
    expect(svg).not.toMatch(/NaN|Infinity/);
    for (const series of [[], [{ name: "a", x: [], y: [] }], [{ name: "a", x: [1], y: [Number.NaN] }]]) {
      const empty = linePlot({ ...base, series });
      checkXml(empty);
      expect(empty).toContain("no data");
    }
    expect(linePlot(base)).not.toContain("no data");
  });

  test("bands, smoothing, legend and log axes", () => {
    const y = [1, 2, 3, 4, 5, 6, 7, 8];
    const x = y.map((v) => 2 ** v);
    const one = { name: "one", x, y, low: y.map((v) => v - 0.5), high: y.map((v) => v + 0.5) };
    const svg = linePlot({ ...base, xScale: "log", xTicks: x, series: [one, { name: "two", x, y: y.map((v) => v * 2), smooth: 3 }] });
    checkXml(svg);
    expect(svg.match(/fill-opacity="0.14"/g)).toHaveLength(1);
    expect(svg.match(/stroke-opacity="0.3"/g)).toHaveLength(1);
    expect(svg).toContain(">one</text>");
    expect(svg).toContain(">256</text>");
    expect(linePlot(base)).not.toContain(">a</text>");
    const colours = new Set([...svg.matchAll(/stroke="(#[0-9a-f]{6})" stroke-width/g)].map(([, colour]) => colour));
    expect(colours.size).toBe(2);
  });

  test("the moving average keeps a straight line straight", () => {
    const x = Array.from({ length: 50 }, (_, i) => i);
    const svg = linePlot({ ...base, series: [{ name: "a", x, y: x, smooth: 9 }] });
    const [raw, smooth] = [...svg.matchAll(/<path d="(M[^"]+)" fill="none"/g)].map(([, path]) => path);
    expect(smooth).toBe(raw);
  });

  test("a million points make a small file with the same ends", () => {
    const x = Array.from({ length: 1_000_000 }, (_, i) => i);
    const svg = linePlot({ ...base, series: [{ name: "a", x, y: x.map((i) => Math.sin(i / 1e5)) }] });
    expect(svg.length).toBeLessThan(30_000);
    checkXml(svg);
  });

  test("nothing that is written can break the file", () => {
    const evil = `</text><script>alert("1")</script>&\u0000\u001b[31m\ud800`;
    for (const svg of [
      linePlot({
        title: evil,
        subtitle: evil,
        xLabel: evil,
        yLabel: evil,
        series: [{ ...base.series[0]!, name: evil }, base.series[0]!],
        marks: [{ x: 1, label: evil }],
      }),
      barPlot({
        title: evil,
        subtitle: evil,
        yLabel: evil,
        groups: [evil],
        series: [
          { name: evil, values: [1] },
          { name: evil, values: [2] },
        ],
      }),
    ]) {
      expect(checkXml(svg)).not.toContain("script");
    }
    expect(escapeXml(`a<b & "c"`)).toBe("a&lt;b &amp; &quot;c&quot;");
  });
});

describe("barPlot", () => {
  const plot = {
    title: "T",
    yLabel: "accuracy",
    yFormat: "percent" as const,
    yHigh: 1,
    groups: ["sft", "grpo"],
    series: [
      { name: "greedy", values: [0.5, 1], low: [0.4, 0.9], high: [0.6, 1] },
      { name: "sampled", values: [0.25, 0.75] },
    ],
  };

  test("draws bars in proportion, whiskers and labels", () => {
    const svg = barPlot(plot);
    checkXml(svg);
    const heights = [...svg.matchAll(/<rect [^>]*height="([\d.]+)" fill="#[0-9a-f]{6}" fill-opacity="0.85"/g)].map(([, height]) =>
      Number(height),
    );
    expect(heights).toHaveLength(4);
    const [sft, sftSampled, grpo, grpoSampled] = heights as [number, number, number, number];
    expect(sft / grpo).toBeCloseTo(0.5, 2);
    expect(sftSampled / grpo).toBeCloseTo(0.25, 2);
    expect(grpoSampled / grpo).toBeCloseTo(0.75, 2);
    expect([...svg.matchAll(/stroke-width="1.2"/g)]).toHaveLength(2);
    for (const label of ["50.0", "100.0", "25.0", "sft", "grpo", "greedy", "sampled", "100 %"]) expect(svg).toContain(`>${label}</text>`);
  });

  test("zero, missing and no groups are drawn honestly", () => {
    const svg = barPlot({ ...plot, series: [{ name: "a", values: [0, Number.NaN] }] });
    checkXml(svg);
    expect(svg).toContain(">0.0</text>");
    expect(svg).not.toContain("NaN");
    expect(barPlot({ ...plot, groups: [], series: [] })).toContain("no data");
  });
});
