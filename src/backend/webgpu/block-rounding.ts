// WGSL functions that round a block of numbers to 8 bits, as packed products and caches of q8_0 do: scale = largest / 127, integer = x·(127 / largest). A GPU
// may round a quotient by 2.5 units in its last place, so both are divided here as integers, exactly rounded: the same bits on every GPU and as on the
// processor. Magnitudes are compared by their bits; a NaN is the largest of all.

/** Magnitudes below it count as 0: the bits of 1e-30. */
const tinyBits = 0x0da24260;

export const blockRoundingText = `
fn magnitude(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn is_tiny(top: u32) -> bool { return top < ${tinyBits}u; }
/** The number of 24 bits q, 2^23 <= q <= 2^24, times 2^(exponent - 23). */
fn composed(q: u32, exponent: i32) -> f32 { return bitcast<f32>((u32(exponent + 127) << 23u) + (q - 0x800000u)); }

/** top / 127 of a magnitude's bits, to nearest; 0 for tiny ones, NaN unless finite. */
fn block_scale(top: u32) -> f32 {
  if (is_tiny(top)) { return 0.0; }
  if (top >= 0x7f800000u) { return nan(); }
  let m = (top & 0x7fffffu) | 0x800000u;
  let shift = select(7u, 6u, m >= ${127 * 2 ** 17}u);
  let numerator = m << shift;
  // No remainder is a half: 127 is odd.
  let q = numerator / 127u + select(0u, 1u, numerator % 127u >= 64u);
  return composed(q, i32(top >> 23u) - 127 - i32(shift));
}

/** 127 / top, to nearest, ties to even; 0 for tiny ones and unless finite. */
fn block_inverse(top: u32) -> f32 {
  if (is_tiny(top) || top >= 0x7f800000u) { return 0.0; }
  let m = (top & 0x7fffffu) | 0x800000u;
  // Long division, in three digits of 8 or 9 bits: 127·2^41 / m, of 24 or 25 bits.
  var q = ${127 * 2 ** 25}u / m;
  let has_25_bits = q >= 256u;
  var rest = ${127 * 2 ** 25}u % m;
  for (var digit = 0; digit < 2; digit++) {
    rest = rest << 8u;
    q = (q << 8u) | (rest / m);
    rest = rest % m;
  }
  let exponent = 127 - i32(top >> 23u);
  if (has_25_bits) {
    let isUp = (q & 1u) == 1u && (rest > 0u || (q & 2u) == 2u);
    return composed((q >> 1u) + select(0u, 1u, isUp), exponent + 6);
  }
  let isUp = 2u * rest > m || (2u * rest == m && (q & 1u) == 1u);
  return composed(q + select(0u, 1u, isUp), exponent + 5);
}

/** The nearest integer to x·inverse, ties to even; 0 where the block has no finite scale. */
fn block_integer(x: f32, inverse: f32) -> i32 {
  if (inverse == 0.0) { return 0; }
  return i32(round(x * inverse));
}
`;
