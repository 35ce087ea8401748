// WGSL functions that every kernel may use. The language leaves exp, log and tanh loose, lets a compiler believe that there are no NaNs and infinities, and has
// no test for them: these are made of multiply-adds and of the numbers' bits. Accuracy: exp, log, sigmoid, tanh within 4e-7 of their size where division is
// rounded as IEEE 754 says (the specification allows 2.5 units in the last place). Subnormal numbers may be flushed to 0, fma may round twice: SwiftShader
// does both, and rounds division and square root exactly. What must be summed in double precision is summed in pairs of floats (Dekker 1971; Knuth's TwoSum).

export const mathText = `
/** x, in a way that no compiler sees through: sums of two numbers stay as they are written. */
fn opaque(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ p.zero); }
fn infinity() -> f32 { return bitcast<f32>(0x7f800000u ^ p.zero); }
fn nan() -> f32 { return bitcast<f32>(0x7fc00000u ^ p.zero); }
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
/** Whether a < b; false for NaN. */
fn is_less(a: f32, b: f32) -> bool { return !is_nan(a) && !is_nan(b) && a < b; }
fn is_at_most(a: f32, b: f32) -> bool { return !is_nan(a) && !is_nan(b) && a <= b; }
/** NaN when either is. */
fn smaller(a: f32, b: f32) -> f32 { return select(select(b, a, a < b || is_nan(a)), b, is_nan(b)); }
fn larger(a: f32, b: f32) -> f32 { return select(select(b, a, a > b || is_nan(a)), b, is_nan(b)); }

/** 2^n, -126 <= n <= 127. */
fn power2(n: i32) -> f32 { return bitcast<f32>(u32(n + 127) << 23u); }

/** e^x: 0 below -104, infinity above 88.8, NaN kept. Range reduction by ln 2 in two parts and a polynomial (Cephes). */
fn exp_of(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let limited = clamp(x, -104.0, 88.8);
  let n = round(limited * 1.4426950408889634);
  let r = fma(n, 2.12194440e-4, fma(n, -0.693359375, limited));
  var e = fma(1.9875691500e-4, r, 1.3981999507e-3);
  e = fma(e, r, 8.3334519073e-3);
  e = fma(e, r, 4.1665795894e-2);
  e = fma(e, r, 1.6666665459e-1);
  e = fma(e, r, 5.0000001201e-1);
  e = fma(e, r * r, r + 1.0);
  // 2^n in two factors, so that results near the ends neither overflow nor vanish early.
  let half = i32(n) >> 1u;
  let y = e * power2(half) * power2(i32(n) - half);
  return select(select(y, 0.0, x < -104.0), infinity(), x > 88.8);
}

/** Natural logarithm; NaN below 0, -infinity at 0. Exponent and the atanh series of the mantissa between sqrt(1/2) and sqrt(2). */
fn log_of(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return nan(); }
  if (x == 0.0) { return -infinity(); }
  if (!is_finite(x)) { return x; }
  var bits = bitcast<u32>(x);
  var exponent = 0;
  if (bits < 0x00800000u) {
    // A number below the normal ones: its leading bit is moved to where theirs is.
    let shift = countLeadingZeros(bits) - 8u;
    bits = bits << shift;
    exponent = 1 - i32(shift);
    bits = bits & 0x007fffffu;
    exponent -= 127;
  } else {
    exponent = i32(bits >> 23u) - 127;
    bits = bits & 0x007fffffu;
  }
  var m = bitcast<f32>(bits | 0x3f800000u);
  if (m > 1.41421356) {
    m = m * 0.5;
    exponent += 1;
  }
  let f = m - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  // log(1 + f) = f - f²/2 + s·(f²/2 + rest): the quotient's rounding only touches the small part.
  let rest = z * fma(z, fma(z, fma(z, fma(z, 0.18181818, 0.22222222), 0.28571429), 0.4), 0.66666667);
  let square = 0.5 * f * f;
  let e = f32(exponent);
  return fma(e, 0.693359375, f - (square - fma(s, square + rest, e * -2.12194440e-4)));
}

/** 1 / (1 + e^-x). */
fn sigmoid_of(x: f32) -> f32 {
  let y = 1.0 / (1.0 + exp_of(-clamp(x, -88.0, 88.0)));
  return select(y, x, is_nan(x));
}

/** Square root: NaN below 0. */
fn root_of(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return nan(); }
  return select(sqrt(x), x, x == 0.0 || !is_finite(x));
}

/** Near 0 the odd series, where 2·sigmoid(2x) - 1 would lose digits. */
fn tanh_of(x: f32) -> f32 {
  let z = x * x;
  let near = fma(x * z, fma(z, fma(z, -0.05396825397, 0.1333333333), -0.3333333333), x);
  return select(fma(2.0, sigmoid_of(x + x), -1.0), near, abs(x) < 0.15);
}

fn sigmoid_slope(x: f32) -> f32 {
  let s = sigmoid_of(x);
  return s * (1.0 - s);
}
fn silu_slope(x: f32) -> f32 {
  let s = sigmoid_of(x);
  return s * (1.0 + x * (1.0 - s));
}
fn tanh_slope(x: f32) -> f32 {
  let t = tanh_of(x);
  return 1.0 - t * t;
}

/** A number as a pair (value, rest), |rest| at most half a unit in the last place of the value: 48 bits. a + b, without error. */
fn two_sum(a: f32, b: f32) -> vec2f {
  let s = opaque(a + b);
  let t = opaque(s - a);
  return vec2f(s, opaque(a - opaque(s - t)) + opaque(b - t));
}
/** a·b without error, by halves of 12 bits; for |a|, |b| below 2^115 and a product that is 0 or not below 2^-80 (its rest ends 46 bits further down). */
fn two_product(a: f32, b: f32) -> vec2f {
  let product = opaque(a * b);
  let a_high = opaque(opaque(4097.0 * a) - opaque(opaque(4097.0 * a) - a));
  let b_high = opaque(opaque(4097.0 * b) - opaque(opaque(4097.0 * b) - b));
  let a_low = opaque(a - a_high);
  let b_low = opaque(b - b_high);
  let rest = opaque(opaque(opaque(a_high * b_high) - product) + opaque(a_high * b_low)) + opaque(a_low * b_high);
  return vec2f(product, rest + opaque(a_low * b_low));
}
/** The sum of two pairs, within 2^-45 of |a| + |b|. An infinity or NaN of the values stays one. */
fn add_pairs(a: vec2f, b: vec2f) -> vec2f {
  let s = two_sum(a.x, b.x);
  if (!is_finite(s.x)) { return vec2f(s.x, 0.0); }
  let rest = opaque(s.y + opaque(a.y + b.y));
  let value = opaque(s.x + rest);
  return vec2f(value, opaque(s.x - value) + rest);
}
`;
