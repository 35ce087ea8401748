// Numbers as people read them, for progress lines, reports and cost lines. Pure text; the same number always gives the same text.

/** 950, 12.3K, 1.23M, 14.8T: three significant digits. */
export function formatCount(count: number): string {
  return withSuffix(count, count < 1000 && Number.isInteger(count) ? String(count) : undefined);
}

/** 3.4 s, 45 s, 9 min 31 s, 2 h 5 min, 3 d 4 h. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pair = (unit: number, big: string, part: number, small: string) => {
    const parts = Math.round(whole / part);
    const rest = parts % (unit / part);
    return `${Math.floor(parts / (unit / part))} ${big}${rest === 0 ? "" : ` ${rest} ${small}`}`;
  };
  if (whole < 3600) return pair(60, "min", 1, "s");
  if (whole < 86400) return pair(3600, "h", 60, "min");
  return pair(86400, "d", 3600, "h");
}

/** $0.0079, $0.25, $30, $294K, $5.58M. */
export function formatUsd(usd: number): string {
  if (!Number.isFinite(usd)) return "$?";
  if (usd === 0) return "$0";
  if (usd < 0.00001) return "under $0.00001";
  if (usd < 1) return `$${Number(usd.toPrecision(2))}`;
  return `$${usd < 1000 ? Number(usd.toFixed(2)) : withSuffix(usd)}`;
}

/** 2.1e14: two significant digits, for FLOP. */
export function formatScientific(value: number): string {
  return value < 1000 ? String(Number(value.toPrecision(2))) : value.toExponential(1).replace("e+", "e");
}

function withSuffix(value: number, plain?: string): string {
  if (!Number.isFinite(value)) return "?";
  if (plain !== undefined) return plain;
  const suffixes = ["", "K", "M", "B", "T"];
  let power = 0;
  let scaled = value;
  // 999.5 would round to 1000 of the smaller unit.
  while (Math.abs(scaled) >= 999.5 && power < suffixes.length - 1) {
    scaled /= 1000;
    power++;
  }
  return `${Number(scaled.toPrecision(Math.abs(scaled) >= 1000 ? 4 : 3))}${suffixes[power]}`;
}
