// The parts that all plots share: scales with round ticks, the frame (title, axes, grid, legend), text. In: numbers and labels.
// Out: SVG text, 720 × 420, standalone: a light background, system fonts, no scripts, every label escaped.

export const size = { width: 720, height: 420 } as const;

/** Dark enough on white for thin lines (contrast 4.5 and more), and apart for the colour-blind. */
export const colours = ["#1d5fa8", "#c2500a", "#157347", "#7b3fb5", "#8a6d00", "#5b6470"] as const;
export const ink = { text: "#1f2429", soft: "#5b6470", grid: "#e6e8eb", axis: "#9aa1a9", paper: "#ffffff" } as const;

export type Scale = {
  readonly kind: "linear" | "log";
  /** Domain, already widened to round numbers where that was asked for. */
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
};

export type ScaleOptions = {
  readonly kind?: "linear" | "log";
  readonly low?: number;
  readonly high?: number;
  /** Ticks wanted, about; default 6. */
  readonly count?: number;
  /** Exactly these ticks. */
  readonly ticks?: readonly number[];
  /** "tick": let the domain end on a tick (default). "pad": 2 % of air at both ends, so that marks at the edge are whole. */
  readonly ends?: "tick" | "pad";
};

/** A scale that covers the finite values; log scales leave out values of 0 and less. */
export function makeScale(values: readonly number[], options: ScaleOptions = {}): Scale {
  const { kind = "linear", count = 6, ends = "tick" } = options;
  let low = options.low ?? Number.POSITIVE_INFINITY;
  let high = options.high ?? Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value) || (kind === "log" && value <= 0)) continue;
    if (options.low === undefined && value < low) low = value;
    if (options.high === undefined && value > high) high = value;
  }
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = kind === "log" ? [1, 10] : [0, 1];
  if (kind === "log") return logScale(low, high, ends, options.ticks);
  if (low >= high) {
    const around = low === 0 ? 1 : Math.abs(low) * 0.1;
    [low, high] = [low - around, low + around];
  }
  const step = niceStep((high - low) / count);
  if (ends === "pad") {
    const air = (high - low) * 0.02;
    [low, high] = [low - air, high + air];
  } else {
    if (options.low === undefined) low = Math.floor(low / step + 1e-9) * step;
    if (options.high === undefined) high = Math.ceil(high / step - 1e-9) * step;
  }
  if (options.ticks) return { kind, low, high, ticks: options.ticks };
  const ticks: number[] = [];
  // Multiples of the step, computed one by one so that errors do not add up.
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return { kind, low, high, ticks };
}

/** Position of a value in 0..1 along the scale (outside for values outside). */
export function along(scale: Scale, value: number): number {
  if (scale.kind === "linear") return (value - scale.low) / (scale.high - scale.low);
  return Math.log(value / scale.low) / Math.log(scale.high / scale.low);
}

/** 1, 2 or 5 times a power of ten, at least `step`. */
export function niceStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const lead = step / power;
  return (lead <= 1 + 1e-9 ? 1 : lead <= 2 + 1e-9 ? 2 : lead <= 5 + 1e-9 ? 5 : 10) * power;
}

function logScale(low: number, high: number, ends: "tick" | "pad", ticks?: readonly number[]): Scale {
  let [from, to] = low < high ? [low, high] : [low / 2, low * 2];
  const leads = to / from < 50 ? [1, 2, 5] : [1];
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(from)) - 1; power <= Math.ceil(Math.log10(to)); power++) {
    for (const lead of leads) all.push(Number(`${lead}e${power}`));
  }
  if (ends === "pad") {
    const air = (to / from) ** 0.02;
    [from, to] = [from / air, to * air];
  } else {
    from = all.findLast((tick) => tick <= from * (1 + 1e-9)) ?? from;
    to = all.find((tick) => tick >= to * (1 - 1e-9)) ?? to;
  }
  return { kind: "log", low: from, high: to, ticks: ticks ?? all.filter((tick) => tick >= from * (1 - 1e-9) && tick <= to * (1 + 1e-9)) };
}

