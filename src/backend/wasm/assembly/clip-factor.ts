// The clipping factor, or -1 when the step must be skipped. Arguments: out, sumSquares, guard (0 when absent), maxNorm.

export function clipFactor(p: usize, thread: i32, threads: i32): void {
  if (thread != 0) return;
  const out = <usize>load<u32>(p);
  const squares = <f64>load<f32>(<usize>load<u32>(p, 4));
  const guard = <usize>load<u32>(p, 8);
  const maxNorm = <f64>load<f32>(p, 12);
  const loss: f64 = guard == 0 ? 0 : <f64>load<f32>(guard);
  let factor: f64 = -1;
  if (isFinite<f64>(squares) && isFinite<f64>(loss)) factor = maxNorm == Infinity ? 1 : min(1, maxNorm / (sqrt<f64>(squares) + 1e-6));
  store<f32>(out, <f32>factor);
}
