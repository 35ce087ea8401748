// A command on a far memory (../far-memory.ts): this module cannot reach it, so the worker's JavaScript is called, which copies between memories or runs the
// command on the instance that lives there. Arguments: memory, kind, then what ../far-calls.ts says.

// @ts-ignore: decorator
@external("env", "far")
declare function farCall(p: usize, thread: i32, threads: i32): void;

export function far(p: usize, thread: i32, threads: i32): void {
  farCall(p, thread, threads);
}
