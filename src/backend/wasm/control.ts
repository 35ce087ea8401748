// Addresses of the control block in the shared memory; the same numbers stand in assembly/control.ts. Behind it, from 1024 on, lie the constants
// that assembly/math.ts writes.

export const dead = 0;
export const called = 32;
export const joining = 40;
export const at = 48;
export const generation = 64;
export const submitted = 256;
export const done = 320;
export const stop = 448;
export const queue = 512;
export const queueSlots = 64;
/** First byte that the allocator may give away. */
export const heapStart = 4096;
