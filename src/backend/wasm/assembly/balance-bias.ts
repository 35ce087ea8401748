// Auxiliary-loss-free balancing: bias[e] += gamma·sign(mean - counts[e]). Arguments: bias, counts, E, gamma.

export function balanceBias(p: usize, thread: i32, threads: i32): void {
  if (thread != 0) return;
  const bias = <usize>load<u32>(p);
  const counts = <usize>load<u32>(p, 4);
  const E = load<i32>(p, 8);
  const gamma = load<f32>(p, 12);
  let total: f64 = 0;
  for (let e: usize = 0; e < <usize>E; e++) total += <f64>load<f32>(counts + (e << 2));
  const mean = total / <f64>E;
  for (let e: usize = 0; e < <usize>E; e++) {
    const count = <f64>load<f32>(counts + (e << 2));
    const step: f32 = count < mean ? gamma : count > mean ? -gamma : 0;
    store<f32>(bias + (e << 2), load<f32>(bias + (e << 2)) + step);
  }
}
