// Numbers within bounds as EBNF, digit by digit. The grammar compiler's own ranges are wrong at some bounds (0 to 150 lets 159 through), so schemas
// get these instead. In: bounds. Out: the right side of a rule. Numbers are written plainly: no exponent, no "-0", no leading zeros.

/** Both bounds included; undefined: none. */
export function integerRange(low: bigint | undefined, high: bigint | undefined): string | undefined {
  const parts: string[] = [];
  if (low === undefined || low < 0n) {
    const least = high !== undefined && high < 0n ? -high : 1n;
    const most = low === undefined ? undefined : -low;
    const digits = magnitudes(least, most);
    if (digits) parts.push(`"-" (${digits})`);
  }
  if (high === undefined || high >= 0n) {
    const digits = magnitudes(low !== undefined && low > 0n ? low : 0n, high);
    if (digits) parts.push(digits);
  }
  return parts.length > 0 ? parts.join(" | ") : undefined;
}

/**
 * Decimal numbers: bounds in units of 10^-places, included. What is written has a fraction of at most `places` digits where it lies in the same
 * whole number as a bound, and of at most 15 elsewhere.
 */
export function decimalRange(low: bigint | undefined, high: bigint | undefined, places: number): string | undefined {
  const parts: string[] = [];
  if (low === undefined || low < 0n) {
    const least = high !== undefined && high < 0n ? -high : 1n;
    const part = positiveDecimals(least, low === undefined ? undefined : -low, places);
    if (part) parts.push(`"-" (${part})`);
  }
  if (high === undefined || high >= 0n) {
    const part = positiveDecimals(low !== undefined && low > 0n ? low : 0n, high, places);
    if (part) parts.push(part);
  }
  return parts.length > 0 ? parts.join(" | ") : undefined;
}

function positiveDecimals(low: bigint, high: bigint | undefined, places: number): string | undefined {
  const unit = 10n ** BigInt(places);
  const parts: string[] = [];
  const whole = magnitudes((low + unit - 1n) / unit, high === undefined ? undefined : high / unit);
  if (whole) parts.push(whole);
  const first = low / unit;
  const last = high === undefined ? undefined : high / unit;
  const fraction = (n: bigint) => (n % unit).toString().padStart(places, "0");
  const full = "9".repeat(places);
  const none = "0".repeat(places);
  if (last !== undefined && first > last) return undefined;
  const between = magnitudes(low % unit === 0n && first !== last ? first : first + 1n, last === undefined ? undefined : last - 1n);
  if (between) parts.push(`(${between}) "." [0-9]{1,15}`);
  if (first === last && high !== undefined) {
    if (low <= high) parts.push(`"${first}." (${sameLength(fraction(low), fraction(high))})`);
  } else {
    if (low % unit !== 0n) parts.push(`"${first}." (${sameLength(fraction(low), full)})`);
    if (high !== undefined && last !== undefined) parts.push(`"${last}." (${sameLength(none, fraction(high))})`);
  }
  return parts.length > 0 ? parts.join(" | ") : undefined;
}

/** Whole numbers 0 <= low..high without a sign. */
function magnitudes(low: bigint, high: bigint | undefined): string | undefined {
  if (high !== undefined && high < low) return undefined;
  const parts: string[] = [];
  const shortest = low.toString().length;
  const longest = high === undefined ? shortest : high.toString().length;
  for (let length = shortest; length <= longest; length++) {
    const least = length === 1 ? 0n : 10n ** BigInt(length - 1);
    const most = 10n ** BigInt(length) - 1n;
    const [from, to] = [low > least ? low : least, high !== undefined && high < most ? high : most];
    parts.push(sameLength(from.toString(), to.toString()));
  }
  if (high === undefined) parts.push(`[1-9] [0-9]{${shortest},${shortest + 15}}`);
  return parts.join(" | ");
}

/** Digit strings of one length, from `low` to `high`. */
function sameLength(low: string, high: string): string {
  if (low === "") return '""';
  if (/^0*$/.test(low) && /^9*$/.test(high)) return `[0-9]{${low.length}}`;
  if (low === high) return `"${low}"`;
  const [a, b] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (lowRest === "") return `[${a}-${b}]`;
  if (a === b) return `"${a}" (${sameLength(lowRest, highRest)})`;
  const rest = lowRest.length;
  const parts: string[] = [];
  const wholeStart = /^0+$/.test(lowRest) ? a : a + 1;
  const wholeEnd = /^9+$/.test(highRest) ? b : b - 1;
  if (wholeStart > a) parts.push(`"${a}" (${sameLength(lowRest, "9".repeat(rest))})`);
  if (wholeStart <= wholeEnd) parts.push(`[${wholeStart}-${wholeEnd}] [0-9]{${rest}}`);
  if (wholeEnd < b) parts.push(`"${b}" (${sameLength("0".repeat(rest), highRest)})`);
  return parts.join(" | ");
}
