// The worker's side of far memories: what the command `far` does, once in every thread. In: its arguments in the near memory. Each thread copies its
// share, or runs the enclosed command on the far instance, whose own barrier keeps the threads together.
//   memory 0 place words…                     run the command `words` there; each thread has 256 bytes at `place` to put it
//   memory 1 near far bytes, memory 2 near far bytes    copy to the far memory, or back

export const farRun = 0;
export const farIn = 1;
export const farOut = 2;
/** Bytes for one thread's copy of a command. */
export const farPlace = 256;

type FarInstance = { readonly runShared: (list: number, end: number, thread: number, threads: number) => void };

/** The import `env.far` of the near instance. */
export function farCalls(near: WebAssembly.Memory, memories: readonly WebAssembly.Memory[], instances: readonly FarInstance[]) {
  const viewNear = viewer(near);
  const viewFar = memories.map(viewer);
  return (p: number, thread: number, threads: number): void => {
    const words = viewNear().words;
    const at = p >>> 2;
    const index = words[at] as number;
    const far = viewFar[index] as () => Views;
    const kind = words[at + 1];
    if (kind === farRun) {
      const size = words[at + 4] as number; // of the enclosed command, in bytes
      const place = ((words[at + 2] as number) >>> 0) + thread * farPlace;
      far().words.set(words.subarray(at + 3, at + 3 + size / 4), place >>> 2);
      (instances[index] as FarInstance).runShared(place, place + size, thread, threads);
      return;
    }
    const [nearAddress, farAddress, bytes] = [at + 2, at + 3, at + 4].map((i) => (words[i] as number) >>> 0) as [number, number, number];
    const from = Math.floor((bytes * thread) / threads / 4) * 4;
    const to = thread + 1 === threads ? bytes : Math.floor((bytes * (thread + 1)) / threads / 4) * 4;
    const [source, target] = kind === farIn ? [viewNear(), far()] : [far(), viewNear()];
    const [sourceAt, targetAt] = kind === farIn ? [nearAddress, farAddress] : [farAddress, nearAddress];
    target.bytes.set(source.bytes.subarray(sourceAt + from, sourceAt + to), targetAt + from);
  };
}

type Views = { readonly words: Int32Array; readonly bytes: Uint8Array };

/** Views of a memory, made anew when it has grown. */
function viewer(memory: WebAssembly.Memory): () => Views {
  let views: Views | undefined;
  return () => {
    const { buffer } = memory;
    if (views?.bytes.length !== buffer.byteLength) views = { words: new Int32Array(buffer), bytes: new Uint8Array(buffer) };
    return views;
  };
}