/** 0.05, 12, 1,500, 20K, 1.5M; `percent` turns 0.25 into 25 %. */
export function tickLabel(value: number, format: "number" | "percent" = "number"): string {
  if (format === "percent") return `${Number((value * 100).toPrecision(6))} %`;
  const size = Math.abs(value);
  if (size >= 1e12 || (size > 0 && size < 1e-4)) return value.toExponential(0).replace("e+", "e");
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(4))}B`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}K`;
  const [whole, part] = String(Number(value.toPrecision(6))).split(".") as [string, string?];
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part === undefined ? "" : `.${part}`);
}

export function escapeXml(text: string): string {
  // Control characters are not allowed in XML at all.
  const allowed = [...text]
    .filter((c) => c >= " " && c !== "\u007f" && c !== "\ufffe" && c !== "\uffff")
    .join("")
    .toWellFormed();
  return allowed.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

export type TextOptions = {
  readonly size?: number;
  readonly anchor?: "start" | "middle" | "end";
  readonly colour?: string;
  readonly bold?: boolean;
};

export function svgText(x: number, y: number, text: string, options: TextOptions = {}): string {
  const { size: px = 12, anchor = "start", colour = ink.text, bold = false } = options;
  const weight = bold ? ' font-weight="600"' : "";
  return `<text x="${fixed(x)}" y="${fixed(y)}" font-size="${px}" text-anchor="${anchor}" fill="${colour}"${weight}>${escapeXml(text)}</text>`;
}

/** Width of a text in pixels, guessed for a wide font. */
export function textWidth(text: string, px: number): number {
  return [...text].length * px * 0.62;
}

/** Coordinates with one decimal: smaller files, and the same bytes on every machine. */
export function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}

/** The whole document around what was drawn. */
export function svgDocument(title: string, description: string, body: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}" viewBox="0 0 ${size.width} ${size.height}"`,
    ` role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif">`,
    `<title>${escapeXml(title)}</title><desc>${escapeXml(description)}</desc>`,
    `<rect width="${size.width}" height="${size.height}" fill="${ink.paper}"/>`,
    ...body,
    "</svg>\n",
  ].join("\n");
}

export type Box = { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number };

/** Title and subtitle, at most two lines, and a legend under them; returns the drawing and where it ends. */
export function drawHeader(title: string, subtitle: string | undefined, legend: readonly { name: string; colour: string }[]) {
  const body = [svgText(20, 30, title, { size: 16, bold: true })];
  let y = 30;
  if (subtitle) {
    y += 20;
    body.push(svgText(20, y, subtitle, { colour: ink.soft }));
  }
  if (legend.length > 0) {
    y += 24;
    let x = 20;
    for (const { name, colour } of legend) {
      const width = 18 + textWidth(name, 12) + 22;
      if (x > 20 && x + width > size.width - 10) {
        x = 20;
        y += 18;
      }
      body.push(`<rect x="${fixed(x)}" y="${fixed(y - 10)}" width="12" height="12" rx="2" fill="${colour}"/>`, svgText(x + 18, y, name));
      x += width;
    }
  }
  return { body, bottom: y };
}

/** Horizontal grid lines with their labels, and the name of the axis above them. */
export function drawYAxis(box: Box, scale: Scale, label: string, format: "number" | "percent"): string[] {
  const body = [svgText(20, box.top - 14, label, { colour: ink.soft })];
  for (const tick of scale.ticks) {
    const y = yOf(box, scale, tick);
    body.push(
      `<line x1="${fixed(box.left)}" x2="${fixed(box.right)}" y1="${fixed(y)}" y2="${fixed(y)}" stroke="${ink.grid}"/>`,
      svgText(box.left - 8, y + 4, tickLabel(tick, format), { anchor: "end", colour: ink.soft }),
    );
  }
  return body;
}

/** Room that the labels of the y axis need. */
export function yLabelWidth(scale: Scale, format: "number" | "percent"): number {
  return Math.max(...scale.ticks.map((tick) => textWidth(tickLabel(tick, format), 12)), 10);
}

export function yOf(box: Box, scale: Scale, value: number): number {
  return box.bottom - along(scale, value) * (box.bottom - box.top);
}

export function xOf(box: Box, scale: Scale, value: number): number {
  return box.left + along(scale, value) * (box.right - box.left);
}
