// What kernels over rows share: a group of invocations for each row, which add up, or take the maximum of, one number of each in a fixed tree. The group's size
// depends on the row's width alone, so a row gives the same bits in any company. Out: WGSL declarations.

/** Invocations for a row. */
export function rowGroupSize(width: number): number {
  return width > 2048 ? 256 : 64;
}

/** group_sum and group_max: every invocation of the group must call them, and gets the result. A maximum may miss NaNs. */
export function rowText(groupSize: number): string {
  const tree = (name: string, joined: string) => `
fn ${name}(x: f32, local: u32) -> f32 {
  lanes[local] = x;
  workgroupBarrier();
  for (var n = ${groupSize / 2}u; n > 0; n /= 2) {
    if (local < n) { lanes[local] = ${joined}; }
    workgroupBarrier();
  }
  let result = lanes[0];
  // The next call writes there.
  workgroupBarrier();
  return result;
}`;
  return `var<workgroup> lanes: array<f32, ${groupSize}>;
${tree("group_sum", "lanes[local] + lanes[local + n]")}
${tree("group_max", "max(lanes[local], lanes[local + n])")}`;
}

/**
 * As rowText, and exp_sum: (top, Σ exp(element - top)) of a row whose element c is `element("c")`, read once. top is the row's maximum. Elements may be
 * -infinity, a row of nothing else gives a sum of 0; NaN or +infinity makes the sum NaN.
 */
export function expSumText(groupSize: number, element: (c: string) => string): string {
  return `${rowText(groupSize)}
fn exp_sum(row: u32, width: u32, local: u32) -> vec2f {
  // Below every number, but finite: its distance to -infinity is no NaN.
  var top = -0x1.fffffep+127;
  var sum = 0.0;
  for (var c = local; c < width; c += ${groupSize}) {
    let x = ${element("c")};
    if (x > top) {
      sum = sum * exp_of(top - x) + 1.0;
      top = x;
    } else {
      sum += exp_of(x - top);
    }
  }
  let row_top = group_max(top, local);
  return vec2f(row_top, group_sum(sum * exp_of(top - row_top), local));
}`;
}
