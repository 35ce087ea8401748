// Preloaded into a server under load (node --expose-gc --import): answers each message of the parent with what the process holds after
// collecting garbage, so that what is kept can be told from what V8 has not given back. It gives pages back some time after it has collected,
// and only what was not used since the last collection: hence several, seconds apart. Holds nothing open.

process.on("message", async () => {
  for (let i = 0; i < 4; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((next) => setTimeout(next, 1500));
  }
  process.send?.(process.memoryUsage());
});
process.channel?.unref();
