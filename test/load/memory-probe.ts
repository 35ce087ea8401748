// Preloaded into a server under load (node --expose-gc --import): answers each message of the parent with what the process holds after
// collecting garbage, so that what is kept can be told from what V8 has not given back. Holds nothing open.

process.on("message", () => {
  for (let i = 0; i < 3; i++) (globalThis as { gc?: () => void }).gc?.();
  process.send?.(process.memoryUsage());
});
process.channel?.unref();
