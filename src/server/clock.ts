// The time of what happens in one go. In: a clock. Out: one that is read once and says the same until what runs now has ended: all tokens of a step
// are told in one go, 64 of them in some ten microseconds, and each reading costs one.

/** Seconds or milliseconds, as `now` has them. */
export function oncePerTurn(now: () => number): () => number {
  let time: number | undefined;
  const forget = () => {
    time = undefined;
  };
  return () => {
    if (time === undefined) {
      time = now();
      void Promise.resolve().then(forget);
    }
    return time;
  };
}
