// How slow this machine is at the moment, for tests that bound what a piece of work may cost. Out: a factor, 1 on the machine where the bounds were
// written. Hosts under load lose up to two thirds of their clock, which a bound in milliseconds would take for a fault of the code.

const usual = 60;
const sample = Array.from({ length: 100_000 }, (_, i) => ({ name: `tensor.number.${i}`, shape: [i, i + 1], offsets: [i * 8, i * 8 + 8] }));

/** Milliseconds of processor time that the calling thread has used. Other work on the machine does not count. */
export function threadTime(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** At least 1. The yardstick reads and writes JSON: text, allocation and its collection. */
export function pace(): number {
  const document = JSON.stringify(sample);
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const before = threadTime();
    JSON.stringify(JSON.parse(document));
    best = Math.min(best, threadTime() - before);
  }
  return Math.max(1, best / usual);
}
