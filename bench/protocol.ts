// What rivals.ts and the engine-*.ts programs say to each other. An engine is called with MODEL.gguf THREADS and tests as JSON, and prints one line of
// JSON: tokens per second by test. Where it cannot run (no browser, no counterpart of the model), it says why on stderr and exits with `cannotRun`:
// rivals.ts then goes on without it.

export type Test = {
  readonly name: string;
  /** Tokens of a prompt, computed from nothing; absent where generation is measured. */
  readonly prompt?: number;
  /** Tokens that each sequence generates greedily, past every end-of-text. */
  readonly gen?: number;
  /** Tokens in the context before the generation. */
  readonly depth?: number;
  /** Sequences at once; their tokens are added. */
  readonly parallel?: number;
};

/** EX_UNAVAILABLE of sysexits.h. */
export const cannotRun = 69;

export type Call = { readonly model: string; readonly threads: number; readonly tests: readonly Test[] };

/** The arguments of an engine's program. */
export function readCall(): Call {
  const [model = "", threads = "2", list = "[]"] = process.argv.slice(2);
  return { model, threads: Number(threads), tests: JSON.parse(list) as Test[] };
}

/** Ends the program: the engine cannot run here. */
export function leave(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(cannotRun);
}

/** Ids that are no special tokens, another run of them for each sequence, so that no engine finds one in its prefix cache. */
export function someIds(count: number, sequence = 0): number[] {
  return Array.from({ length: count }, (_, i) => 300 + (((i + 1) * 7919 + sequence * 104729) % 30000));
}

export function say(results: Readonly<Record<string, number>>): void {
  process.stdout.write(`${JSON.stringify(results)}\n`);
}
