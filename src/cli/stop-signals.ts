// Ctrl-C, SIGTERM and a closed terminal, for verbs that work for a long time. In: what to say. Out: a signal that the work watches. The first signal asks it
// to stop where nothing is lost; a second one ends the process at once, with the code that shells expect of Ctrl-C.

const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export type StopSignals = {
  readonly signal: AbortSignal;
  /** Signals do again what they do by themselves. */
  release(): void;
};

/** `onStop` is called once, when the first signal comes. */
export function listenForStop(onStop: () => void): StopSignals {
  const stopping = new AbortController();
  const stop = () => {
    if (stopping.signal.aborted) process.exit(130);
    stopping.abort();
    onStop();
  };
  for (const name of names) process.on(name, stop);
  return {
    signal: stopping.signal,
    release: () => {
      for (const name of names) process.off(name, stop);
    },
  };
}
